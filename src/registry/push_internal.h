/* What the two files of upload sessions share: push.c works on workers and may wait, push_soon.c on loops and may not. */
#pragma once

#include "registry/internal.h"
#include "registry/push.h"

enum { NAME_MAX_BYTES = 256 };

/* What a session's row keeps beside its counters: where the bytes are, the boot in which it was saved, and
 *   FILE     the state of the hash
 *   INSIDE   the hash's algorithm, and the bytes themselves */
enum { SAVED_FILE = 'f', SAVED_INSIDE = 'i', SAVED_HEAD = 1 + BOOT_ID_LENGTH, SAVED_MAX = SAVED_HEAD + 1 + PUSH_SMALL_MAX };
_Static_assert(SHA_STATE_MAX <= 1 + PUSH_SMALL_MAX, "both forms fit");

struct push {
        struct registry *registry;      /* borrowed, outlives every request */
        struct push *next;              /* in registry->pushes, or in registry->resting */
        struct upload_id id;
        char repository[NAME_MAX_BYTES];
        struct sha sha;
        uint64_t received;
        uint64_t received_before;       /* when this request took the session, */
        bool file_before;               /* and whether it had a file */
        char *small;                    /* owned; PUSH_SMALL_MAX bytes, while file is NULL */
        struct blob_upload *file;       /* owned */
        bool is_new;                    /* it has no row yet */
        bool is_saved;                  /* the session's row tells all this */
};

static inline struct slice push_repository(const struct push *push)
{
        return slice_from(push->repository);
}

/* A session of this request's. ERR_BUSY. */
RESULT push_new(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push,
                struct err *e);
/* One that was kept since its last request; NULL: there is none. */
struct push *push_take_resting(struct registry *registry, struct slice repository, const struct upload_id *id);
/* What its row keeps; in `state`, of SAVED_MAX bytes, or of SAVED_HEAD + 1 + push->received where it has no file. */
struct slice push_state(const struct push *push, char *state);
RESULT push_keep_in_memory(struct push *push, struct slice bytes, struct err *e);
/* ERR_LIMIT: with so many bytes more the blob is larger than the registry takes. */
RESULT push_check_limit(const struct push *push, uint64_t bytes, struct err *e);
