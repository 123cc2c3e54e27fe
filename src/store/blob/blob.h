/* Immutable bytes by object, on stable storage. Knows nothing of names, repositories or databases.
 *
 * An upload is a file that grows (`uploads/<id>`); publishing renames it to its final place. The order of the durable steps
 * belongs to registry/, and it is this one:
 *
 *      blob_upload_create   the id's row was written before
 *      blob_upload_write    any number of times, at rising offsets
 *      blob_upload_sync     the bytes and the name `uploads/<id>` are on stable storage
 *      (the database commits: from here on the blob exists, its object is <digest>.<id>)
 *      blob_upload_publish  rename; needs no sync: whoever looks for the object finds it under either name
 *
 * An object's name is unique per upload (`<digest>.<id>`), never the digest alone, so that a delayed removal can never hit
 * bytes that a new push of the same digest has just published.
 *
 *      <data>/uploads/<id>
 *      <data>/blobs/sha256/ab/ab12….<id>      mode 0444
 *
 * Any thread; an upload belongs to one thread at a time. */
#pragma once

#include "base/cleanup.h"
#include "oci/digest.h"
#include "oci/upload_id.h"

struct blob_store;
struct blob_upload;

/* Opens or creates the folders under `data_dir`. */
RESULT blob_fs_open(const char *data_dir, struct blob_store **ret_store, struct err *e);
void blob_store_free(struct blob_store *store);
DEFINE_CLEANUP(struct blob_store *, blob_store_free)

/* Is the storage writable (readyz)? Writes and removes a probe file. ERR_FULL, ERR_IO. */
RESULT blob_store_probe(struct blob_store *store, struct err *e);
RESULT blob_store_space(struct blob_store *store, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, struct err *e);

RESULT blob_upload_create(struct blob_store *store, const struct upload_id *id, struct blob_upload **ret_upload, struct err *e);
/* Goes on with an upload. ERR_NOT_FOUND: no such file (a power cut). */
RESULT blob_upload_open(struct blob_store *store, const struct upload_id *id, struct blob_upload **ret_upload, struct err *e);
uint64_t blob_upload_size(const struct blob_upload *upload);            /* bytes in the file */
RESULT blob_upload_read(struct blob_upload *upload, uint64_t offset, void *ret_bytes, size_t n, size_t *ret_n, struct err *e);
RESULT blob_upload_write(struct blob_upload *upload, uint64_t offset, const void *bytes, size_t n, struct err *e);
RESULT blob_upload_truncate(struct blob_upload *upload, uint64_t size, struct err *e);
RESULT blob_upload_sync(struct blob_upload *upload, struct err *e);
RESULT blob_upload_publish(struct blob_upload *upload, const struct digest *digest, struct err *e);
void blob_upload_free(struct blob_upload *upload);                      /* closes; the file stays */
DEFINE_CLEANUP(struct blob_upload *, blob_upload_free)

/* Removes an unfinished upload's file; one that is not there is fine. */
RESULT blob_upload_remove(struct blob_store *store, const struct upload_id *id, struct err *e);
/* Calls fn for each file in uploads/. */
RESULT blob_upload_list(struct blob_store *store, RESULT_FN(fn, (void *arg, const struct upload_id *id, struct err *e)), void *arg,
                        struct err *e);

/* Opens a published object for reading; where a crash came between commit and rename, renames it first.
 * ERR_NOT_FOUND: neither name exists. The caller owns *ret_fd. */
RESULT blob_open(struct blob_store *store, const struct digest *digest, const struct upload_id *id, int *ret_fd,
                 uint64_t *ret_size, struct err *e);
/* The same for a thread that must not wait for a disk. false: the kernel does not have the path in memory (or is older than Linux
 * 5.12), or the object is not in its place: ask blob_open(). */
bool blob_open_now(struct blob_store *store, const struct digest *digest, const struct upload_id *id, int *ret_fd, uint64_t *ret_size);
/* Removes an object, and its folder where it was the last in it; one that is not there is fine. The removal is on stable storage
 * when it returns. */
RESULT blob_remove(struct blob_store *store, const struct digest *digest, const struct upload_id *id, struct err *e);
