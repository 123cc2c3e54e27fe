/* Images from what an archive told. All its blobs are in the repository im->source by now, manifests among them, and are read from
 * there: so the order of the archive does not matter, and nothing of it is kept in memory. */
#include "oci/manifest.h"
#include "oci/reference.h"
#include "transfer/import_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANIFEST_ARENA_BYTES = 64 * 1024 * 1024, CONFIG_BYTES_MAX = 4 * 1024 * 1024, LINKS_MAX = 8 };

/* Where an image goes. */
struct place {
        struct slice repository, tag;   /* the tag may be empty */
};

/* --- Names ------------------------------------------------------------------------------------------------------------ */

/* `alone`: it is the only image of the archive. */
static RESULT choose_place(struct importing *im, struct slice called, bool alone, struct place *ret_place, struct err *e)
{
        struct slice rest = called, before;
        bool has_digest = slice_cut(&rest, '@', &before);
        struct layout_name name = layout_split_name(has_digest ? before : called, true);
        struct place place = { name.repository, name.tag };

        if (im->name.tag.n && !alone)
                return FAIL(e, ERR_INVALID, 0, "the archive holds several images: give a name without a tag");
        if (im->name.repository.n)
                place.repository = im->name.repository;
        if (im->name.tag.n)
                place.tag = im->name.tag;
        if (!place.repository.n)
                return FAIL(e, ERR_INVALID, 0, "the archive does not tell the name of its image%s%.*s: give one, as in "
                                               "orlop import FILE NAME:TAG", called.n ? " " : "", SLICE_ARG(slice_head(called, 128)));
        if (!place.tag.n && !has_digest && (alone || called.n))
                place.tag = S("latest");
        TRY(reference_check_repository(place.repository, e));
        if (place.tag.n)
                TRY(reference_check_tag(place.tag, e));
        *ret_place = place;
        return OK;
}

static void tell_image(struct importing *im, const struct place *place, const struct digest *digest)
{
        im->report.images++;
        if (im->import->arrived)
                im->import->arrived(im->import->arg, place->repository, place->tag, digest);
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static RESULT lacks(const char *what, const struct digest *digest, struct err *e)
{
        return FAIL(e, ERR_INVALID, 0, "the archive is not complete: it lacks the %s %s", what, digest_format(digest).s);
}

static RESULT load(struct importing *im, const struct digest *digest, struct buf *body, struct err *e)
{
        if (remote_blob_get(im->client, im->source, digest, body, e).ok)
                return OK;
        return e->code == ERR_NOT_FOUND ? lacks("manifest", digest, e) : FAILED;
}

/* Into the image's repository, from the one that has it. */
static RESULT link_blob(struct importing *im, struct slice repository, const struct digest *digest, bool is_foreign, struct err *e)
{
        struct remote_place session;
        struct err ignored;
        bool mounted;

        if (slice_eq(repository, im->source))
                return OK;      /* the manifest is refused where it is missing */
        TRY(remote_blob_mount(im->client, repository, digest, &mounted, &session, e));
        if (mounted)
                return OK;
        IGNORE(remote_upload_cancel(im->client, &session, &ignored));  /* otherwise it expires */
        return is_foreign ? OK : lacks("blob", digest, e);
}

/* What is still to be stored: a manifest waits below those that it names until they are there. */
struct waiting {
        struct digest digest;
        struct slice media_type;        /* one of those that manifest_parse() knows */
        unsigned depth;
        bool opened;                    /* what it names lies above it */
};
struct stack {
        struct waiting *items;          /* owned */
        size_t count, room;
};

static void stack_fini(struct stack *stack)
{
        free(stack->items);
}

static RESULT known_type(struct slice type, struct slice *ret_known, struct err *e)
{
        static const char *const types[] = { MEDIA_TYPE_OCI_MANIFEST, MEDIA_TYPE_OCI_INDEX, MEDIA_TYPE_DOCKER_MANIFEST,
                                             MEDIA_TYPE_DOCKER_LIST };

        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
                *ret_known = slice_from(types[i]);
                if (slice_eq(type, *ret_known))
                        return OK;
        }
        return FAIL(e, ERR_INVALID, 0, "the archive holds a manifest of the type \"%.*s\", which is not supported",
                    SLICE_ARG(slice_head(type, MEDIA_TYPE_MAX)));
}

