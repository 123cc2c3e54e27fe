/* Blobs whose bytes are not what their digest says, and how far the scrub that looks for them has come.
 *
 * A blob that is marked is told to be absent to whoever asks whether it is there, may not be mounted or named, and is not served;
 * what named it before stays. The next upload of the digest brings new bytes and takes the mark away (meta_upload_commit()). The
 * old object, if there is one, is then garbage.
 *
 * Any thread that may block. */
#pragma once

#include "store/meta/meta.h"

/* `id` is the object that was looked at, NULL where the bytes are in the database. *ret_marked is false where the blob is marked
 * already, has other bytes by now, or is gone. */
RESULT meta_blob_set_damaged(struct meta *m, const struct digest *digest, const struct upload_id *id, struct slice what,
                             bool *ret_marked, struct err *e);
/* It was read again and is good. */
RESULT meta_blob_set_whole(struct meta *m, const struct digest *digest, const struct upload_id *id, struct err *e);

struct meta_damaged {
        struct digest digest;
        uint64_t size;
        int64_t since_us;
        struct slice what;              /* arena */
        struct slice repository;        /* arena; one of those that hold it, empty: none */
};
struct meta_damaged_list {
        struct meta_damaged *items;     /* arena */
        size_t count;
        uint64_t total;                 /* of which at most n are listed */
};
RESULT meta_damaged_list(struct meta *m, size_t n, struct arena *arena, struct meta_damaged_list *ret_list, struct err *e);

/* --- Every stored content, in the order of ids ------------------------------------------------------------------------ */

struct meta_stored {
        int64_t id;
        struct meta_blob blob;          /* its bytes in the arena, where they are in the database */
};
/* The first behind `last_id`. ERR_NOT_FOUND: none. */
RESULT meta_stored_next(struct meta *m, int64_t last_id, struct arena *arena, struct meta_stored *ret_stored, struct err *e);
/* The first manifest behind `last_id`, with its payload; *ret_repository in the arena. ERR_NOT_FOUND: none. */
RESULT meta_manifest_next(struct meta *m, int64_t last_id, struct arena *arena, int64_t *ret_id, struct slice *ret_repository,
                          struct meta_manifest *ret_manifest, struct err *e);

struct meta_totals {
        uint64_t repositories, manifests, tags, blobs;
        uint64_t blob_bytes;            /* each content once */
        uint64_t manifest_bytes;
};
/* Reads much: seconds with millions of rows. */
RESULT meta_totals(struct meta *m, struct meta_totals *ret_totals, struct err *e);

struct meta_scrub {
        int64_t last_blob_id, started_us, ended_us;
        uint64_t bytes;
};
RESULT meta_scrub_get(struct meta *m, struct meta_scrub *ret_scrub, struct err *e);
RESULT meta_scrub_put(struct meta *m, const struct meta_scrub *scrub, struct err *e);         /* not synced */
