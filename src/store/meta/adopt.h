/* Blobs that come back from their files, while a store is rebuilt and nobody pushes. Worker threads; not synced. */
#pragma once

#include "store/meta/meta.h"

/* The row of a digest, whichever repository holds it; without bytes. ERR_NOT_FOUND. */
RESULT meta_blob_find(struct meta *m, const struct digest *digest, struct meta_blob *ret_blob, struct err *e);

/* This object, whose bytes are those of the digest, becomes the blob's: of a row that had none or a bad one, or of a new row that
 * waits for its review, since no repository holds it. *ret_new tells which. */
RESULT meta_blob_adopt(struct meta *m, const struct digest *digest, const struct upload_id *id, uint64_t size, bool *ret_new,
                       struct err *e);

/* Removes a row whose object is gone, and its links, where no manifest names it: nobody misses it. */
RESULT meta_blob_forget(struct meta *m, const struct digest *digest, bool *ret_forgotten, struct err *e);

/* Queues for review all blobs that no manifest names. */
RESULT meta_blobs_queue(struct meta *m, struct err *e);
