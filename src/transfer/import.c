#include "transfer/import.h"

#include "oci/reference.h"
#include "transfer/import_internal.h"

#include <errno.h>

enum { STEP_BYTES = 1024 * 1024, ARENA_BYTES = 64 * 1024 * 1024, MAGIC_BYTES = 4 };

static void importing_fini(struct importing *im)
{
        archive_in_free(im->in);
        arena_fini(&im->arena);
        buf_fini(&im->index);
        buf_fini(&im->saved);
        free(im->files);
        free(im->bytes);
}

static void tell(struct importing *im)
{
        uint64_t done, total;

        archive_in_position(im->in, &done, &total);
        progress_tell(&im->import->progress, "archive", done ? done : im->report.blob_bytes, total);
}

/* --- Bytes ------------------------------------------------------------------------------------------------------------ */

/* The entry's bytes to the upload that has begun. `sha` and `magic` may be NULL. */
static RESULT send_entry(struct importing *im, const struct archive_entry_in *entry, struct sha *sha, char *magic, struct err *e)
{
        uint64_t left = entry->size;
        size_t n;

        while (left) {
                TRY(archive_in_read(im->in, im->bytes, (size_t)MIN(left, (uint64_t)STEP_BYTES), &n, e));
                if (n == 0)
                        return FAIL(e, ERR_INVALID, 0, "the archive ends within %s", entry->path);
                if (sha)
                        sha_update(sha, im->bytes, n);
                if (magic && left == entry->size)
                        memcpy(magic, im->bytes, MIN(n, (size_t)MAGIC_BYTES));
                TRY(client_send(im->client, (struct slice){ im->bytes, n }, e));
                left -= n;
                im->report.blob_bytes += n;
                tell(im);
        }
        return OK;
}

/* A blob whose name is its digest: what the registry has is linked and not sent. */
static RESULT take_blob(struct importing *im, const struct archive_entry_in *entry, const struct digest *digest, struct err *e)
{
        struct remote_place place;
        bool mounted;

        TRY(remote_blob_mount(im->client, im->source, digest, &mounted, &place, e));
        if (mounted) {
                im->report.blobs_there++;
                return OK;
        }
        TRY(remote_upload_send(im->client, &place, digest, entry->size, e));
        TRY(send_entry(im, entry, NULL, NULL, e));
        if (!remote_upload_end(im->client, &place, digest, e).ok)
                return err_context(e, "%s", entry->path);
        im->report.blobs++;
        return OK;
}

static const char *layer_type(const char magic[static MAGIC_BYTES])
{
        if (memcmp(magic, "\x1f\x8b", 2) == 0)
                return "application/vnd.oci.image.layer.v1.tar+gzip";
        if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
                return "application/vnd.oci.image.layer.v1.tar+zstd";
        return "application/vnd.oci.image.layer.v1.tar";
}

static RESULT remember(struct importing *im, const struct import_file *file, struct err *e)
{
        if (im->file_count == IMPORT_FILES_MAX)
                return FAIL(e, ERR_LIMIT, 0, "the archive has more than %d files that may be layers", IMPORT_FILES_MAX);
        if (im->file_count == im->file_room) {
                size_t room = im->file_room ? 2 * im->file_room : 64;
                struct import_file *files = reallocarray(im->files, room, sizeof *files);

                if (!files)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for the names in the archive");
                im->files = files;
                im->file_room = room;
        }
        im->files[im->file_count++] = *file;
        return OK;
}

static RESULT copy_name(struct importing *im, const char *name, struct slice *ret_copy, struct err *e)
{
        *ret_copy = arena_copy(&im->arena, slice_from(name));
        return ret_copy->p ? OK : FAIL(e, ERR_NOMEM, 0, "no memory for the names in the archive");
}

/* A file whose digest is known when its bytes have gone by. */
static RESULT take_file(struct importing *im, const struct archive_entry_in *entry, struct err *e)
{
        struct import_file file = { .size = entry->size };
        struct remote_place place;
        char magic[MAGIC_BYTES] = "";
        struct sha sha;

        TRY(copy_name(im, entry->path, &file.path, e));
        sha_init(&sha, SHA_256);
        TRY(remote_upload_begin(im->client, im->source, &place, e));
        TRY(remote_upload_send(im->client, &place, NULL, entry->size, e));
        TRY(send_entry(im, entry, &sha, magic, e));
        TRY(remote_upload_end(im->client, &place, NULL, e));
        digest_of_sha(&sha, &file.digest);
        TRY(remote_upload_send(im->client, &place, &file.digest, 0, e));
        TRY(remote_upload_end(im->client, &place, &file.digest, e));
        file.media_type = layer_type(magic);
        im->report.blobs++;
        return remember(im, &file, e);
}

