/* From the names to all that belongs to them: manifests, what they name, what refers to them. The list of parts is the list of
 * what is still to be looked at. */
#include "oci/manifest.h"
#include "oci/reference.h"
#include "transfer/export_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

enum { MANIFEST_ARENA_BYTES = 64 * 1024 * 1024, PAGE_BYTES_MAX = 32 * 1024 * 1024 };

/* --- Parts ------------------------------------------------------------------------------------------------------------ */

static size_t slot_of(const struct exporting *ex, const struct digest *digest)
{
        size_t at;

        memcpy(&at, digest->hash, sizeof at);
        at &= ex->slot_count - 1;
        while (ex->slots[at] && !digest_eq(&ex->parts[ex->slots[at] - 1].digest, digest))
                at = (at + 1) & (ex->slot_count - 1);
        return at;
}

/* At most half of the slots are used. */
static RESULT grow(struct exporting *ex, struct err *e)
{
        size_t room = ex->part_room ? 2 * ex->part_room : 256;
        struct export_part *parts = reallocarray(ex->parts, room, sizeof *parts);
        uint32_t *slots = calloc(2 * room, sizeof *slots);

        if (parts)
                ex->parts = parts;
        if (!parts || !slots) {
                free(slots);
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for a list of %zu blobs", room);
        }
        free(ex->slots);
        ex->slots = slots;
        ex->slot_count = 2 * room;
        ex->part_room = room;
        for (size_t i = 0; i < ex->part_count; i++)
                ex->slots[slot_of(ex, &ex->parts[i].digest)] = (uint32_t)i + 1;
        return OK;
}

/* *ret_new: it was not there. */
static RESULT add_part(struct exporting *ex, const struct export_part *part, bool *ret_new, struct err *e)
{
        size_t at;

        if (ex->part_count == ex->part_room)
                TRY(grow(ex, e));
        at = slot_of(ex, &part->digest);
        *ret_new = ex->slots[at] == 0;
        if (!*ret_new) {
                struct export_part *there = &ex->parts[ex->slots[at] - 1];

                there->is_manifest = there->is_manifest || part->is_manifest;   /* one digest may be both */
                return OK;
        }
        if (ex->part_count == EXPORT_BLOBS_MAX)
                return FAIL(e, ERR_LIMIT, 0, "these images have more than %d blobs: export them in several files", EXPORT_BLOBS_MAX);
        ex->parts[ex->part_count++] = *part;
        ex->slots[at] = (uint32_t)ex->part_count;
        ex->report.bytes += part->size;
        return OK;
}

static RESULT add_entry(struct exporting *ex, const struct layout_image *entry, struct err *e)
{
        if (ex->entry_count == LAYOUT_IMAGES_MAX)
                return FAIL(e, ERR_LIMIT, 0, "one archive holds at most %d images and referrers", LAYOUT_IMAGES_MAX);
        if (ex->entry_count == ex->entry_room) {
                size_t room = ex->entry_room ? 2 * ex->entry_room : 16;
                struct layout_image *entries = reallocarray(ex->entries, room, sizeof *entries);

                if (!entries)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for the list of images");
                ex->entries = entries;
                ex->entry_room = room;
        }
        ex->entries[ex->entry_count++] = *entry;
        return OK;
}