static RESULT push(struct stack *stack, const struct digest *digest, struct slice media_type, unsigned depth, struct err *e)
{
        struct waiting waiting = { .digest = *digest, .depth = depth };

        TRY(known_type(media_type, &waiting.media_type, e));
        if (depth > IMPORT_DEPTH_MAX)
                return FAIL(e, ERR_LIMIT, 0, "the image's indexes are nested more than %d deep", IMPORT_DEPTH_MAX);
        if (stack->count == stack->room) {
                size_t room = stack->room ? 2 * stack->room : 16;
                struct waiting *items = reallocarray(stack->items, room, sizeof *items);

                if (!items)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for an image's manifests");
                stack->items = items;
                stack->room = room;
        }
        stack->items[stack->count++] = waiting;
        return OK;
}

/* Links the blobs that the manifest names, and puts the manifests that it names on the stack. */
static RESULT open_manifest(struct importing *im, struct slice repository, struct stack *stack, const struct waiting *waiting,
                            struct slice body, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        struct manifest manifest;

        TRY(manifest_parse(waiting->media_type, body, &arena, &manifest, e));
        for (size_t i = 0; i < manifest.descriptor_count; i++) {
                const struct descriptor *d = &manifest.descriptors[i];

                if (d->is_manifest)
                        TRY(push(stack, &d->digest, d->media_type, waiting->depth + 1, e));
                else
                        TRY(link_blob(im, repository, &d->digest, d->is_foreign, e));
        }
        return OK;
}

/* The topmost: what is there already is complete; what was opened has all that it names by now. */
static RESULT put_top(struct importing *im, struct slice repository, struct stack *stack, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);
        size_t at = stack->count - 1;
        struct waiting top = stack->items[at];
        struct digest_text text = digest_format(&top.digest);
        bool has;

        TRY(remote_manifest_has(im->client, repository, &top.digest, &has, e));
        if (has) {
                stack->count = at;
                return OK;
        }
        TRY(load(im, &top.digest, &body, e));
        if (!top.opened) {
                stack->items[at].opened = true;
                TRY(open_manifest(im, repository, stack, &top, buf_slice(&body), e));
                if (stack->count > at + 1)
                        return OK;
        }
        stack->count = at;
        return remote_manifest_put(im->client, repository, slice_from(text.s), top.media_type, buf_slice(&body), e);
}

/* A manifest by its digest, after all that it names. */
static RESULT put_tree(struct importing *im, struct slice repository, const struct digest *digest, struct slice media_type, struct err *e)
{
        _cleanup_(stack_fini) struct stack stack = { .items = NULL };

        TRY(push(&stack, digest, media_type, 0, e));
        while (stack.count)
                TRY(put_top(im, repository, &stack, e));
        return OK;
}

static RESULT put_image(struct importing *im, const struct place *place, const struct layout_image *image, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);

        TRY(put_tree(im, place->repository, &image->digest, image->media_type, e));
        if (place->tag.n) {
                TRY(load(im, &image->digest, &body, e));
                TRY(remote_manifest_put(im->client, place->repository, place->tag, image->media_type, buf_slice(&body), e));
        }
        tell_image(im, place, &image->digest);
        return OK;
}

/* --- index.json ------------------------------------------------------------------------------------------------------- */

/* Entries without a name that tell a subject go where it is. */
struct referring {
        const struct layout_image *image;
        struct digest subject;
        bool done;
};

struct index {
        const struct layout_image *images;
        size_t count;
        struct referring *referrers;
        size_t referrer_count;
        struct slice *repositories;     /* that got an image */
        size_t repository_count;
};

