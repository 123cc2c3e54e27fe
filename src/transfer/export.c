#include "transfer/export.h"

#include "transfer/archive_out.h"
#include "transfer/export_internal.h"

#include <errno.h>
#include <stdio.h>

enum { STEP_BYTES = 256 * 1024, ARENA_BYTES = 64 * 1024 * 1024, SAVED_BYTES_MAX = 64 * 1024 * 1024, INDEX_BYTES_MAX = 64 * 1024 * 1024 };

struct writing {
        struct exporting *ex;           /* borrowed */
        struct archive_out *out;        /* owned */
        char *bytes;                    /* owned */
        uint64_t done;
};

static void writing_fini(struct writing *w)
{
        archive_out_free(w->out);
        free(w->bytes);
}

static void exporting_fini(struct exporting *ex)
{
        arena_fini(&ex->arena);
        buf_fini(&ex->saved);
        free(ex->repositories);
        free(ex->entries);
        free(ex->parts);
        free(ex->slots);
}

/* --- Parts ------------------------------------------------------------------------------------------------------------ */

static void blob_path(const struct digest *digest, char path[static DIGEST_TEXT_MAX + 8])
{
        struct digest_text text = digest_format(digest);

        *strchr(text.s, ':') = '/';
        snprintf(path, DIGEST_TEXT_MAX + 8, "blobs/%s", text.s);
}

static RESULT write_manifest(struct writing *w, const struct export_part *part, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(w->ex->export->manifest_bytes_max);
        struct digest_text text = digest_format(&part->digest);
        struct remote_manifest info;
        char path[DIGEST_TEXT_MAX + 8];

        TRY(remote_manifest_get(w->ex->client, w->ex->repositories[part->repository], slice_from(text.s), &body, &info, e));
        blob_path(&part->digest, path);
        return archive_out_put(w->out, path, buf_slice(&body), e);
}

static RESULT pump(struct writing *w, const struct export_part *part, uint64_t size, struct err *e)
{
        struct digest have;
        struct sha sha;
        size_t n;

        sha_init(&sha, part->digest.algorithm);
        while (size) {
                TRY(client_receive(w->ex->client, w->bytes, (size_t)MIN(size, (uint64_t)STEP_BYTES), &n, e));
                sha_update(&sha, w->bytes, n);
                TRY(archive_out_write(w->out, (struct slice){ w->bytes, n }, e));
                size -= n;
                w->done += n;
                progress_tell(&w->ex->export->progress, "blobs", w->done, w->ex->report.bytes);
        }
        digest_of_sha(&sha, &have);
        return digest_eq(&have, &part->digest) ? OK : FAIL(e, ERR_CORRUPT, 0, "the bytes of blob %s are not those of its digest",
                                                           digest_format(&part->digest).s);
}

static RESULT write_blob(struct writing *w, const struct export_part *part, struct err *e)
{
        char path[DIGEST_TEXT_MAX + 8];
        uint64_t size;

        if (!remote_blob_open(w->ex->client, w->ex->repositories[part->repository], &part->digest, &size, e).ok) {
                if (part->is_foreign && e->code == ERR_NOT_FOUND)
                        return OK;      /* it lies somewhere else, and the manifest tells where */
                return FAILED;
        }
        if (size != part->size)
                return FAIL(e, ERR_CORRUPT, 0, "blob %s has %llu bytes, not %llu", digest_format(&part->digest).s,
                            (unsigned long long)size, (unsigned long long)part->size);
        blob_path(&part->digest, path);
        TRY(archive_out_begin(w->out, path, size, e));
        w->ex->report.blobs++;
        return pump(w, part, size, e);
}

/* --- Documents -------------------------------------------------------------------------------------------------------- */

static RESULT write_index(struct writing *w, struct err *e)
{
        _cleanup_(buf_fini) struct buf index = BUF_INIT(INDEX_BYTES_MAX);

        layout_put_index(&index, w->ex->entries, w->ex->entry_count);
        if (!buf_ok(&index))
                return FAIL(e, ERR_LIMIT, 0, "index.json would be too large");
        return archive_out_put(w->out, "index.json", buf_slice(&index), e);
}

static RESULT write_saved(struct writing *w, struct err *e)
{
        _cleanup_(buf_fini) struct buf saved = BUF_INIT(SAVED_BYTES_MAX + 2);

        if (w->ex->saved.n == 0)
                return OK;
        buf_put_char(&saved, '[');
        buf_put(&saved, buf_slice(&w->ex->saved));
        buf_put_char(&saved, ']');
        if (!buf_ok(&saved))
                return FAIL(e, ERR_LIMIT, 0, "manifest.json would be too large");
        return archive_out_put(w->out, "manifest.json", buf_slice(&saved), e);
}

/* The index stands last: a folder without it is nobody's layout. */
static RESULT write_all(struct writing *w, struct err *e)
{
        TRY(archive_out_put(w->out, "oci-layout", S(LAYOUT_VERSION_FILE), e));
        for (size_t i = 0; i < w->ex->part_count; i++) {
                const struct export_part *part = &w->ex->parts[i];

                TRY(part->is_manifest ? write_manifest(w, part, e) : write_blob(w, part, e));
        }
        TRY(write_saved(w, e));
        TRY(write_index(w, e));
        return archive_out_finish(w->out, e);
}

RESULT export_run(const struct export *export, struct export_report *ret_report, struct err *e)
{
        _cleanup_(exporting_fini) struct exporting ex = {
                .export = export,
                .client = export->client,
                .arena = ARENA_INIT(ARENA_BYTES),
                .saved = BUF_INIT(SAVED_BYTES_MAX),
        };
        _cleanup_(writing_fini) struct writing w = { .ex = &ex, .bytes = malloc(STEP_BYTES) };

        if (!w.bytes)
                return FAIL(e, ERR_NOMEM, ENOMEM, "write an archive");
        TRY(export_walk(&ex, e));
        TRY(archive_out_open(export->path, &w.out, e));
        TRY(write_all(&w, e));
        *ret_report = ex.report;
        return OK;
}
