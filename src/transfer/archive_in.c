#include "transfer/archive_in.h"

#include "base/buf.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { BLOCK_BYTES = 256 * 1024 };

struct archive_in {
        struct archive *archive;        /* owned */
        struct archive_entry *entry;    /* borrowed from archive; of a folder: owned */
        bool is_folder;
        size_t prefix;                  /* of a folder: what stands before the paths in it */
        int fd;                         /* owned */
        uint64_t size;
        unsigned entries;
        char path[ARCHIVE_PATH_MAX], target[ARCHIVE_PATH_MAX];
};

void archive_in_free(struct archive_in *in)
{
        if (!in)
                return;
        if (in->archive)
                archive_read_free(in->archive);
        if (in->is_folder)
                archive_entry_free(in->entry);
        cleanup_fd(&in->fd);
        free(in);
}

/* --- Opening ---------------------------------------------------------------------------------------------------------- */

static struct result fail_archive(struct archive_in *in, const char *what, struct err *e)
{
        const char *reason = archive_error_string(in->archive);

        return FAIL(e, ERR_INVALID, 0, "%s: %s", what, reason ? reason : "it is damaged");
}

/* Only what the library reads by itself: it would start programs for other kinds. */
static bool prepare_tar(struct archive *archive)
{
        return archive_read_support_filter_gzip(archive) == ARCHIVE_OK && archive_read_support_filter_zstd(archive) == ARCHIVE_OK &&
               archive_read_support_filter_xz(archive) == ARCHIVE_OK && archive_read_support_filter_bzip2(archive) == ARCHIVE_OK &&
               archive_read_support_format_tar(archive) == ARCHIVE_OK;
}

static RESULT open_tar(struct archive_in *in, int fd, struct err *e)
{
        in->archive = archive_read_new();
        if (!in->archive || !prepare_tar(in->archive))
                return FAIL(e, ERR_NOMEM, 0, "prepare to read an archive");
        if (archive_read_open_fd(in->archive, fd, BLOCK_BYTES) != ARCHIVE_OK)
                return fail_archive(in, "this is no tar archive", e);
        return OK;
}

static RESULT open_folder(struct archive_in *in, const char *path, struct err *e)
{
        in->is_folder = true;
        in->prefix = strlen(path);
        in->archive = archive_read_disk_new();
        in->entry = archive_entry_new();
        if (!in->archive || !in->entry)
                return FAIL(e, ERR_NOMEM, 0, "prepare to read a folder");
        archive_read_disk_set_symlink_physical(in->archive);
        archive_read_disk_set_behavior(in->archive, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_XATTR |
                                                            ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_FFLAGS);
        if (archive_read_disk_open(in->archive, path) != ARCHIVE_OK)
                return fail_archive(in, path, e);
        return OK;
}

