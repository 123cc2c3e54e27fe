/* Room on the disk: pushes are refused while there is less than the reserve, so that a deletion, a collection and the database's
 * log still have some. Looked at once in a while; what is written in between is counted. Any thread. */
#pragma once

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct blob_store;

struct space {
        _Atomic uint64_t reserve_bytes;         /* 0: nothing is looked at */
        _Atomic int64_t seen_ms;                /* when, on the monotonic clock; 0: not yet */
        _Atomic int64_t left_bytes;             /* above the reserve */
};

/* Is there room for so many bytes more? ERR_FULL. */
RESULT space_check(struct space *space, struct blob_store *store, uint64_t bytes, struct err *e);
/* The same, and they are going to be written. */
RESULT space_take(struct space *space, struct blob_store *store, uint64_t bytes, struct err *e);
/* space_take() without a look at the disk, which might block. false: it needs one. */
bool space_try_take(struct space *space, uint64_t bytes);
