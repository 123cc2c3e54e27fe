#include "transfer/archive_out.h"

#include "base/fs.h"
#include "transfer/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { HEADERS_MAX = 8 * TAR_BLOCK };

struct archive_out {
        char path[PATH_MAX];            /* of the tar file or the folder; "": standard output */
        char temporary[PATH_MAX];       /* of the tar file, until it is finished; "": none */
        bool is_folder;
        int fd;                         /* owned: the tar file, or the file in the folder */
        uint64_t offset, left;          /* of the entry */
        uint64_t padding;               /* of the entry, in a tar file */
        char file[PATH_MAX];            /* of the entry, in a folder */
};

void archive_out_free(struct archive_out *out)
{
        if (!out)
                return;
        cleanup_fd(&out->fd);
        if (*out->temporary)
                unlink(out->temporary);
        free(out);
}

/* To the tar file, which may be a pipe. */
static RESULT write_tar(struct archive_out *out, struct slice bytes, struct err *e)
{
        while (bytes.n) {
                ssize_t done = write(out->fd, bytes.p, bytes.n);

                if (done < 0 && errno == EINTR)
                        continue;
                if (done <= 0)
                        return FAIL(e, ERR_IO, done < 0 ? errno : EIO, "write %s", *out->path ? out->path : "to standard output");
                bytes = slice_skip(bytes, (size_t)done);
        }
        return OK;
}

static RESULT write_zeros(struct archive_out *out, size_t n, struct err *e)
{
        static const char zeros[2 * TAR_BLOCK];

        return write_tar(out, (struct slice){ zeros, n }, e);
}

/* --- Opening ---------------------------------------------------------------------------------------------------------- */

static RESULT open_file(struct archive_out *out, struct err *e)
{
        if ((size_t)snprintf(out->temporary, sizeof out->temporary, "%s.partial", out->path) >= sizeof out->temporary)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s", out->path);
        out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (out->fd < 0) {
                int error = errno;

                out->temporary[0] = 0;
                return FAIL(e, ERR_IO, error, "create %s.partial", out->path);
        }
        return OK;
}

static RESULT must_be_empty(const char *path, struct err *e)
{
        DIR *dir = opendir(path);
        struct dirent *entry;
        bool empty = true;

        if (!dir)
                return FAIL(e, ERR_IO, errno, "open folder %s", path);
        while (empty && (entry = readdir(dir)))
                empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        closedir(dir);
        return empty ? OK : FAIL(e, ERR_EXISTS, 0, "the folder %s is not empty", path);
}

static RESULT open_folder(struct archive_out *out, struct err *e)
{
        out->is_folder = true;
        TRY(fs_mkdir(out->path, 0755, e));
        return must_be_empty(out->path, e);
}

static RESULT open_path(struct archive_out *out, const char *path, struct err *e)
{
        size_t n = strlen(path);
        struct stat st;

        if (strcmp(path, "-") == 0) {
                out->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
                return out->fd < 0 ? FAIL(e, ERR_IO, errno, "write to standard output") : OK;
        }
        if (n == 0 || n > PATH_MAX - 256)
                return FAIL(e, ERR_INVALID, 0, "\"%s\" is not a usable path", path);
        memcpy(out->path, path, n + 1);
        if (path[n - 1] == '/' || (stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
                return open_folder(out, e);
        return open_file(out, e);
}

RESULT archive_out_open(const char *path, struct archive_out **ret_out, struct err *e)
{
        _cleanup_(archive_out_freep) struct archive_out *out = calloc(1, sizeof *out);

        if (!out)
                return FAIL(e, ERR_NOMEM, ENOMEM, "write %s", path);
        out->fd = -1;
        TRY(open_path(out, path, e));
        *ret_out = TAKE_PTR(out);
        return OK;
}

/* --- Entries ---------------------------------------------------------------------------------------------------------- */

static RESULT begin_in_tar(struct archive_out *out, const char *name, uint64_t size, struct err *e)
{
        _cleanup_(buf_fini) struct buf header = BUF_INIT(HEADERS_MAX);

        tar_put_file(&header, name, size);
        if (!buf_ok(&header))
                return FAIL(e, ERR_INVALID, 0, "the name %s is too long", name);
        out->padding = tar_padding(size);
        return write_tar(out, buf_slice(&header), e);
}

static RESULT begin_in_folder(struct archive_out *out, const char *name, struct err *e)
{
        char folder[PATH_MAX];

        if ((size_t)snprintf(out->file, sizeof out->file, "%s/%s", out->path, name) >= sizeof out->file)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s/%s", out->path, name);
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(out->file, '/') - out->file), out->file);
        TRY(fs_mkdir(folder, 0755, e));
        out->fd = open(out->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return out->fd < 0 ? FAIL(e, ERR_IO, errno, "create %s", out->file) : OK;
}

/* The entry has all its bytes: in a tar file whole blocks, in a folder a file that ends. */
static RESULT end_entry(struct archive_out *out, struct err *e)
{
        CHECK(out->left == 0);
        if (!out->is_folder) {
                TRY(write_zeros(out, (size_t)out->padding, e));
                out->padding = 0;
                return OK;
        }
        if (out->fd < 0)
                return OK;
        TRY(fs_sync(out->fd, out->file, e));
        close(TAKE_FD(out->fd));
        return OK;
}

RESULT archive_out_begin(struct archive_out *out, const char *name, uint64_t size, struct err *e)
{
        TRY(end_entry(out, e));
        out->offset = 0;
        out->left = size;
        return out->is_folder ? begin_in_folder(out, name, e) : begin_in_tar(out, name, size, e);
}

RESULT archive_out_write(struct archive_out *out, struct slice bytes, struct err *e)
{
        CHECK(bytes.n <= out->left);
        if (out->is_folder)
                TRY(fs_write_at(out->fd, out->offset, bytes.p, bytes.n, out->file, e));
        else
                TRY(write_tar(out, bytes, e));
        out->offset += bytes.n;
        out->left -= bytes.n;
        return OK;
}

RESULT archive_out_put(struct archive_out *out, const char *name, struct slice bytes, struct err *e)
{
        TRY(archive_out_begin(out, name, bytes.n, e));
        return archive_out_write(out, bytes, e);
}

/* --- The end ---------------------------------------------------------------------------------------------------------- */

static RESULT finish_file(struct archive_out *out, struct err *e)
{
        const char *slash = strrchr(out->path, '/');
        char folder[PATH_MAX];

        TRY(fs_sync(out->fd, out->temporary, e));
        TRY(fs_rename(out->temporary, out->path, e));
        out->temporary[0] = 0;
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - out->path + 1) : 1, slash ? out->path : ".");
        return fs_sync_dir(folder, e);
}

RESULT archive_out_finish(struct archive_out *out, struct err *e)
{
        TRY(end_entry(out, e));
        if (out->is_folder)
                return fs_sync_dir(out->path, e);
        TRY(write_zeros(out, (size_t)2 * TAR_BLOCK, e));
        return *out->path ? finish_file(out, e) : OK;
}
