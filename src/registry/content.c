/* What is in the registry and gets asked for, named, linked and removed: blobs, manifests, tags, lists. */
#include "registry/registry.h"

#include "oci/manifest.h"
#include "oci/reference.h"
#include "registry/check.h"
#include "registry/internal.h"
#include "store/meta/damage.h"

#include <stdio.h>

enum { TRIES = 3 };     /* of reading a row that others replace meanwhile */

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

static struct result fail_damaged(const struct digest *digest, struct err *e)
{
        return FAIL(e, ERR_CORRUPT, 0, "blob %s was found damaged on this registry's disk and is not served; push it again to mend it",
                    digest_format(digest).s);
}

/* Marks what was just seen. Where the row is another by now, the blob was mended or removed meanwhile: ask again. */
static RESULT mark_damaged(struct registry *registry, struct meta_blob *row, struct slice what, bool *ret_again, struct err *e)
{
        bool marked;

        TRY(meta_blob_set_damaged(registry->meta, &row->digest, row->in_database ? NULL : &row->id, what, &marked, e));
        *ret_again = !marked;
        row->damaged = marked;
        return marked ? fail_damaged(&row->digest, e) : OK;
}

static void keep_blob(struct registry *registry, struct slice repository, const struct meta_blob *row, struct slice name,
                      uint64_t version)
{
        struct cache_content content = { .kind = REGISTRY_BLOB, .digest = row->digest, .size = row->size,
                                         .until_us = row->promised_until_us };

        if (row->in_database)
                content.bytes = row->bytes.p ? row->bytes : S("");
        else
                content.file = slice_from(row->id.s);
        cache_put(registry->cache, repository, name, &content, version);
}

/* The row, and a copy for those who ask next. What the database holds is compared with its digest first. */
static RESULT get_blob_once(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                            struct meta_blob *ret_row, bool *ret_again, struct err *e)
{
        struct digest_text name = digest_format(digest);
        uint64_t version = cache_version(registry->cache, repository, slice_from(name.s));
        struct digest have;

        *ret_again = false;
        TRY(meta_blob_get(registry->meta, repository, digest, true, arena, ret_row, e));
        if (ret_row->damaged)
                return OK;
        if (ret_row->in_database) {
                digest_of_bytes(digest->algorithm, ret_row->bytes, &have);
                if (!digest_eq(&have, digest))
                        return mark_damaged(registry, ret_row, S("its bytes in the database are not those of its digest"), ret_again, e);
        }
        keep_blob(registry, repository, ret_row, slice_from(name.s), version);
        return OK;
}

static RESULT get_blob(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                       struct meta_blob *ret_row, struct err *e)
{
        bool again = true;

        for (int i = 0; again && i < TRIES; i++)
                TRY(get_blob_once(registry, repository, digest, arena, ret_row, &again, e));
        return again ? FAIL(e, ERR_BUSY, 0, "blob %s changes all the time", digest_format(digest).s) : OK;
}

struct registry_object *registry_blob_now(struct registry *registry, struct slice repository, struct slice digest)
{
        return cache_get(registry->cache, REGISTRY_BLOB, repository, digest);
}

/* Whatever is unusual is for registry_blob_open() to look into. */
bool registry_blob_open_now(struct registry *registry, const struct registry_object *object, int *ret_fd)
{
        struct err ignored = ERR_INIT;
        struct digest digest;
        struct upload_id id;
        uint64_t size;
        int fd;

        if (!upload_id_parse(object->file, &id) || !digest_parse(object->digest, &digest, &ignored).ok ||
            !blob_open_now(registry->blobs, &digest, &id, &fd, &size))
                return false;
        if (size != object->size) {
                close(fd);
                return false;
        }
        *ret_fd = fd;
        return true;
}

RESULT registry_blob_stat(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                          uint64_t *ret_size, struct err *e)
{
        struct meta_blob row = { .damaged = true };

        if (!get_blob(registry, repository, digest, arena, &row, e).ok && e->code != ERR_CORRUPT)
                return FAILED;
        if (row.damaged)
                return FAIL(e, ERR_BLOB_UNKNOWN, 0, "blob %s was found damaged; push it again", digest_format(digest).s);
        *ret_size = row.size;
        return OK;
}

/* A file that is missing or has another length than its row says is seen at once; other damage is for the scrub to find. */
static RESULT open_file(struct registry *registry, struct meta_blob *row, int *ret_fd, bool *ret_again, struct err *e)
{
        _cleanup_fd_ int fd = -1;
        uint64_t size;
        char what[100];

        *ret_again = false;
        if (!blob_open(registry->blobs, &row->digest, &row->id, &fd, &size, e).ok)
                return e->code == ERR_NOT_FOUND ? mark_damaged(registry, row, S("its file is missing"), ret_again, e) : FAILED;
        if (size != row->size) {
                snprintf(what, sizeof what, "its file has %llu bytes instead of %llu", (unsigned long long)size,
                         (unsigned long long)row->size);
                return mark_damaged(registry, row, slice_from(what), ret_again, e);
        }
        *ret_fd = TAKE_FD(fd);
        return OK;
}

