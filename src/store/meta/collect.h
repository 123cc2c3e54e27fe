/* Collection: what nobody names any more leaves the database, a few rows at a time, while pushes go on.
 *
 * Whatever may have become garbage stands in a queue since a certain time (schema.c). A step looks at the rows that are due, each
 * in the transaction that also removes, so that nothing can begin to name it in between. There is no scan and no lock; a step
 * holds the turn of the writers for a few milliseconds at most. What still waits in the queue although it is named is only taken
 * out of the queue: whoever ends the naming queues it again.
 *
 *      a blob's link to a repository   goes when no manifest of the repository names the blob
 *      a blob                          goes with its last link; its object is then in the trash
 *      a manifest                      goes when no tag and no index names it and its subject is not there, and what named it
 *                                      was deleted, or (a setting) when it was untagged for long
 *      an object                       whoever has removed its file says so with meta_trash_forget()
 *
 * Any thread that may block. Times are microseconds. */
#pragma once

#include "store/meta/meta.h"

struct meta_rules {
        int64_t grace_us;               /* from the day something may be garbage to its review */
        int64_t untagged_us;            /* age at which manifests that are only untagged go; 0: never */
};

struct meta_collected {
        uint64_t reviewed;              /* rows of the queues */
        uint64_t manifests, manifest_bytes;
        uint64_t links, blobs;
        uint64_t content_bytes;         /* of blobs that lived in the database */
        bool more;                      /* the step ended before the due rows did */
};
/* One step, on stable storage when it returns. */
RESULT meta_collect(struct meta *m, const struct meta_rules *rules, struct meta_collected *ret_collected, struct err *e);

/* --- Objects whose files may go --------------------------------------------------------------------------------------- */

struct meta_object {
        struct digest digest;
        struct upload_id id;
        uint64_t size;
        int64_t since_us;
};
struct meta_objects {
        struct meta_object *items;      /* arena */
        size_t count;
};
/* Those that are in the trash since before_us or longer, at most n. */
RESULT meta_trash_page(struct meta *m, int64_t before_us, size_t n, struct arena *arena, struct meta_objects *ret_page, struct err *e);
/* Their files are gone, durably. Not synced: who is told again of a file that is gone has nothing to do. */
RESULT meta_trash_forget(struct meta *m, const struct meta_objects *objects, struct err *e);

/* --- Uploads that nobody goes on with --------------------------------------------------------------------------------- */

struct meta_idle_upload {
        struct upload_id id;
        struct slice repository;        /* arena */
        uint64_t received;
        int64_t updated_us;
};
struct meta_idle_uploads {
        struct meta_idle_upload *items; /* arena */
        size_t count;
};
/* Sessions without progress since before_us, at most n. */
RESULT meta_uploads_idle(struct meta *m, int64_t before_us, size_t n, struct arena *arena, struct meta_idle_uploads *ret_page,
                         struct err *e);
/* Removes the session's row if it is still so; *ret_expired tells. Not synced. */
RESULT meta_upload_expire(struct meta *m, const struct upload_id *id, int64_t before_us, bool *ret_expired, struct err *e);

/* --- Looking ---------------------------------------------------------------------------------------------------------- */

enum meta_garbage_kind { GARBAGE_LINK, GARBAGE_BLOB, GARBAGE_ORPHAN, GARBAGE_UNTAGGED, GARBAGE_UPLOAD, GARBAGE_OBJECT };
struct meta_garbage {
        enum meta_garbage_kind kind;
        struct slice repository;        /* valid during the call; empty: of none */
        struct digest digest;           /* algorithm 0: an upload has none yet */
        struct slice upload;            /* of an upload its id */
        uint64_t size;                  /* bytes that come back */
        int64_t since_us;
};
/* Calls fn for what a collection would remove if all were due, oldest first in each queue, and removes nothing. What goes as the
 * consequence of something else that goes is not told. The reader is lent for the time, so fn should be quick. */
typedef struct result meta_garbage_fn(void *arg, const struct meta_garbage *garbage, struct err *e);
RESULT meta_garbage_each(struct meta *m, const struct meta_rules *rules, meta_garbage_fn *fn, void *arg, struct err *e);

struct meta_queue {
        uint64_t count, bytes;
        int64_t since_us;               /* of the oldest; 0: none */
};
struct meta_waiting {
        struct meta_queue blobs, orphans, untagged, objects, uploads;   /* bytes: of objects and uploads */
};
/* The queues' lengths. Reads them whole. */
RESULT meta_waiting(struct meta *m, struct meta_waiting *ret_waiting, struct err *e);
