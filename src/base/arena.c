#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_block {
        struct arena_block *next;
        size_t n, capacity;
        _Alignas(max_align_t) char bytes[];
};

enum { BLOCK_MIN = 2048 - sizeof(struct arena_block), ALIGN = _Alignof(max_align_t) };

void arena_fini(struct arena *a)
{
        for (struct arena_block *block = a->blocks, *next; block; block = next) {
                next = block->next;
                free(block);
        }
        *a = ARENA_INIT(a->max);
}

void arena_reset(struct arena *a)
{
        struct arena_block *kept = NULL;

        for (struct arena_block *block = a->blocks, *next; block; block = next) {
                next = block->next;
                if (!kept && block->capacity == BLOCK_MIN)
                        kept = block;
                else
                        free(block);
        }
        *a = ARENA_INIT(a->max);
        if (kept) {
                kept->next = NULL;
                kept->n = 0;
                a->blocks = kept;
        }
}

struct arena_mark arena_mark(const struct arena *a)
{
        return (struct arena_mark){ a->blocks, a->blocks ? a->blocks->n : 0, a->used };
}

void arena_rewind(struct arena *a, const struct arena_mark *mark)
{
        while (a->blocks != mark->block) {
                struct arena_block *next = a->blocks->next;

                free(a->blocks);
                a->blocks = next;
        }
        if (a->blocks)
                a->blocks->n = mark->block_n;
        a->used = mark->used;
}

void *arena_alloc(struct arena *a, size_t n)
{
        struct arena_block *block = a->blocks;
        void *p;

        if (n > a->max || a->used > a->max - n)
                return NULL;
        n = (MAX(n, (size_t)1) + ALIGN - 1) / ALIGN * ALIGN;
        if (!block || n > block->capacity - block->n) {
                size_t capacity = MAX(n, (size_t)BLOCK_MIN);

                block = malloc(sizeof *block + capacity);
                if (!block)
                        return NULL;
                *block = (struct arena_block){ .next = a->blocks, .capacity = capacity };
                a->blocks = block;
        }
        p = block->bytes + block->n;
        block->n += n;
        a->used += n;
        memset(p, 0, n);
        return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
        char *p = arena_alloc(a, s.n + 1);

        if (!p)
                return SLICE_NONE;
        if (s.n)
                memcpy(p, s.p, s.n);
        return (struct slice){ p, s.n };
}

struct slice arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list ap;
        int n;
        char *p;

        va_start(ap, fmt);
        n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
        if (!p)
                return SLICE_NONE;
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
        return (struct slice){ p, (size_t)n };
}