static RESULT read_subject(struct importing *im, const struct layout_image *image, bool *ret_has, struct digest *ret_subject,
                           struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);
        struct manifest manifest;

        TRY(load(im, &image->digest, &body, e));
        TRY(manifest_parse(image->media_type, buf_slice(&body), &arena, &manifest, e));
        *ret_has = manifest.has_subject;
        if (manifest.has_subject)
                *ret_subject = manifest.subject.digest;
        return OK;
}

static RESULT sort_out(struct importing *im, struct index *index, struct err *e)
{
        for (size_t i = 0; i < index->count; i++) {
                struct referring *next = &index->referrers[index->referrer_count];
                bool has = false;

                if (!index->images[i].name.n)
                        TRY(read_subject(im, &index->images[i], &has, &next->subject, e));
                if (has)
                        next->image = &index->images[i];
                index->referrer_count += has;
        }
        return OK;
}

static bool is_referrer(const struct index *index, const struct layout_image *image)
{
        for (size_t i = 0; i < index->referrer_count; i++)
                if (index->referrers[i].image == image)
                        return true;
        return false;
}

static void add_repository(struct index *index, struct slice repository)
{
        for (size_t i = 0; i < index->repository_count; i++)
                if (slice_eq(index->repositories[i], repository))
                        return;
        index->repositories[index->repository_count++] = repository;
}

static void complain(struct importing *im, const struct layout_image *image, const char *why)
{
        char text[300];

        snprintf(text, sizeof text, "%s is left out: %s", digest_format(&image->digest).s, why);
        progress_complain(&im->import->progress, text);
}

/* Beside images that have names, one without is not worth ending for. */
static bool is_nameless(struct importing *im, const struct layout_image *image, bool alone)
{
        if (image->name.n || im->name.repository.n || alone)
                return false;
        complain(im, image, "the archive does not tell its name");
        return true;
}

/* --- Indexes of which the archive holds a part ------------------------------------------------------------------------- */

struct present {
        size_t missing, images;
        struct layout_image image;      /* the last of them; its media type lives in the arena */
};

/* Signed statements about the images of an index stand in it like images. */
static bool is_statement(const struct manifest *manifest)
{
        for (size_t i = 0; i < manifest->descriptor_count; i++)
                if (slice_starts(manifest->descriptors[i].media_type, S("application/vnd.in-toto+json")))
                        return true;
        return false;
}

static RESULT look_at_child(struct importing *im, const struct descriptor *child, struct present *present, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);
        struct manifest manifest;

        if (!remote_blob_get(im->client, im->source, &child->digest, &body, e).ok) {
                present->missing++;
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        }
        TRY(manifest_parse(child->media_type, buf_slice(&body), &arena, &manifest, e));
        if (is_statement(&manifest))
                return OK;
        present->images++;
        present->image.digest = child->digest;
        present->image.size = child->size;
        return known_type(manifest.media_type, &present->image.media_type, e);
}

static RESULT look_at_index(struct importing *im, const struct layout_image *image, struct present *present, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);
        struct manifest manifest;

        TRY(load(im, &image->digest, &body, e));
        TRY(manifest_parse(image->media_type, buf_slice(&body), &arena, &manifest, e));
        for (size_t i = 0; i < manifest.descriptor_count; i++)
                if (manifest.descriptors[i].is_manifest)
                        TRY(look_at_child(im, &manifest.descriptors[i], present, e));
        return OK;
}

/* `docker save` writes the index of all platforms beside the one image that it has: then that one gets the name. */
static RESULT choose_present(struct importing *im, const struct layout_image *image, struct layout_image *ret_image, struct err *e)
{
        struct present present = { .image = *image };

        *ret_image = *image;
        TRY(look_at_index(im, image, &present, e));
        if (present.missing == 0)
                return OK;
        if (present.images != 1)
                return FAIL(e, ERR_INVALID, 0, "the archive is not complete: it lacks %zu of the images that the index %s lists",
                            present.missing, digest_format(&image->digest).s);
        complain(im, image, "of the images that this index lists the archive holds one, which gets its name");
        *ret_image = present.image;
        return OK;
}

