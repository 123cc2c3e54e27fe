/* Names, links and sessions, in transactions. Knows nothing of files.
 *
 * Both reads and writes run on the calling thread, reads on a connection that the store lends it. All writes that wait together
 * share one transaction, one commit and one sync (group commit). A function that returns OK has its change on stable storage,
 * except those marked "not synced": they survive the daemon's death, not a power cut. A failed write changed nothing. Where the
 * sync failed (ERR_IO) the change may be there nevertheless.
 *
 * What a read returns is copied into the caller's arena. Any thread; never a loop thread (these block). Codes that callers
 * branch on are named at each function; all others (ERR_IO, ERR_FULL, ERR_CORRUPT, ERR_NOMEM, ERR_READ_ONLY, and ERR_TIMEOUT
 * where another program holds the database) only travel up.
 * Times are microseconds since 1970. */
#pragma once

#include "base/arena.h"
#include "oci/digest.h"
#include "oci/upload_id.h"

struct meta;

/* Opens or creates <data>/orlop.db, migrates an older schema. ERR_UNSUPPORTED: written by a newer program. ERR_CORRUPT: it is damaged,
 * or it is missing although something beside it says that there was one; a new one is not made then. */
RESULT meta_sqlite_open(const char *data_dir, struct meta **ret_meta, struct err *e);
/* The same of a database under another name, while it is rebuilt; made if it is not there. */
RESULT meta_sqlite_open_file(const char *path, struct meta **ret_meta, struct err *e);
void meta_free(struct meta *m);
RESULT meta_probe(struct meta *m, struct err *e);               /* readyz: a read and a write that changes nothing */
/* PRAGMA integrity_check and foreign_key_check; ERR_CORRUPT with the first findings. */
RESULT meta_check(struct meta *m, struct err *e);
/* The same, reading only, on a store that is closed or that another process has open. ERR_NOT_FOUND: there is none.
 * ERR_UNSUPPORTED: written by a newer program. */
RESULT meta_sqlite_check(const char *data_dir, struct err *e);

/* Transactions that were committed since it was opened: has anything changed? */
uint64_t meta_commits(struct meta *m);

/* How long a blob that no manifest names is kept (the collector's grace; an hour unless set). Here it decides when asking for a
 * blob puts its review off: past half of that time. A cache of blob facts must forget before the other half is over. */
void meta_set_grace(struct meta *m, int64_t grace_us);
/* The same of manifests that nothing leads to; 0 (as long as it is not set): they stay. */
void meta_set_untagged(struct meta *m, int64_t age_us);

/* Functions that end in _soon do not wait: done() is called at the end, on any thread, perhaps before they return. What they are
 * given must live until then. Their errors are those of the function without the ending. */
typedef void meta_done_fn(void *arg, struct result result, const struct err *e);

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

struct meta_upload {
        struct upload_id id;
        struct slice repository;
        uint64_t received;              /* bytes that were answered for */
        struct slice hash_state;        /* sha_save() after `received` bytes */
        int64_t created_us, updated_us;
};

/* Records a new session before its first byte (the repository is made where it is new). Not synced. */
RESULT meta_upload_begin(struct meta *m, struct slice repository, const struct upload_id *id, struct slice hash_state, struct err *e);
/* ERR_BLOB_UPLOAD_UNKNOWN: no such session in this repository. */
RESULT meta_upload_get(struct meta *m, struct slice repository, const struct upload_id *id, struct arena *arena,
                       struct meta_upload *ret_upload, struct err *e);
/* Not synced. ERR_BLOB_UPLOAD_UNKNOWN: it was cancelled meanwhile. */
RESULT meta_upload_save(struct meta *m, const struct upload_id *id, uint64_t received, struct slice hash_state, struct err *e);
/* Not synced. ERR_BLOB_UPLOAD_UNKNOWN. */
RESULT meta_upload_remove(struct meta *m, struct slice repository, const struct upload_id *id, struct err *e);
/* Begin and save, and the commit of a small blob (below), for callers that must not wait, see meta_done_fn. */
void meta_upload_begin_soon(struct meta *m, struct slice repository, const struct upload_id *id, struct slice hash_state,
                            meta_done_fn *done, void *arg);
void meta_upload_save_soon(struct meta *m, const struct upload_id *id, uint64_t received, struct slice hash_state,
                           meta_done_fn *done, void *arg);
void meta_upload_commit_soon(struct meta *m, struct slice repository, const struct upload_id *id, const struct digest *digest,
                             struct slice content, meta_done_fn *done, void *arg);
/* Is there a row of this session? (start-up recovery of uploads/) */
RESULT meta_upload_exists(struct meta *m, const struct upload_id *id, bool *ret_exists, struct err *e);
/* The digest of the blob whose object came from this upload. ERR_NOT_FOUND. (start-up recovery) */
RESULT meta_blob_of_upload(struct meta *m, const struct upload_id *id, struct digest *ret_digest, struct err *e);

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

struct meta_blob {
        struct digest digest;
        uint64_t size;
        bool in_database;               /* bytes below; otherwise the object is <digest>.<id> */
        bool damaged;                   /* known not to be what the digest says: to be told to be absent, never to be served */
        struct upload_id id;
        struct slice bytes;             /* arena */
        int64_t promised_until_us;      /* no collector takes it before, and half a grace longer; ask again after it */
};

/* Ends a session: the blob exists and the repository holds it. Where the digest is already stored, its object stays and
 * *ret_surplus tells that this upload's file is not needed. With content.p set the bytes go into the database (small blobs).
 * The session's row is removed. ERR_BLOB_UPLOAD_UNKNOWN. */
