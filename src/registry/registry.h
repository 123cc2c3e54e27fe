/* The registry's logic: the only room that joins blobs (files) and names (transactions). The order of durable steps stands
 * here and nowhere else, whoever calls: a request, an import, a collector.
 *
 *      registry_open(config, &registry, e)    finishes what a crash left behind
 *      ... any calls below, on any worker thread; they block ...
 *      registry_free(registry)                after the last call has returned
 *
 * A function that returns OK has its change on stable storage, except the steps of an unfinished upload, which survive the
 * daemon's death but not a power cut. Errors carry the codes of the distribution specification; the ones that callers branch
 * on are named at each function. Strings that are returned live in the caller's arena. */
#pragma once

#include "base/arena.h"
#include "oci/digest.h"
#include "oci/list.h"
#include "oci/upload_id.h"
#include "store/blob/blob.h"
#include "store/meta/meta.h"

struct registry;

struct registry_config {
        const char *data_dir;
        const char *database;           /* NULL: <data_dir>/orlop.db; another one while it is rebuilt */
        uint64_t upload_bytes_max;      /* of a whole blob; 0: no limit */
        size_t cache_bytes;             /* memory for what is asked for often */
        bool inspect;                   /* what a crash left behind stays: nothing is pushed, somebody only looks */
};

RESULT registry_open(const struct registry_config *config, struct registry **ret_registry, struct err *e);
void registry_free(struct registry *registry);
void registry_set_upload_bytes_max(struct registry *registry, uint64_t upload_bytes_max);     /* any time */
/* Space that is kept free: with less on the disk, pushes fail with ERR_FULL, and begin to work again by themselves. 0, the
 * default: none is kept. Any time. */
void registry_set_disk_reserve(struct registry *registry, uint64_t bytes);
/* Can it store what is pushed? ERR_FULL, ERR_IO. */
RESULT registry_probe(struct registry *registry, struct err *e);

/* --- Pull ------------------------------------------------------------------------------------------------------------- */

struct registry_blob {
        uint64_t size;
        int fd;                 /* owned by the caller; -1: the bytes are below */
        struct slice bytes;
};
/* Existence and size. ERR_BLOB_UNKNOWN, ERR_NAME_UNKNOWN. */
RESULT registry_blob_stat(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                          uint64_t *ret_size, struct err *e);
RESULT registry_blob_open(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                          struct registry_blob *ret_blob, struct err *e);
/* `reference` is a tag or a digest. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN, ERR_DIGEST_INVALID, ERR_TAG_INVALID. */
RESULT registry_manifest_get(struct registry *registry, struct slice repository, struct slice reference, struct arena *arena,
                             struct meta_manifest *ret_manifest, struct err *e);

/* What memory has of it, never stale. Any thread, the loops too: nothing blocks. NULL: memory does not have it, ask one of the
 * functions above. Give it back with registry_object_unref(). */
enum registry_object_kind { REGISTRY_MANIFEST, REGISTRY_BLOB };
struct registry_object {
        enum registry_object_kind kind;
        struct slice digest, etag;      /* the digest's text, and in quotes */
        struct slice media_type;        /* of a manifest */
        struct slice bytes;             /* .p NULL: a blob whose bytes are in a file */
        struct slice file;              /* the id in that file's name */
        uint64_t size;
};
struct registry_object *registry_manifest_now(struct registry *registry, struct slice repository, struct slice reference);
struct registry_object *registry_blob_now(struct registry *registry, struct slice repository, struct slice digest);
/* Opens the file of such a blob; the caller owns *ret_fd. false: it cannot be done at once, ask registry_blob_open(). */
bool registry_blob_open_now(struct registry *registry, const struct registry_object *object, int *ret_fd);
void registry_object_unref(struct registry_object *object);

/* Functions that end in _soon do not wait: done() is called once, at the end, on any thread, perhaps before they return. */
typedef void registry_done_fn(void *arg, struct result result, const struct err *e);

/* --- Push ------------------------------------------------------------------------------------------------------------- */

struct registry_manifest_request {
        struct slice repository;
        struct slice reference;         /* tag or digest */
        const struct slice *tags;       /* further tags, with a push by digest */
        size_t tag_count;
        struct slice content_type;      /* as sent */
        struct slice body;
};
struct registry_manifest_result {
        struct digest digest;
        bool has_subject;
        struct digest subject;
};
/* ERR_MANIFEST_INVALID, ERR_MANIFEST_BLOB_UNKNOWN, ERR_SIZE_INVALID, ERR_DIGEST_INVALID, ERR_TAG_INVALID. */
RESULT registry_manifest_put(struct registry *registry, const struct registry_manifest_request *request, struct arena *arena,
                             struct registry_manifest_result *ret_result, struct err *e);

/* The same from a loop, for a manifest that is small: registry_manifest_try_put() looks at it and blocks for nothing. NULL: it must
 * be put as above, which tells an error, too. The request and the arena live until done() is called. */
struct registry_manifest_push;
struct registry_manifest_push *registry_manifest_try_put(struct registry *registry, const struct registry_manifest_request *request,
                                                         struct arena *arena, struct registry_manifest_result *ret_result);
void registry_manifest_put_soon(struct registry *registry, struct registry_manifest_push *push, registry_done_fn *done, void *arg);

/* ERR_BLOB_UNKNOWN: cannot be mounted, upload it. `from` empty: from any repository. */
RESULT registry_blob_mount(struct registry *registry, struct slice from, struct slice to, const struct digest *digest,
                           struct err *e);

/* --- Delete ----------------------------------------------------------------------------------------------------------- */

/* Tag or digest. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN, ERR_DENIED (an index names it). */
RESULT registry_manifest_delete(struct registry *registry, struct slice repository, struct slice reference, struct err *e);
/* ERR_BLOB_UNKNOWN, ERR_NAME_UNKNOWN, ERR_DENIED (a manifest names it). */
RESULT registry_blob_delete(struct registry *registry, struct slice repository, const struct digest *digest, struct err *e);

/* --- Discovery -------------------------------------------------------------------------------------------------------- */

RESULT registry_tags(struct registry *registry, struct slice repository, struct slice last, size_t n, struct arena *arena,
                     struct meta_names *ret_page, struct err *e);
RESULT registry_catalog(struct registry *registry, struct slice last, size_t n, struct arena *arena, struct meta_names *ret_page,
                        struct err *e);

struct registry_referrers_request {
        struct slice repository;
        struct digest subject;
        bool has_last;
        struct digest last;             /* the page begins after it */
        size_t n;
        const struct slice *types;      /* artifact types; none: all */
        size_t type_count;
};
struct registry_referrers_page {
        struct referrer *referrers;     /* in digest order */
        size_t count;                   /* fewer than were asked for, or none, where annotations are large, or others have other types */
        bool more;
        struct digest last;             /* where there are more: the next page begins after it */
};
/* The index of subjects, and the fallback tag of older clients (distribution-spec, "Referrers Tag Schema") folded into it. An
 * unknown repository or subject gives an empty page. */
RESULT registry_referrers(struct registry *registry, const struct registry_referrers_request *request, struct arena *arena,
                          struct registry_referrers_page *ret_page, struct err *e);