/* --- All of them ------------------------------------------------------------------------------------------------------ */

static RESULT put_named(struct importing *im, struct index *index, struct err *e)
{
        bool alone = index->count - index->referrer_count == 1;

        for (size_t i = 0; i < index->count; i++) {
                struct layout_image image;
                struct place place;

                if (is_referrer(index, &index->images[i]) || is_nameless(im, &index->images[i], alone))
                        continue;
                TRY(choose_place(im, index->images[i].name, alone, &place, e));
                TRY(choose_present(im, &index->images[i], &image, e));
                TRY(put_image(im, &place, &image, e));
                add_repository(index, place.repository);
        }
        return OK;
}

static RESULT try_referrer(struct importing *im, struct index *index, struct referring *referring, struct err *e)
{
        for (size_t i = 0; i < index->repository_count; i++) {
                bool has;

                TRY(remote_manifest_has(im->client, index->repositories[i], &referring->subject, &has, e));
                if (!has)
                        continue;
                TRY(put_tree(im, index->repositories[i], &referring->image->digest, referring->image->media_type, e));
                im->report.referrers += !referring->done;
                referring->done = true;
        }
        return OK;
}

/* A referrer may be another one's subject: again until nothing moves. */
static RESULT put_referrers(struct importing *im, struct index *index, struct err *e)
{
        uint64_t before;

        do {
                before = im->report.referrers;
                for (size_t i = 0; i < index->referrer_count; i++)
                        if (!index->referrers[i].done)
                                TRY(try_referrer(im, index, &index->referrers[i], e));
        } while (im->report.referrers > before);
        for (size_t i = 0; i < index->referrer_count; i++)
                if (!index->referrers[i].done)
                        complain(im, index->referrers[i].image, "what it refers to is not there");
        return OK;
}

static RESULT import_index(struct importing *im, struct err *e)
{
        struct layout_image *images;
        struct index index = { .count = 0 };

        TRY(layout_parse_index(buf_slice(&im->index), &im->arena, &images, &index.count, e));
        index.images = images;
        index.referrers = arena_alloc(&im->arena, (index.count + 1) * sizeof *index.referrers);
        index.repositories = arena_alloc(&im->arena, (index.count + 2) * sizeof *index.repositories);
        if (!index.referrers || !index.repositories)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an index of %zu images", index.count);
        if (index.count == 0)
                return FAIL(e, ERR_INVALID, 0, "the archive holds no image");
        if (im->name.repository.n)
                add_repository(&index, im->name.repository);
        TRY(sort_out(im, &index, e));
        TRY(put_named(im, &index, e));
        return put_referrers(im, &index, e);
}

/* --- manifest.json ---------------------------------------------------------------------------------------------------- */

static const struct import_file *find_file(const struct importing *im, struct slice path)
{
        for (unsigned links = 0; links <= LINKS_MAX; links++) {
                const struct import_file *found = NULL;

                for (size_t i = 0; i < im->file_count; i++)
                        if (slice_eq(im->files[i].path, path))
                                found = &im->files[i];  /* the last one counts, as for tar */
                if (!found || !found->link.p)
                        return found;
                path = found->link;
        }
        return NULL;
}

static RESULT part_of(struct importing *im, struct slice path, const char *media_type, struct layout_part *ret_part, struct err *e)
{
        char clean[ARCHIVE_PATH_MAX];
        const struct import_file *file = archive_path_join(S(""), path, clean) ? find_file(im, slice_from(clean)) : NULL;

        if (!file)
                return FAIL(e, ERR_INVALID, 0, "the archive is not complete: manifest.json names %.*s, which is not there",
                            SLICE_ARG(slice_head(path, 200)));
        *ret_part = (struct layout_part){ media_type ? media_type : file->media_type, file->digest, file->size };
        return OK;
}

