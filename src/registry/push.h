/* One upload session while a request works on it (distribution-spec, "Pushing blobs").
 *
 *      push_begin() or push_resume()
 *      push_write(), any number of times: bytes are hashed on their way and not read again
 *      then one of
 *        push_save()     the request ends, the session goes on: what came is kept if the daemon dies
 *        push_commit()   the digest is compared, then the blob is durable and in the repository
 *        push_cancel()
 *      push_free()       whatever happened; without one of the three the session keeps its last saved state, and what lies
 *                        behind it in the file is hashed again when the session goes on
 *
 * A session is used by one request at a time: another one gets ERR_BUSY. Small blobs stay in memory and go to the database
 * (PUSH_SMALL_MAX); larger ones become a file. Worker threads only, but for what stands at the end. */
#pragma once

#include "registry/registry.h"

#define PUSH_SMALL_MAX 8192             /* bytes of a blob that lives in the database: one shared commit, no file */

struct push;

RESULT push_begin(struct registry *registry, struct slice repository, enum sha_algorithm algorithm, struct push **ret_push,
                  struct err *e);
/* ERR_BLOB_UPLOAD_UNKNOWN, ERR_BUSY. */
RESULT push_resume(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push,
                   struct err *e);
void push_free(struct push *push);
DEFINE_CLEANUP(struct push *, push_free)

const struct upload_id *push_id(const struct push *push);
uint64_t push_received(const struct push *push);

/* ERR_LIMIT: with so many bytes more the blob is larger than the registry takes. For a body whose length is known before it comes. */
RESULT push_check_room(const struct push *push, uint64_t bytes, struct err *e);
/* ERR_LIMIT: as above. ERR_FULL: no room; the session is as it was before this request, whose bytes are gone. */
RESULT push_write(struct push *push, struct slice bytes, struct err *e);
RESULT push_save(struct push *push, struct err *e);
/* ERR_DIGEST_INVALID: the bytes are not what the digest says; the session is gone. */
RESULT push_commit(struct push *push, const struct digest *want, struct err *e);
RESULT push_cancel(struct push *push, struct err *e);

/* Ends a session that had no progress since before_us and that no request works on, with its file. For the collector. */
RESULT push_expire(struct registry *registry, struct slice repository, const struct upload_id *id, int64_t before_us,
                   bool *ret_expired, struct err *e);

/* --- Small blobs, from a loop ----------------------------------------------------------------------------------------- */

/* None of these blocks. false: nothing has happened, and the functions above can do it, on a worker.
 *
 *      push_try_begin(), or push_try_resume(), push_will_be() and push_try_write()
 *      push_save_soon() or push_commit_soon()
 *      push_free(), when done() was called */
bool push_try_begin(struct registry *registry, struct slice repository, enum sha_algorithm algorithm, struct push **ret_push);
bool push_try_resume(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push);
/* Has what came, and these bytes behind it, this digest? */
bool push_will_be(const struct push *push, struct slice bytes, const struct digest *want);
bool push_try_write(struct push *push, struct slice bytes);

void push_save_soon(struct push *push, registry_done_fn *done, void *arg);
/* `want` is what push_will_be() said yes to, and lives until the end. */
void push_commit_soon(struct push *push, const struct digest *want, registry_done_fn *done, void *arg);
