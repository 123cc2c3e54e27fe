/* Two sources, one list of entries: a tar file (tar.h over unpack.h), and a folder, walked with fts(3). */
#include "transfer/archive_in.h"

#include "base/buf.h"
#include "base/fs.h"
#include "transfer/tar.h"
#include "transfer/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

struct archive_in {
        int fd;                         /* owned; of a tar file, or the folder's current file; -1 */
        struct unpack *unpack;          /* owned; NULL: a folder */
        FTS *walk;                      /* owned; of a folder */
        size_t prefix;                  /* of a folder: what stands before the paths in it */
        uint64_t file_bytes;            /* of the tar file; 0: not known */
        uint64_t left, padding;         /* of the entry */
        uint64_t offset;                /* in the folder's current file */
        unsigned entries;
        char path[ARCHIVE_PATH_MAX], target[ARCHIVE_PATH_MAX];
        struct tar_header header;
        struct tar_extension extension;
};

void archive_in_free(struct archive_in *in)
{
        if (!in)
                return;
        unpack_free(in->unpack);
        if (in->walk)
                fts_close(in->walk);
        cleanup_fd(&in->fd);
        free(in);
}

/* --- Opening ---------------------------------------------------------------------------------------------------------- */

static RESULT open_folder(struct archive_in *in, const char *path, struct err *e)
{
        char *const paths[] = { (char *)(uintptr_t)path, NULL };      /* only read */

        in->prefix = strlen(path);
        in->walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
        close(TAKE_FD(in->fd));
        return in->walk ? OK : FAIL(e, ERR_IO, errno, "open folder %s", path);
}