RESULT registry_blob_open(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                          struct registry_blob *ret_blob, struct err *e)
{
        struct meta_blob row;
        bool again = true;
        int fd = -1;

        for (int i = 0; again && i < TRIES; i++) {
                TRY(get_blob(registry, repository, digest, arena, &row, e));
                if (row.damaged)
                        return fail_damaged(digest, e);
                again = false;
                if (!row.in_database)
                        TRY(open_file(registry, &row, &fd, &again, e));
        }
        if (again)
                return FAIL(e, ERR_BUSY, 0, "blob %s changes all the time", digest_format(digest).s);
        *ret_blob = (struct registry_blob){ .size = row.size, .fd = fd, .bytes = row.bytes };
        return OK;
}

RESULT registry_blob_mount(struct registry *registry, struct slice from, struct slice to, const struct digest *digest,
                           struct err *e)
{
        if (from.n)
                TRY(reference_check_repository(from, e));
        TRY(space_check(&registry->space, registry->blobs, 0, e));
        return meta_blob_mount(registry->meta, from, to, digest, e);
}

RESULT registry_blob_delete(struct registry *registry, struct slice repository, const struct digest *digest, struct err *e)
{
        return meta_blob_delete(registry->meta, repository, digest, e);
}

/* --- Manifests and tags ----------------------------------------------------------------------------------------------- */

struct registry_object *registry_manifest_now(struct registry *registry, struct slice repository, struct slice reference)
{
        return cache_get(registry->cache, REGISTRY_MANIFEST, repository, reference);
}

RESULT registry_manifest_get(struct registry *registry, struct slice repository, struct slice reference, struct arena *arena,
                             struct meta_manifest *ret_manifest, struct err *e)
{
        uint64_t version = cache_version(registry->cache, repository, reference);
        struct reference parsed;
        struct cache_content content;
        struct digest have;

        TRY(reference_parse(reference, &parsed, e));
        TRY(meta_manifest_get(registry->meta, repository, parsed.is_digest ? &parsed.digest : NULL, parsed.tag, true, arena,
                              ret_manifest, e));
        digest_of_bytes(ret_manifest->digest.algorithm, ret_manifest->payload, &have);
        if (!digest_eq(&have, &ret_manifest->digest))
                return FAIL(e, ERR_CORRUPT, 0, "manifest %s is damaged in this registry's database and is not served; push it again to "
                            "mend it", digest_format(&ret_manifest->digest).s);
        content = (struct cache_content){
                .kind = REGISTRY_MANIFEST,
                .digest = ret_manifest->digest,
                .media_type = ret_manifest->media_type,
                .bytes = ret_manifest->payload,
                .size = ret_manifest->size,
                .until_us = ret_manifest->promised_until_us,
        };
        cache_put(registry->cache, repository, reference, &content, version);
        return OK;
}

RESULT registry_manifest_delete(struct registry *registry, struct slice repository, struct slice reference, struct err *e)
{
        struct reference parsed;

        TRY(reference_parse(reference, &parsed, e));
        if (parsed.is_digest)
                return meta_manifest_delete(registry->meta, repository, &parsed.digest, e);
        return meta_tag_delete(registry->meta, repository, parsed.tag, e);
}

/* All that must be in the repository; what may lie elsewhere (foreign layers) is left out. */
static RESULT parts_of(const struct manifest *manifest, struct arena *arena, struct meta_part **ret_parts, size_t *ret_count,
                       struct err *e)
{
        struct meta_part *parts = arena_alloc(arena, (manifest->descriptor_count + 1) * sizeof *parts);
        size_t count = 0;

        if (!parts)
                return FAIL(e, ERR_NOMEM, 0, "no memory for a manifest with %zu parts", manifest->descriptor_count);
        for (size_t i = 0; i < manifest->descriptor_count; i++) {
                const struct descriptor *d = &manifest->descriptors[i];

                if (d->is_foreign)
                        continue;
                parts[count++] = (struct meta_part){ .digest = d->digest, .size = d->size, .is_manifest = d->is_manifest };
        }
        *ret_parts = parts;
        *ret_count = count;
        return OK;
}

RESULT registry_parts_of(const struct meta_manifest *manifest, struct arena *arena, struct meta_part **ret_parts, size_t *ret_count,
                         struct err *e)
{
        struct manifest parsed;

