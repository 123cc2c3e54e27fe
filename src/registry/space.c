#include "registry/space.h"

#include "base/clock.h"
#include "store/blob/blob.h"

/* While pushes are refused it is looked at more often: they shall work again as soon as they can. */
enum { LOOK_MS = 1000, LOOK_FULL_MS = 200 };

static bool is_fresh(const struct space *space)
{
        int64_t age_ms = clock_mono_ms() - space->seen_ms;

        return space->seen_ms && age_ms < (space->left_bytes < 0 ? LOOK_FULL_MS : LOOK_MS);
}

static RESULT look(struct space *space, struct blob_store *store, struct err *e)
{
        int64_t now_ms = clock_mono_ms();
        uint64_t free_bytes, total_bytes;

        if (is_fresh(space))
                return OK;
        TRY(blob_store_space(store, &free_bytes, &total_bytes, e));
        space->left_bytes = (int64_t)free_bytes - (int64_t)space->reserve_bytes;
        space->seen_ms = now_ms;
        return OK;
}

static struct result fail_full(struct space *space, struct err *e)
{
        return FAIL(e, ERR_FULL, 0, "the registry's disk is full up to its reserve of %llu MiB: nothing can be pushed until there is space "
                    "again; delete what is not needed, or ask whoever runs the registry",
                    (unsigned long long)(space->reserve_bytes / (1024 * 1024)));
}

RESULT space_check(struct space *space, struct blob_store *store, uint64_t bytes, struct err *e)
{
        if (!space->reserve_bytes)
                return OK;
        TRY(look(space, store, e));
        return bytes <= INT64_MAX && space->left_bytes >= (int64_t)bytes ? OK : fail_full(space, e);
}

RESULT space_take(struct space *space, struct blob_store *store, uint64_t bytes, struct err *e)
{
        TRY(space_check(space, store, bytes, e));
        if (space->reserve_bytes)
                space->left_bytes -= (int64_t)bytes;
        return OK;
}

bool space_try_take(struct space *space, uint64_t bytes)
{
        if (!space->reserve_bytes)
                return true;
        if (!is_fresh(space) || bytes > INT64_MAX || space->left_bytes < (int64_t)bytes)
                return false;
        space->left_bytes -= (int64_t)bytes;
        return true;
}
