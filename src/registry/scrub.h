/* Reads stored content again and compares it with its digest. What is damaged, truncated or missing is marked
 * (store/meta/damage.h), so that it is not served and the next push of it mends it.
 *
 *      int64_t last = 0;
 *      while (registry_scrub_next(registry, last, &pace, &found, e).ok)
 *              last = found.id;                        ERR_NOT_FOUND: there was no further one
 *
 * A blob that was marked and is good again (a disk that came back) loses its mark. Any thread that may block. */
#pragma once

#include "registry/registry.h"
#include "store/meta/damage.h"

/* Called with each piece of a file, of some hundred KiB; false ends the reading with ERR_CLOSED. */
struct scrub_pace {
        bool (*go_on)(void *arg, uint64_t bytes);
        void *arg;
};

enum scrub_verdict { SCRUB_GOOD, SCRUB_MENDED, SCRUB_DAMAGED, SCRUB_KNOWN, SCRUB_GONE, SCRUB_VERDICTS };
struct scrub_found {
        int64_t id;
        struct digest digest;
        uint64_t size;
        uint64_t bytes_read;
        enum scrub_verdict verdict;     /* KNOWN: damaged and marked before; GONE: removed or replaced while it was read */
        char what[160];                 /* of damage */
};
RESULT registry_scrub_next(struct registry *registry, int64_t last_id, const struct scrub_pace *pace, struct scrub_found *ret_found,
                           struct err *e);
/* The same of a row that is known, without noting what was found. */
RESULT registry_blob_read(struct registry *registry, const struct meta_blob *blob, const struct scrub_pace *pace,
                          struct scrub_found *ret_found, struct err *e);

/* How far the daemon's own scrub has come, and what there is to scrub. */
RESULT registry_scrub_get(struct registry *registry, struct meta_scrub *ret_scrub, struct err *e);
RESULT registry_scrub_put(struct registry *registry, const struct meta_scrub *scrub, struct err *e);
RESULT registry_totals(struct registry *registry, struct meta_totals *ret_totals, struct err *e);
RESULT registry_damaged(struct registry *registry, size_t n, struct arena *arena, struct meta_damaged_list *ret_list, struct err *e);
