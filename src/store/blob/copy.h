/* Objects of one store into another, for backups.
 *
 *      TRY(copy_open(from_dir, to_dir, &copy, e));
 *      for each object that the copied database names:
 *              copy_object(copy, &object, verify, &way, e)
 *      TRY(copy_sync(copy, e));                 the names of all these objects are on stable storage, as their bytes were before
 *      (the copied database takes its place)
 *      TRY(copy_sweep(to_dir, wanted, arg, &swept, e));
 *      copy_free(copy)
 *
 * An object that the target has already is kept. Otherwise its bytes are shared where the file system can (FICLONE), else the file
 * gets a second name (a hard link: objects are never written again), else it is written anew. It appears in the target under
 * its name only when its bytes are on stable storage, so a copy that was interrupted goes on where it was.
 *
 * One thread. ERR_IO, ERR_FULL and others travel up. */
#pragma once

#include "store/blob/blob.h"

struct copy;

RESULT copy_open(const char *from_dir, const char *to_dir, struct copy **ret_copy, struct err *e);
void copy_free(struct copy *copy);
DEFINE_CLEANUP(struct copy *, copy_free)

struct copy_item {
        struct digest digest;
        struct upload_id id;
        uint64_t size;
};
enum copy_way { COPY_KEPT, COPY_CLONED, COPY_LINKED, COPY_WRITTEN, COPY_WAYS };

/* With `verify` the target's bytes are read and held against the digest; what is damaged there is fetched again. What is written
 * anew is checked anyway. ERR_NOT_FOUND: the source lacks the file. ERR_CORRUPT: it is damaged there. */
RESULT copy_object(struct copy *copy, const struct copy_item *item, bool verify, enum copy_way *ret_way, struct err *e);
RESULT copy_sync(struct copy *copy, struct err *e);

struct copy_swept {
        uint64_t files, bytes;
};
/* Removes every file below <dir>/blobs that is no object which `wanted` wants. */
RESULT copy_sweep(const char *dir, RESULT_FN(wanted, (void *arg, const struct copy_item *item, bool *ret_wanted, struct err *e)),
                  void *arg, struct copy_swept *ret_swept, struct err *e);
