/* Changes for callers that do not wait. */
#include "store/meta/internal.h"

#include <errno.h>
#include <stddef.h>

struct soon {
        struct change change;
        struct err e;
        meta_done_fn *done;
        void *arg;
        max_align_t of_change[];        /* what the change works on */
};

static void over(struct change *change)
{
        struct soon *soon = CONTAINER_OF(change, struct soon, change);

        soon->done(soon->arg, change->result, &soon->e);
        free(soon);
}

void *soon_new(change_fn *run, bool synced, size_t bytes, meta_done_fn *done, void *arg)
{
        struct soon *soon = malloc(sizeof *soon + bytes);
        struct err e;

        if (!soon) {
                done(arg, FAIL(&e, ERR_NOMEM, ENOMEM, "change the database"), &e);
                return NULL;
        }
        soon->change = (struct change){ .run = run, .arg = soon->of_change, .synced = synced, .e = &soon->e, .done = over };
        soon->done = done;
        soon->arg = arg;
        return soon->of_change;
}

void soon_start(struct meta *m, void *of_change)
{
        struct soon *soon = CONTAINER_OF(of_change, struct soon, of_change);

        writer_start(&m->writer, &soon->change);
}