static RESULT open_path(struct archive_in *in, const char *path, struct err *e)
{
        struct stat st;

        if (strcmp(path, "-") == 0)
                return unpack_open(STDIN_FILENO, &in->unpack, e);
        in->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (in->fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path);
        if (fstat(in->fd, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", path);
        if (S_ISDIR(st.st_mode))
                return open_folder(in, path, e);
        in->file_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        return unpack_open(in->fd, &in->unpack, e);
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
static RESULT take_path(struct archive_in *in, const char *name, struct err *e)
{
        struct slice path = slice_from(name);

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
static RESULT take_target(struct archive_in *in, bool is_hard, const char *target, struct err *e)
{
        struct slice folder = is_hard ? S("") : folder_of(in->path);

        if (!archive_path_join(folder, slice_from(target), in->target))
                return fail_name(in->path, "is a link that leads out of it", e);
        return OK;
}

static RESULT count_entry(struct archive_in *in, struct err *e)
{
        if (++in->entries > ARCHIVE_ENTRIES_MAX)
                return FAIL(e, ERR_LIMIT, 0, "the archive has more than %d entries", ARCHIVE_ENTRIES_MAX);
        return OK;
}

/* --- Tar -------------------------------------------------------------------------------------------------------------- */

/* A file that ends behind an entry, without the blocks of zeros, has ended too. */
static RESULT read_header(struct archive_in *in, struct err *e)
{
        unsigned char block[TAR_BLOCK];
        size_t n;

        TRY(unpack_skip(in->unpack, in->left + in->padding, e));
        in->left = in->padding = 0;
        TRY(unpack_read(in->unpack, block, sizeof block, &n, e));
        if (n == 0 && in->entries) {
                in->header.kind = TAR_END;
                return OK;
        }
        if (n < sizeof block)
                return FAIL(e, ERR_INVALID, 0, in->entries ? "the archive ends too early" : "this is no tar archive");
        TRY(tar_parse(block, &in->header, e));
        in->left = in->header.size;
        in->padding = tar_padding(in->left);
        return count_entry(in, e);
}

static bool is_extension(enum tar_kind kind)
{
        return kind == TAR_PAX || kind == TAR_LONG_NAME || kind == TAR_LONG_LINK;
}

static RESULT read_extension(struct archive_in *in, struct err *e)
{
        _cleanup_(buf_fini) struct buf data = BUF_INIT(TAR_EXTENSION_MAX + 1);
        size_t n;
        char *room = in->left <= TAR_EXTENSION_MAX ? buf_reserve(&data, (size_t)in->left + 1) : NULL;

        if (!room)
                return FAIL(e, ERR_LIMIT, 0, "the archive holds a header of more than %d bytes", TAR_EXTENSION_MAX);
        TRY(unpack_read(in->unpack, room, (size_t)in->left, &n, e));
        if (n != in->left)
                return FAIL(e, ERR_INVALID, 0, "the archive ends too early");
        in->left = 0;
        return tar_extend(&in->extension, in->header.kind, (struct slice){ room, n }, e);
}

/* *ret_found false: the archive has ended. */
static RESULT next_of_tar(struct archive_in *in, struct archive_entry_in *entry, bool *ret_found, struct err *e)
{
        bool is_hard;

        for (;;) {
                TRY(read_header(in, e));
                if (!is_extension(in->header.kind))
                        break;
                TRY(read_extension(in, e));
        }
        *ret_found = in->header.kind != TAR_END;
        if (!*ret_found)
                return OK;
        tar_apply(&in->extension, &in->header);
        in->left = in->header.size;
        in->padding = tar_padding(in->left);
        TRY(take_path(in, in->header.name, e));
        is_hard = in->header.kind == TAR_HARD_LINK;
        if (is_hard || in->header.kind == TAR_SYMBOLIC_LINK) {
                TRY(take_target(in, is_hard, in->header.link, e));
                entry->kind = ARCHIVE_LINK;
        } else if (in->header.kind == TAR_FILE && *in->path) {
                entry->kind = ARCHIVE_FILE;
        }
        return OK;
}

/* --- Folder ----------------------------------------------------------------------------------------------------------- */

static RESULT open_file(struct archive_in *in, const char *path, struct err *e)
{
        struct stat st;

        in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (in->fd < 0 || fstat(in->fd, &st) < 0)
                return FAIL(e, ERR_IO, errno, "open %s", path);
        in->left = (uint64_t)st.st_size;
        in->offset = 0;
        return OK;
}

static RESULT read_link(struct archive_in *in, const char *path, struct err *e)
{
        char target[PATH_MAX];
        ssize_t n = readlink(path, target, sizeof target - 1);

        if (n < 0)
                return FAIL(e, ERR_IO, errno, "read the link %s", path);
        target[n] = 0;
        return take_target(in, false, target, e);
}

static RESULT next_of_folder(struct archive_in *in, struct archive_entry_in *entry, bool *ret_found, struct err *e)
{
        const char *name;
        FTSENT *next;

        if (in->fd >= 0)
                close(TAKE_FD(in->fd));
        errno = 0;
        next = fts_read(in->walk);
        *ret_found = next;
        if (!next)
                return errno ? FAIL(e, ERR_IO, errno, "read a folder") : OK;
        TRY(count_entry(in, e));
        if (next->fts_info == FTS_DNR || next->fts_info == FTS_ERR || next->fts_info == FTS_NS)
                return FAIL(e, ERR_IO, next->fts_errno, "read %s", next->fts_path);
        name = next->fts_path + in->prefix;
        TRY(take_path(in, name + strspn(name, "/"), e));
        if (next->fts_info == FTS_F) {
                entry->kind = ARCHIVE_FILE;
                return open_file(in, next->fts_path, e);
        }
        if (next->fts_info != FTS_SL && next->fts_info != FTS_SLNONE)
                return OK;
        entry->kind = ARCHIVE_LINK;
        return read_link(in, next->fts_path, e);
}

/* --- Entries ---------------------------------------------------------------------------------------------------------- */

RESULT archive_in_next(struct archive_in *in, struct archive_entry_in *ret_entry, bool *ret_found, struct err *e)
{
        struct archive_entry_in entry = { .kind = ARCHIVE_OTHER, .path = in->path, .target = in->target };

        TRY(in->walk ? next_of_folder(in, &entry, ret_found, e) : next_of_tar(in, &entry, ret_found, e));
        entry.size = in->left;
        if (*ret_found)
                *ret_entry = entry;
        return OK;
}

RESULT archive_in_read(struct archive_in *in, void *room, size_t size, size_t *ret_n, struct err *e)
{
        size_t n = (size_t)MIN((uint64_t)size, in->left), got = 0;

        if (in->walk)
                TRY(fs_read_at(in->fd, in->offset, room, n, &got, in->path, e));
        else
                TRY(unpack_read(in->unpack, room, n, &got, e));
        if (got < n)
                return FAIL(e, ERR_INVALID, 0, "the archive ends within %s", in->path);
        in->left -= got;
        in->offset += got;
        *ret_n = got;
        return OK;
}

void archive_in_position(struct archive_in *in, uint64_t *ret_done, uint64_t *ret_total)
{
        *ret_done = in->unpack ? unpack_position(in->unpack) : 0;
        *ret_total = in->file_bytes;
}
