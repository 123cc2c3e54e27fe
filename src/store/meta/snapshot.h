/* A copy of the database as of one moment, and what stands in it; for backups.
 *
 *      TRY(snapshot_take("<data>/orlop.db", "<target>/orlop.db.partial", progress, arg, e));   while the daemon runs, or not
 *      TRY(snapshot_open("<target>/orlop.db.partial", &snapshot, e));
 *      TRY(snapshot_objects(snapshot, fn, arg, e));            each object that it names
 *      snapshot_close(snapshot);
 *
 * The copy is consistent whatever is written meanwhile, and stands on stable storage. It leaves out what is not a part of the
 * store's content: unfinished uploads, and objects that wait for their removal. It is one file, in a form that can be read where
 * nothing can be written.
 *
 * One thread. ERR_NOT_FOUND: no database there. ERR_UNSUPPORTED: written by a newer program. ERR_CORRUPT. */
#pragma once

#include "base/cleanup.h"
#include "oci/digest.h"
#include "oci/upload_id.h"

typedef void snapshot_progress_fn(void *arg, uint64_t done, uint64_t total);

/* A file at `to_path` is replaced. */
RESULT snapshot_take(const char *from_path, const char *to_path, snapshot_progress_fn *progress, void *arg, struct err *e);

/* A database that was closed while others had changes for it in its log: copies them into the file, so that it stands alone. */
RESULT snapshot_settle(const char *path, struct err *e);

/* Removes a database that was being made, with its log; one that is not there is fine. */
RESULT snapshot_remove(const char *path, struct err *e);

struct snapshot;

/* Reads only; any database of ours that nobody changes meanwhile. */
RESULT snapshot_open(const char *path, struct snapshot **ret_snapshot, struct err *e);
void snapshot_close(struct snapshot *snapshot);
DEFINE_CLEANUP(struct snapshot *, snapshot_close)

/* integrity_check and foreign_key_check; and that the bytes which stand in the database are those of their digests. */
RESULT snapshot_verify(struct snapshot *snapshot, struct err *e);
/* When a manifest was stored or a tag set for the last time; 0: never. */
RESULT snapshot_changed_us(struct snapshot *snapshot, int64_t *ret_changed_us, struct err *e);

struct snapshot_totals {
        uint64_t repositories, manifests, objects, object_bytes;
};
RESULT snapshot_totals(struct snapshot *snapshot, struct snapshot_totals *ret_totals, struct err *e);

typedef RESULT_FN(snapshot_object_fn, (void *arg, const struct digest *digest, const struct upload_id *id, uint64_t size,
                                       struct err *e));
RESULT snapshot_objects(struct snapshot *snapshot, snapshot_object_fn fn, void *arg, struct err *e);
/* Is <digest>.<id> an object of the store? */
RESULT snapshot_has(struct snapshot *snapshot, const struct digest *digest, const struct upload_id *id, bool *ret_has, struct err *e);
