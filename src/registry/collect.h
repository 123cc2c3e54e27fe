/* Gives space back: the durable order of a collection. Who calls decides when and how fast; jobs/ does.
 *
 *      do {
 *              TRY(registry_collect(registry, &rules, &collected, e));
 *      } while (collected.more);
 *
 * A step is short: a few milliseconds of the writers' turn, a few dozen files. Any thread that may block; several at once do no
 * harm.
 *
 *   1. Uploads without progress: the row, then the file. A request that goes on with one keeps it.
 *   2. Names (store/meta/collect.h): what nothing leads to leaves the database, and the object of a blob goes to the trash, in
 *      the same transaction, which is synced.
 *   3. After a delay, so that whoever was just told of the object can open it, its file is removed and its folder synced; then
 *      the trash forgets it. A running download has the file open and ends well.
 *
 * A crash between any two leaves a row of which the next step knows, never a file that nobody knows. */
#pragma once

#include "registry/registry.h"
#include "store/meta/collect.h"

struct collect_rules {
        struct meta_rules names;
        int64_t trash_delay_us;
        int64_t upload_expiry_us;
};

struct collected {
        uint64_t uploads, manifests, blobs, objects;
        uint64_t bytes;                 /* that came back: of files, of small blobs and of manifests */
        bool more;                      /* there is more that is due */
};
RESULT registry_collect(struct registry *registry, const struct collect_rules *rules, struct collected *ret_collected, struct err *e);
void collected_add(struct collected *sum, const struct collected *step);
/* The same rules decide when asking for something puts its review off. At any time. */
void registry_set_stay(struct registry *registry, const struct meta_rules *rules);

/* What waits, and what would go (store/meta/collect.h). */
RESULT registry_waiting(struct registry *registry, struct meta_waiting *ret_waiting, struct err *e);
RESULT registry_garbage_each(struct registry *registry, const struct meta_rules *rules, meta_garbage_fn *fn, void *arg, struct err *e);
RESULT registry_space(struct registry *registry, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, struct err *e);