static RESULT take_link(struct importing *im, const struct archive_entry_in *entry, struct err *e)
{
        struct import_file file = { .size = 0 };

        TRY(copy_name(im, entry->path, &file.path, e));
        TRY(copy_name(im, entry->target, &file.link, e));
        return remember(im, &file, e);
}

static RESULT take_document(struct importing *im, const struct archive_entry_in *entry, struct buf *b, struct err *e)
{
        char *room = entry->size <= LAYOUT_DOCUMENT_MAX ? buf_reserve(b, (size_t)entry->size + 1) : NULL;
        size_t n;

        if (!room)
                return FAIL(e, ERR_LIMIT, 0, "%s has more than %d bytes", entry->path, LAYOUT_DOCUMENT_MAX);
        for (b->n = 0; b->n < entry->size; b->n += n) {
                TRY(archive_in_read(im->in, room + b->n, (size_t)entry->size - b->n, &n, e));
                if (n == 0)
                        return FAIL(e, ERR_INVALID, 0, "the archive ends within %s", entry->path);
        }
        return OK;
}

/* --- Entries ---------------------------------------------------------------------------------------------------------- */

/* "blobs/sha256/ab12…" */
static bool parse_blob_path(struct slice path, struct digest *ret_digest)
{
        struct slice algorithm;
        char text[DIGEST_TEXT_MAX];
        struct err ignored;

        if (!slice_starts(path, S("blobs/")))
                return false;
        path = slice_skip(path, strlen("blobs/"));
        if (!slice_cut(&path, '/', &algorithm) || algorithm.n + 1 + path.n >= sizeof text)
                return false;
        memcpy(text, algorithm.p, algorithm.n);
        text[algorithm.n] = ':';
        memcpy(text + algorithm.n + 1, path.p, path.n);
        return digest_parse((struct slice){ text, algorithm.n + 1 + path.n }, ret_digest, &ignored).ok;
}

/* Of `docker save`: layers and configurations. What else is there is for older programs. */
static bool may_be_named(struct slice path)
{
        return slice_ends(path, S(".tar")) || slice_ends(path, S(".json")) || slice_ends(path, S(".tar.gz"));
}

static RESULT take_entry(struct importing *im, const struct archive_entry_in *entry, struct err *e)
{
        struct slice path = slice_from(entry->path);
        struct digest digest;

        if (entry->kind == ARCHIVE_OTHER)
                return OK;
        if (entry->kind == ARCHIVE_LINK)
                return may_be_named(path) ? take_link(im, entry, e) : OK;
        if (slice_eq(path, S("index.json")))
                return take_document(im, entry, &im->index, e);
        if (slice_eq(path, S("manifest.json")))
                return take_document(im, entry, &im->saved, e);
        if (parse_blob_path(path, &digest))
                return take_blob(im, entry, &digest, e);
        return may_be_named(path) ? take_file(im, entry, e) : OK;
}

static RESULT take_entries(struct importing *im, struct err *e)
{
        struct archive_entry_in entry;
        bool found;

        for (;;) {
                TRY(archive_in_next(im->in, &entry, &found, e));
                if (!found)
                        return OK;
                TRY(take_entry(im, &entry, e));
                tell(im);
        }
}

static RESULT read_name(struct importing *im, struct err *e)
{
        if (!im->import->name) {
                im->source = S(IMPORT_REPOSITORY);
                return OK;
        }
        im->name = layout_split_name(slice_from(im->import->name), false);
        TRY(reference_check_repository(im->name.repository, e));
        if (im->name.tag.n)
                TRY(reference_check_tag(im->name.tag, e));
        im->source = im->name.repository;
        return OK;
}

RESULT import_run(const struct import *import, struct import_report *ret_report, struct err *e)
{
        _cleanup_(importing_fini) struct importing im = {
                .import = import,
                .client = import->client,
                .arena = ARENA_INIT(ARENA_BYTES),
                .index = BUF_INIT(LAYOUT_DOCUMENT_MAX + 1),
                .saved = BUF_INIT(LAYOUT_DOCUMENT_MAX + 1),
                .bytes = malloc(STEP_BYTES),
        };

        if (!im.bytes)
                return FAIL(e, ERR_NOMEM, ENOMEM, "read an archive");
        TRY(read_name(&im, e));
        TRY(archive_in_open(import->path, &im.in, e));
        TRY(take_entries(&im, e));
        TRY(import_images(&im, e));
        *ret_report = im.report;
        return OK;
}