/* The configuration tells what the layers must be: those that are not compressed can be held against it. */
static RESULT check_layers(struct importing *im, const struct layout_part *parts, size_t count, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(MANIFEST_ARENA_BYTES);
        _cleanup_(buf_fini) struct buf config = BUF_INIT(CONFIG_BYTES_MAX);
        struct digest *ids;
        size_t id_count;

        TRY(remote_blob_get(im->client, im->source, &parts[0].digest, &config, e));
        TRY(layout_parse_diff_ids(buf_slice(&config), &arena, &ids, &id_count, e));
        if (id_count != count - 1)
                return FAIL(e, ERR_INVALID, 0, "the image's configuration tells of %zu layers, manifest.json of %zu", id_count, count - 1);
        for (size_t i = 0; i < id_count; i++)
                if (slice_ends(slice_from(parts[i + 1].media_type), S(".tar")) && !digest_eq(&ids[i], &parts[i + 1].digest))
                        return FAIL(e, ERR_INVALID, 0, "layer %zu of the image has the digest %s, not %s as its configuration tells", i + 1,
                                    digest_format(&parts[i + 1].digest).s, digest_format(&ids[i]).s);
        return OK;
}

static RESULT collect_parts(struct importing *im, const struct layout_saved *saved, struct layout_part *parts, struct err *e)
{
        TRY(part_of(im, saved->config, "application/vnd.oci.image.config.v1+json", &parts[0], e));
        for (size_t i = 0; i < saved->layer_count; i++)
                TRY(part_of(im, saved->layers[i], NULL, &parts[i + 1], e));
        return check_layers(im, parts, saved->layer_count + 1, e);
}

static RESULT put_saved(struct importing *im, const struct place *place, const struct layout_part *parts, size_t count, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(im->import->manifest_bytes_max);
        struct digest_text text;
        struct digest digest;

        for (size_t i = 0; i < count; i++)
                TRY(link_blob(im, place->repository, &parts[i].digest, false, e));
        layout_put_manifest(&body, parts, count);
        if (!buf_ok(&body))
                return FAIL(e, ERR_LIMIT, 0, "the image's manifest would be larger than %zu bytes", body.max);
        digest_of_bytes(SHA_256, buf_slice(&body), &digest);
        text = digest_format(&digest);
        TRY(remote_manifest_put(im->client, place->repository, place->tag.n ? place->tag : slice_from(text.s), S(MEDIA_TYPE_OCI_MANIFEST),
                                buf_slice(&body), e));
        tell_image(im, place, &digest);
        return OK;
}

static RESULT import_saved_image(struct importing *im, const struct layout_saved *saved, bool alone, struct err *e)
{
        struct layout_part *parts = arena_alloc(&im->arena, (saved->layer_count + 1) * sizeof *parts);
        struct place place;

        if (!parts)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an image of %zu layers", saved->layer_count);
        TRY(collect_parts(im, saved, parts, e));
        for (size_t i = 0; i < MAX(saved->tag_count, (size_t)1); i++) {
                struct slice called = i < saved->tag_count ? saved->tags[i] : S("");

                TRY(choose_place(im, called, alone && saved->tag_count <= 1, &place, e));
                TRY(put_saved(im, &place, parts, saved->layer_count + 1, e));
        }
        return OK;
}

static RESULT import_saved(struct importing *im, struct err *e)
{
        struct layout_saved *images;
        size_t count;

        TRY(layout_parse_saved(buf_slice(&im->saved), &im->arena, &images, &count, e));
        if (count == 0)
                return FAIL(e, ERR_INVALID, 0, "the archive holds no image");
        for (size_t i = 0; i < count; i++)
                TRY(import_saved_image(im, &images[i], count == 1, e));
        return OK;
}

RESULT import_images(struct importing *im, struct err *e)
{
        if (im->index.n)
                return import_index(im, e);
        if (im->saved.n)
                return import_saved(im, e);
        return FAIL(e, ERR_INVALID, 0, "the archive holds no images: it has neither index.json (OCI image layout) nor manifest.json "
                                       "(docker save) at its top");
}