        TRY(manifest_parse(manifest->media_type, manifest->payload, arena, &parsed, e));
        return parts_of(&parsed, arena, ret_parts, ret_count, e);
}

/* The tags of a push: the reference itself, if it is one, and those beside it. */
static RESULT tags_of(const struct registry_manifest_request *request, const struct reference *reference, struct arena *arena,
                      struct slice **ret_tags, size_t *ret_count, struct err *e)
{
        struct slice *tags = arena_alloc(arena, (request->tag_count + 1) * sizeof *tags);
        size_t count = 0;

        if (!tags)
                return FAIL(e, ERR_NOMEM, 0, "no memory for %zu tags", request->tag_count);
        if (!reference->is_digest)
                tags[count++] = reference->tag;
        for (size_t i = 0; i < request->tag_count; i++) {
                TRY(reference_check_tag(request->tags[i], e));
                tags[count++] = request->tags[i];
        }
        *ret_tags = tags;
        *ret_count = count;
        return OK;
}

/* The digest under which the manifest is stored: the one of the reference, or SHA-256. */
static RESULT digest_of_push(const struct registry_manifest_request *request, const struct reference *reference,
                             struct digest *ret_digest, struct err *e)
{
        digest_of_bytes(reference->is_digest ? reference->digest.algorithm : SHA_256, request->body, ret_digest);
        if (reference->is_digest && !digest_eq(ret_digest, &reference->digest))
                return FAIL(e, ERR_DIGEST_INVALID, 0, "the manifest's bytes have the digest %s, not %s", digest_format(ret_digest).s,
                            digest_format(&reference->digest).s);
        return OK;
}

/* A manifest and what goes with it, checked as far as that can be without the store. */
struct registry_manifest_push {
        struct slice repository;
        struct meta_manifest row;
        struct meta_part *parts;
        struct slice *tags;
        size_t part_count, tag_count;
};

static RESULT prepare(const struct registry_manifest_request *request, struct arena *arena, struct registry_manifest_push *push,
                      struct registry_manifest_result *ret_result, struct err *e)
{
        struct meta_manifest *row = &push->row;
        struct reference reference;
        struct manifest manifest;

        push->repository = request->repository;
        TRY(reference_parse(request->reference, &reference, e));
        TRY(tags_of(request, &reference, arena, &push->tags, &push->tag_count, e));
        *row = (struct meta_manifest){ .payload = request->body, .size = request->body.n };
        TRY(digest_of_push(request, &reference, &row->digest, e));
        TRY(manifest_parse(request->content_type, request->body, arena, &manifest, e));
        TRY(parts_of(&manifest, arena, &push->parts, &push->part_count, e));
        row->media_type = manifest.media_type;
        row->artifact_type = manifest.artifact_type;
        row->annotations = manifest.annotations;
        row->has_subject = manifest.has_subject;
        row->subject = manifest.subject.digest;
        *ret_result = (struct registry_manifest_result){
                .digest = row->digest,
                .has_subject = row->has_subject,
                .subject = row->subject,
        };
        return OK;
}

RESULT registry_manifest_put(struct registry *registry, const struct registry_manifest_request *request, struct arena *arena,
                             struct registry_manifest_result *ret_result, struct err *e)
{
        struct registry_manifest_push push;

        TRY(space_take(&registry->space, registry->blobs, request->body.n, e));
        TRY(prepare(request, arena, &push, ret_result, e));
        return meta_manifest_put(registry->meta, push.repository, &push.row, push.parts, push.part_count, push.tags, push.tag_count, e);
}

struct registry_manifest_push *registry_manifest_try_put(struct registry *registry, const struct registry_manifest_request *request,
                                                         struct arena *arena, struct registry_manifest_result *ret_result)
{
        struct registry_manifest_push *push = arena_alloc(arena, sizeof *push);
        struct err ignored;

        if (!push || !prepare(request, arena, push, ret_result, &ignored).ok || !space_try_take(&registry->space, request->body.n))
                return NULL;
        return push;
}

void registry_manifest_put_soon(struct registry *registry, struct registry_manifest_push *push, registry_done_fn *done, void *arg)
{
        meta_manifest_put_soon(registry->meta, push->repository, &push->row, push->parts, push->part_count, push->tags,
                               push->tag_count, done, arg);
}

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

RESULT registry_tags(struct registry *registry, struct slice repository, struct slice last, size_t n, struct arena *arena,
                     struct meta_names *ret_page, struct err *e)
{
        return meta_tags_page(registry->meta, repository, last, n, arena, ret_page, e);
}

RESULT registry_catalog(struct registry *registry, struct slice last, size_t n, struct arena *arena, struct meta_names *ret_page,
                        struct err *e)
{
        return meta_repositories_page(registry->meta, last, n, arena, ret_page, e);
}
