#include "registry/scrub.h"

#include "base/fs.h"
#include "registry/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>

enum { PIECE_BYTES = 256 * 1024, ARENA_BYTES = 64 * 1024 };

/* Damage is a finding, not a failure: *found says what it is. */
static void finding(struct scrub_found *found, const char *what)
{
        found->verdict = SCRUB_DAMAGED;
        snprintf(found->what, sizeof found->what, "%.*s", (int)sizeof found->what - 1, what);
}

static void compare(struct scrub_found *found, const struct digest *have)
{
        if (!digest_eq(have, &found->digest))
                finding(found, "its bytes are not those of its digest");
}

/* A read error of the disk is damage as well. */
static RESULT hash_file(int fd, const struct scrub_pace *pace, struct scrub_found *found, struct digest *ret_have, struct err *e)
{
        _cleanup_free_ char *piece = malloc(PIECE_BYTES);
        struct sha sha;
        size_t n;

        if (!piece)
                return FAIL(e, ERR_NOMEM, ENOMEM, "read a blob again");
        sha_init(&sha, found->digest.algorithm);
        for (;;) {
                TRY(fs_read_at(fd, found->bytes_read, piece, PIECE_BYTES, &n, "a blob's file", e));
                if (n == 0)
                        break;
                sha_update(&sha, piece, n);
                found->bytes_read += n;
                if (!pace->go_on(pace->arg, n))
                        return FAIL(e, ERR_CLOSED, 0, "the reading was ended");
        }
        digest_of_sha(&sha, ret_have);
        return OK;
}

static RESULT scrub_open_file(int fd, uint64_t size, const struct scrub_pace *pace, struct scrub_found *found, struct err *e)
{
        struct digest have;
        char what[120];

        if (size != found->size) {
                snprintf(what, sizeof what, "its file has %llu bytes instead of %llu", (unsigned long long)size,
                         (unsigned long long)found->size);
                finding(found, what);
                return OK;
        }
        if (!hash_file(fd, pace, found, &have, e).ok) {
                if (e->code != ERR_IO)
                        return FAILED;
                finding(found, e->message);
                return OK;
        }
        compare(found, &have);
        return OK;
}

/* Is its beginning in memory, because somebody has just read it? */
static bool is_in_memory(int fd)
{
        char byte;
        struct iovec to = { &byte, 1 };

        return preadv2(fd, &to, 1, 0, RWF_NOWAIT) == 1;
}

/* What was read is not kept in memory, where clients' blobs are more useful; those that clients read stay. */
static RESULT scrub_file(struct registry *registry, const struct meta_blob *blob, const struct scrub_pace *pace,
                         struct scrub_found *found, struct err *e)
{
        _cleanup_fd_ int fd = -1;
        uint64_t size;
        struct result result;
        bool keep;

        if (!blob_open(registry->blobs, &blob->digest, &blob->id, &fd, &size, e).ok) {
                if (e->code != ERR_NOT_FOUND && e->code != ERR_IO)
                        return FAILED;
                finding(found, e->code == ERR_NOT_FOUND ? "its file is missing" : e->message);
                return OK;
        }
        keep = is_in_memory(fd);
        result = scrub_open_file(fd, size, pace, found, e);
        if (!keep)
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return result;
}

static RESULT note_verdict(struct registry *registry, const struct meta_blob *blob, struct scrub_found *found, struct err *e)
{
        const struct upload_id *object = blob->in_database ? NULL : &blob->id;
        bool marked;

        if (found->verdict == SCRUB_GOOD && blob->damaged) {
                found->verdict = SCRUB_MENDED;
                return meta_blob_set_whole(registry->meta, &blob->digest, object, e);
        }
        if (found->verdict != SCRUB_DAMAGED)
                return OK;
        if (blob->damaged) {
                found->verdict = SCRUB_KNOWN;
                return OK;
        }
        TRY(meta_blob_set_damaged(registry->meta, &blob->digest, object, slice_from(found->what), &marked, e));
        if (!marked)
                found->verdict = SCRUB_GONE;
        return OK;
}

RESULT registry_blob_read(struct registry *registry, const struct meta_blob *blob, const struct scrub_pace *pace,
                          struct scrub_found *ret_found, struct err *e)
{
        struct scrub_found found = { .verdict = SCRUB_GOOD, .digest = blob->digest, .size = blob->size };
        struct digest have;

        if (blob->in_database) {
                digest_of_bytes(found.digest.algorithm, blob->bytes, &have);
                found.bytes_read = blob->bytes.n;
                compare(&found, &have);
        } else {
                TRY(scrub_file(registry, blob, pace, &found, e));
        }
        *ret_found = found;
        return OK;
}

RESULT registry_scrub_next(struct registry *registry, int64_t last_id, const struct scrub_pace *pace, struct scrub_found *ret_found,
                           struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct scrub_found found;
        struct meta_stored stored;

        TRY(meta_stored_next(registry->meta, last_id, &arena, &stored, e));
        TRY(registry_blob_read(registry, &stored.blob, pace, &found, e));
        found.id = stored.id;
        TRY(note_verdict(registry, &stored.blob, &found, e));
        *ret_found = found;
        return OK;
}

RESULT registry_scrub_get(struct registry *registry, struct meta_scrub *ret_scrub, struct err *e)
{
        return meta_scrub_get(registry->meta, ret_scrub, e);
}

RESULT registry_scrub_put(struct registry *registry, const struct meta_scrub *scrub, struct err *e)
{
        return meta_scrub_put(registry->meta, scrub, e);
}

RESULT registry_totals(struct registry *registry, struct meta_totals *ret_totals, struct err *e)
{
        return meta_totals(registry->meta, ret_totals, e);
}

RESULT registry_damaged(struct registry *registry, size_t n, struct arena *arena, struct meta_damaged_list *ret_list, struct err *e)
{
        return meta_damaged_list(registry->meta, n, arena, ret_list, e);
}