RESULT meta_upload_commit(struct meta *m, struct slice repository, const struct upload_id *id, const struct digest *digest,
                          uint64_t size, struct slice content, bool *ret_surplus, struct err *e);

/* A blob of this repository. ERR_BLOB_UNKNOWN, ERR_NAME_UNKNOWN. `with_bytes`: load bytes of a blob that is in the database. */
RESULT meta_blob_get(struct meta *m, struct slice repository, const struct digest *digest, bool with_bytes, struct arena *arena,
                     struct meta_blob *ret_blob, struct err *e);
/* Links a stored blob into `to`. `from` empty: from any repository. ERR_BLOB_UNKNOWN: it is not there. */
RESULT meta_blob_mount(struct meta *m, struct slice from, struct slice to, const struct digest *digest, struct err *e);
/* Unlinks. ERR_BLOB_UNKNOWN, ERR_NAME_UNKNOWN; ERR_DENIED: a manifest of the repository names it. Its bytes wait in the queue. */
RESULT meta_blob_delete(struct meta *m, struct slice repository, const struct digest *digest, struct err *e);

/* --- Manifests, tags, referrers --------------------------------------------------------------------------------------- */

struct meta_part {                      /* what a manifest names */
        struct digest digest;
        uint64_t size;
        bool is_manifest;               /* an index's child; otherwise a config or a layer */
};

struct meta_manifest {
        struct digest digest;
        struct slice media_type;
        struct slice artifact_type;     /* as the referrers API must report it; empty: none */
        struct slice annotations;       /* a JSON object, or empty; given back by meta_referrers_page() only */
        bool has_subject;
        struct digest subject;
        struct slice payload;           /* the exact bytes */
        uint64_t size;
        int64_t created_us;
        int64_t promised_until_us;      /* result: until then it may be told to be there; then it must be asked for again */
};

/* Stores the manifest, its links and its tags (tags may be empty: push by digest). All parts must be in the repository:
 * ERR_MANIFEST_BLOB_UNKNOWN (message names the first that is missing), ERR_SIZE_INVALID (a descriptor's size is not the
 * stored size). Equal bytes again are fine. A tag that pointed elsewhere moves; the old manifest is queued for review. */
RESULT meta_manifest_put(struct meta *m, struct slice repository, const struct meta_manifest *manifest,
                         const struct meta_part *parts, size_t part_count, const struct slice *tags, size_t tag_count,
                         struct err *e);
void meta_manifest_put_soon(struct meta *m, struct slice repository, const struct meta_manifest *manifest,
                            const struct meta_part *parts, size_t part_count, const struct slice *tags, size_t tag_count,
                            meta_done_fn *done, void *arg);
/* By digest, or by tag where digest is NULL. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN. Without `with_payload` only size and names. */
RESULT meta_manifest_get(struct meta *m, struct slice repository, const struct digest *digest, struct slice tag,
                         bool with_payload, struct arena *arena, struct meta_manifest *ret_manifest, struct err *e);
/* Removes the manifest and its tags. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN. ERR_DENIED: an index of the repository names it; an
 * accepted index keeps all that it names, so it goes first. */
RESULT meta_manifest_delete(struct meta *m, struct slice repository, const struct digest *digest, struct err *e);
/* Removes the tag alone. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN. */
RESULT meta_tag_delete(struct meta *m, struct slice repository, struct slice tag, struct err *e);

struct meta_names {
        struct slice *names;            /* arena, in byte order */
        size_t count;
        bool more;                      /* there is a next page */
};
/* ERR_NAME_UNKNOWN: no repository of that name with content. n may be 0. */
RESULT meta_tags_page(struct meta *m, struct slice repository, struct slice last, size_t n, struct arena *arena,
                      struct meta_names *ret_page, struct err *e);
/* Repositories that hold at least one manifest. */
RESULT meta_repositories_page(struct meta *m, struct slice last, size_t n, struct arena *arena, struct meta_names *ret_page,
                              struct err *e);

struct meta_referrers {
        struct meta_manifest *manifests;        /* without payload, in digest order */
        size_t count;
        bool more;
        struct digest last;                     /* the next page begins after it; it need not be in this one */
};
/* Manifests whose subject is `subject`, after `last` (NULL: from the start), at most n, of these artifact types (none: all).
 * The page ends early, with `more`, once its annotations together have more than META_REFERRERS_BYTES: anybody may push large ones;
 * and after META_REFERRERS_LOOKED_AT rows, whatever their types: it may be empty, and others after it not.
 * An unknown repository or subject gives an empty page, never an error. */
#define META_REFERRERS_BYTES (2 * 1024 * 1024)
#define META_REFERRERS_LOOKED_AT 2000
RESULT meta_referrers_page(struct meta *m, struct slice repository, const struct digest *subject, const struct digest *last,
                           size_t n, const struct slice *types, size_t type_count, struct arena *arena,
                           struct meta_referrers *ret_page, struct err *e);

/* What a change made stale, for caches in memory: called after each commit, before any of its writers is told, by one thread at
 * a time and in the order of the commits. It must be quick: others wait to commit. Set once, before the first write. */
struct meta_change {
        struct slice repository;        /* empty: anything in any repository may have changed */
        struct slice tag;               /* empty: the manifest or blob itself changed, or the list of the subject's referrers */
        struct digest digest;           /* of a removed tag: none (algorithm 0) */
};
typedef void meta_changed_fn(void *arg, const struct meta_change *changes, size_t n);
void meta_on_change(struct meta *m, meta_changed_fn *fn, void *arg);