static RESULT open_path(struct archive_in *in, const char *path, struct err *e)
{
        struct stat st;

        if (strcmp(path, "-") == 0)
                return open_tar(in, STDIN_FILENO, e);
        in->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (in->fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path);
        if (fstat(in->fd, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", path);
        if (S_ISDIR(st.st_mode))
                return open_folder(in, path, e);
        in->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        return open_tar(in, in->fd, e);
}

RESULT archive_in_open(const char *path, struct archive_in **ret_in, struct err *e)
{
        _cleanup_(archive_in_freep) struct archive_in *in = calloc(1, sizeof *in);

        if (!in)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open %s", path);
        in->fd = -1;
        TRY(open_path(in, path, e));
        *ret_in = TAKE_PTR(in);
        return OK;
}

/* --- Names ------------------------------------------------------------------------------------------------------------ */

static bool drop_last(char *path, size_t *n)
{
        if (*n == 0)
                return false;
        while (*n && path[*n - 1] != '/')
                --*n;
        if (*n)
                --*n;
        path[*n] = 0;
        return true;
}

static bool add_parts(struct slice parts, char path[static ARCHIVE_PATH_MAX], size_t *n)
{
        struct slice part;

        while (slice_next(&parts, '/', &part)) {
                if (part.n == 0 || slice_eq(part, S(".")))
                        continue;
                if (slice_eq(part, S(".."))) {
                        if (!drop_last(path, n))
                                return false;
                        continue;
                }
                if (*n + 1 + part.n >= ARCHIVE_PATH_MAX)
                        return false;
                if (*n)
                        path[(*n)++] = '/';
                memcpy(path + *n, part.p, part.n);
                *n += part.n;
                path[*n] = 0;
        }
        return true;
}

bool archive_path_join(struct slice folder, struct slice path, char ret_path[static ARCHIVE_PATH_MAX])
{
        size_t n = 0;

        ret_path[0] = 0;
        return !slice_starts(path, S("/")) && add_parts(folder, ret_path, &n) && add_parts(path, ret_path, &n) && n > 0;
}

static bool has_parent_part(struct slice path)
{
        struct slice part;

        while (slice_next(&path, '/', &part))
                if (slice_eq(part, S("..")))
                        return true;
        return false;
}

static bool is_printable(struct slice path)
{
        for (size_t i = 0; i < path.n; i++)
                if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
                        return false;
        return true;
}

static struct result fail_name(const char *name, const char *why, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(1024);

        buf_put_json_string(&text, slice_head(slice_from(name), 100));
        return FAIL(e, ERR_INVALID, 0, "the archive holds an entry with the name %s, which %s", buf_cstr(&text), why);
}

/* Into in->path. The folder itself, and the root of a tar file, get an empty one. */
static RESULT take_path(struct archive_in *in, struct err *e)
{
        const char *name = archive_entry_pathname(in->entry);
        struct slice path;

        if (!name)
                return FAIL(e, ERR_INVALID, 0, "the archive holds an entry whose name cannot be read");
        path = slice_skip(slice_from(name), in->prefix);
        while (in->is_folder && slice_starts(path, S("/")))
                path = slice_skip(path, 1);
        if (slice_starts(path, S("/")) || has_parent_part(path))
                return fail_name(name, "leads out of it", e);
        if (!is_printable(path))
                return fail_name(name, "holds control characters", e);
        if (path.n >= ARCHIVE_PATH_MAX)
                return fail_name(name, "is too long", e);
        if (!archive_path_join(S(""), path, in->path))
                in->path[0] = 0;
        return OK;
}

static struct slice folder_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? (struct slice){ path, (size_t)(slash - path) } : S("");
}

/* Into in->target. A hard link names the other entry, a symbolic one the way from its own folder. */
static RESULT take_target(struct archive_in *in, struct err *e)
{
        const char *hard = archive_entry_hardlink(in->entry), *soft = hard ? NULL : archive_entry_symlink(in->entry);
        struct slice folder = hard ? S("") : folder_of(in->path);

        if (!hard && !soft)
                return FAIL(e, ERR_INVALID, 0, "the archive holds a link whose target cannot be read");
        if (!archive_path_join(folder, slice_from(hard ? hard : soft), in->target))
                return fail_name(in->path, "is a link that leads out of it", e);
        return OK;
}

/* --- Entries ---------------------------------------------------------------------------------------------------------- */

static enum archive_kind kind_of(const struct archive_in *in)
{
        if (!in->is_folder && archive_entry_hardlink(in->entry))
                return ARCHIVE_LINK;
        switch (archive_entry_filetype(in->entry)) {
        case AE_IFREG:
                return ARCHIVE_FILE;
        case AE_IFLNK:
                return ARCHIVE_LINK;
        default:        /* AE_IFDIR, AE_IFIFO, … */
                return ARCHIVE_OTHER;
        }
}

static RESULT next_header(struct archive_in *in, bool *ret_found, struct err *e)
{
        int rc;

        if (in->is_folder && in->entries)
                archive_read_disk_descend(in->archive);         /* does nothing where it was no folder */
        do
                rc = in->is_folder ? archive_read_next_header2(in->archive, in->entry) : archive_read_next_header(in->archive, &in->entry);
        while (rc == ARCHIVE_RETRY);
        *ret_found = rc != ARCHIVE_EOF;
        if (rc == ARCHIVE_EOF || rc == ARCHIVE_OK || rc == ARCHIVE_WARN)
                return OK;
        return fail_archive(in, in->entries ? "the archive is damaged" : "this is no tar archive", e);
}

RESULT archive_in_next(struct archive_in *in, struct archive_entry_in *ret_entry, bool *ret_found, struct err *e)
{
        struct archive_entry_in entry = { .path = in->path, .target = in->target };

        TRY(next_header(in, ret_found, e));
        if (!*ret_found)
                return OK;
        if (++in->entries > ARCHIVE_ENTRIES_MAX)
                return FAIL(e, ERR_LIMIT, 0, "the archive has more than %d entries", ARCHIVE_ENTRIES_MAX);
        TRY(take_path(in, e));
        in->target[0] = 0;
        entry.kind = *in->path ? kind_of(in) : ARCHIVE_OTHER;
        if (entry.kind == ARCHIVE_LINK)
                TRY(take_target(in, e));
        if (entry.kind == ARCHIVE_FILE) {
                if (!archive_entry_size_is_set(in->entry) || archive_entry_size(in->entry) < 0)
                        return FAIL(e, ERR_INVALID, 0, "the archive does not tell the size of %s", in->path);
                entry.size = (uint64_t)archive_entry_size(in->entry);
        }
        *ret_entry = entry;
        return OK;
}

RESULT archive_in_read(struct archive_in *in, void *room, size_t size, size_t *ret_n, struct err *e)
{
        ssize_t n;

        do
                n = archive_read_data(in->archive, room, size);
        while (n == ARCHIVE_RETRY);
        if (n < 0)
                return fail_archive(in, "the archive is damaged", e);
        *ret_n = (size_t)n;
        return OK;
}

void archive_in_position(struct archive_in *in, uint64_t *ret_done, uint64_t *ret_total)
{
        la_int64_t done = in->is_folder ? 0 : archive_filter_bytes(in->archive, -1);

        *ret_done = done > 0 ? (uint64_t)done : 0;
        *ret_total = in->size;
}
