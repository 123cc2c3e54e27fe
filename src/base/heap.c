#include "base/heap.h"

#include <malloc.h>
#include <stdatomic.h>

/* There is one heap: the task outlives whoever asked for it. */
static struct pool_task trim_task;
static atomic_bool trim_waits;

static void trim(struct pool_task *task)
{
        (void)task;
        atomic_store(&trim_waits, false);
        malloc_trim(0);
}

void heap_trim_soon(struct pool *pool)
{
        if (atomic_exchange(&trim_waits, true))
                return;
        trim_task.run = trim;
        pool_submit(pool, &trim_task);
}