static RESULT keep(struct exporting *ex, struct slice text, struct slice *ret_copy, struct err *e)
{
        *ret_copy = arena_copy(&ex->arena, text);
        return ret_copy->p ? OK : FAIL(e, ERR_NOMEM, 0, "no memory for the list of images");
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static RESULT add_descriptors(struct exporting *ex, uint32_t repository, const struct manifest *manifest, struct err *e)
{
        for (size_t i = 0; i < manifest->descriptor_count; i++) {
                const struct descriptor *d = &manifest->descriptors[i];
                struct export_part part = { .digest = d->digest, .size = d->size, .repository = repository,
                                            .is_manifest = d->is_manifest, .is_foreign = d->is_foreign };
                bool ignored;

                TRY(add_part(ex, &part, &ignored, e));
        }
        return OK;
}

/* A referrer that is not in the archive for another reason is an entry without a name. */
static RESULT add_referrer(struct exporting *ex, uint32_t repository, const struct referrer *referrer, struct err *e)
{
        struct export_part part = { .digest = referrer->digest, .size = referrer->size, .repository = repository, .is_manifest = true };
        struct layout_image entry = { .digest = referrer->digest, .size = referrer->size, .name = S("") };
        bool is_new;

        TRY(add_part(ex, &part, &is_new, e));
        if (!is_new)
                return OK;
        TRY(keep(ex, referrer->media_type, &entry.media_type, e));
        ex->report.referrers++;
        return add_entry(ex, &entry, e);
}

static RESULT add_referrers(struct exporting *ex, uint32_t repository, const struct digest *digest, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        struct remote_place next;

        snprintf(next.target, sizeof next.target, "/v2/%.*s/referrers/%s", SLICE_ARG(ex->repositories[repository]),
                 digest_format(digest).s);
        while (*next.target) {
                char path[CLIENT_TARGET_MAX];
                struct referrer *referrers;
                size_t count;

                snprintf(path, sizeof path, "%s", next.target);
                buf_reset(&body);
                arena_reset(&arena);
                TRY(remote_page(ex->client, path, &body, &next, e));
                TRY(index_referrers_parse(buf_slice(&body), &arena, &referrers, &count, e));
                for (size_t i = 0; i < count; i++)
                        TRY(add_referrer(ex, repository, &referrers[i], e));
        }
        return OK;
}

static RESULT visit(struct exporting *ex, const struct export_part *part, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(ex->export->manifest_bytes_max);
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        struct digest_text text = digest_format(&part->digest);
        struct remote_manifest info;
        struct manifest manifest;

        TRY(remote_manifest_get(ex->client, ex->repositories[part->repository], slice_from(text.s), &body, &info, e));
        TRY(manifest_parse(slice_from(info.media_type), buf_slice(&body), &arena, &manifest, e));
        TRY(add_descriptors(ex, part->repository, &manifest, e));
        return ex->export->without_referrers ? OK : add_referrers(ex, part->repository, &part->digest, e);
}

/* The list grows meanwhile, and what was a blob may turn out to be a manifest, too: until nothing is left. */
static RESULT visit_all(struct exporting *ex, struct err *e)
{
        size_t visited;

        do {
                visited = 0;
                for (size_t i = 0; i < ex->part_count; i++) {
                        struct export_part part = ex->parts[i];

                        if (!part.is_manifest || part.visited)
                                continue;
                        ex->parts[i].visited = true;
                        TRY(visit(ex, &part, e));
                        visited++;
                }
        } while (visited);
        return OK;
}

/* --- Names ------------------------------------------------------------------------------------------------------------ */

static RESULT add_saved(struct exporting *ex, struct slice manifest, struct slice name, struct err *e)
{
        size_t before = ex->saved.n;

        if (before)
                buf_put_char(&ex->saved, ',');
        if (!layout_put_saved(&ex->saved, manifest, name))
                ex->saved.n = before;
        return buf_ok(&ex->saved) ? OK : FAIL(e, ERR_LIMIT, 0, "manifest.json would be too large");
}

/* One image; `tag` is a tag or a digest. */
static RESULT walk_image(struct exporting *ex, uint32_t repository, struct slice tag, bool is_digest, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(ex->export->manifest_bytes_max);
        struct export_part part = { .repository = repository, .is_manifest = true };
        struct layout_image entry = { .name = S("") };
        struct remote_manifest info;
        bool ignored;

        TRY(remote_manifest_get(ex->client, ex->repositories[repository], tag, &body, &info, e));
        entry.digest = part.digest = info.digest;
        entry.size = part.size = body.n;
        TRY(keep(ex, slice_from(info.media_type), &entry.media_type, e));
        entry.name = arena_printf(&ex->arena, "%.*s%c%.*s", SLICE_ARG(ex->repositories[repository]), is_digest ? '@' : ':', SLICE_ARG(tag));
        if (!entry.name.p)
                return FAIL(e, ERR_NOMEM, 0, "no memory for the list of images");
        TRY(add_entry(ex, &entry, e));
        if (!is_digest)
                TRY(add_saved(ex, buf_slice(&body), entry.name, e));
        ex->report.images++;
        return add_part(ex, &part, &ignored, e);
}

static RESULT walk_page_of_tags(struct exporting *ex, uint32_t repository, struct slice body, struct err *e)
{
        json_t *root = json_loadb(body.p, body.n, 0, NULL);
        const json_t *tags = json_object_get(root, "tags");
        struct result result = OK;

        for (size_t i = 0; result.ok && i < json_array_size(tags); i++) {
                struct slice tag = slice_from(json_string_value(json_array_get(tags, i)));

                result = reference_check_tag(tag, e);
                if (result.ok)
                        result = walk_image(ex, repository, tag, false, e);
        }
        json_decref(root);
        return result;
}

static RESULT walk_all_tags(struct exporting *ex, uint32_t repository, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        struct remote_place next;

        snprintf(next.target, sizeof next.target, "/v2/%.*s/tags/list", SLICE_ARG(ex->repositories[repository]));
        while (*next.target) {
                char path[CLIENT_TARGET_MAX];

                snprintf(path, sizeof path, "%s", next.target);
                buf_reset(&body);
                TRY(remote_page(ex->client, path, &body, &next, e));
                TRY(walk_page_of_tags(ex, repository, buf_slice(&body), e));
        }
        return OK;
}

static RESULT find_repository(struct exporting *ex, struct slice name, uint32_t *ret_index, struct err *e)
{
        TRY(reference_check_repository(name, e));
        for (size_t i = 0; i < ex->repository_count; i++) {
                if (slice_eq(ex->repositories[i], name)) {
                        *ret_index = (uint32_t)i;
                        return OK;
                }
        }
        *ret_index = (uint32_t)ex->repository_count;
        ex->repositories[ex->repository_count++] = name;
        return OK;
}

static RESULT walk_name(struct exporting *ex, struct slice text, struct err *e)
{
        struct slice rest = text, name;
        struct reference reference;
        uint32_t repository;

        if (slice_cut(&rest, '@', &name)) {
                TRY(find_repository(ex, name, &repository, e));
                TRY(reference_parse(rest, &reference, e));
                return walk_image(ex, repository, rest, true, e);
        }
        if (slice_cut(&rest, ':', &name)) {
                TRY(find_repository(ex, name, &repository, e));
                TRY(reference_check_tag(rest, e));
                return walk_image(ex, repository, rest, false, e);
        }
        TRY(find_repository(ex, text, &repository, e));
        return walk_all_tags(ex, repository, e);
}

RESULT export_walk(struct exporting *ex, struct err *e)
{
        ex->repositories = calloc(ex->export->name_count + 1, sizeof *ex->repositories);
        if (!ex->repositories)
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for the list of repositories");
        for (size_t i = 0; i < ex->export->name_count; i++)
                TRY(walk_name(ex, slice_from(ex->export->names[i]), e));
        if (!ex->report.images)
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no image under %s", ex->export->names[0]);
        return visit_all(ex, e);
}
