/* Memory that dies together, with a request or a job. Bounded; not for several threads at once.
 *
 *      struct arena a = ARENA_INIT(256 * 1024);
 *      char *p = arena_alloc(&a, n);      NULL when the bound is reached or memory is short
 *      arena_fini(&a);                    everything goes
 *
 * The first block is small, so that a short request costs little. */
#pragma once

#include "base/check.h"
#include "base/slice.h"

struct arena_block;

struct arena {
        struct arena_block *blocks;     /* owned, newest first */
        size_t used, max;
};

#define ARENA_INIT(max_bytes) ((struct arena){ .max = (max_bytes) })

/* A moment in an arena's life. */
struct arena_mark {
        struct arena_block *block;      /* borrowed */
        size_t block_n, used;
};

void arena_fini(struct arena *a);
void arena_reset(struct arena *a);              /* empty again; a first block of the usual size is kept */
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, const struct arena_mark *mark);              /* what was allocated since goes */
void *arena_alloc(struct arena *a, size_t n);                                   /* zeroed, aligned for any type */
struct slice arena_copy(struct arena *a, struct slice s);                       /* .p is NULL on failure; NUL follows it */
struct slice arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
