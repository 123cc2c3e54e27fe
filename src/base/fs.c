#include "base/fs.h"

#include "base/cleanup.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

/* The folder that holds `path`. */
static void parent_of(const char *path, char ret_folder[static PATH_MAX])
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                snprintf(ret_folder, PATH_MAX, ".");
        else if (slash == path)
                snprintf(ret_folder, PATH_MAX, "/");
        else
                snprintf(ret_folder, PATH_MAX, "%.*s", (int)(slash - path), path);
}

static RESULT make_one(const char *path, mode_t mode, bool *ret_made, struct err *e)
{
        struct stat st;

        *ret_made = mkdir(path, mode) == 0;
        if (*ret_made || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
                return OK;
        return FAIL(e, ERR_IO, errno, "make folder %s", path);
}

RESULT fs_mkdir_one(const char *path, mode_t mode, struct err *e)
{
        bool made;

        return make_one(path, mode, &made, e);
}

static RESULT make_durable(const char *path, mode_t mode, struct err *e)
{
        char folder[PATH_MAX];
        bool made;

        TRY(make_one(path, mode, &made, e));
        if (!made)
                return OK;
        parent_of(path, folder);
        return fs_sync_dir(folder, e);
}

RESULT fs_mkdir(const char *path, mode_t mode, struct err *e)
{
        char part[PATH_MAX];
        size_t n = strlen(path);

        while (n > 1 && path[n - 1] == '/')
                n--;
        if (n == 0 || n >= sizeof part)
                return FAIL(e, ERR_INVALID, 0, "\"%s\" is not a usable path for a folder", path);
        memcpy(part, path, n);
        part[n] = 0;
        for (size_t i = 1; i < n; i++) {
                if (part[i] != '/')
                        continue;
                part[i] = 0;
                TRY(make_durable(part, 0755, e));
                part[i] = '/';
        }
        return make_durable(part, mode, e);
}

RESULT fs_sync(int fd, const char *path, struct err *e)
{
        if (fdatasync(fd) < 0)
                return FAIL(e, ERR_IO, errno, "sync %s", path);
        return OK;
}

RESULT fs_sync_dir(const char *path, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "open folder %s", path);
        if (fsync(fd) < 0)
                return FAIL(e, ERR_IO, errno, "sync folder %s", path);
        return OK;
}

RESULT fs_write_at(int fd, uint64_t offset, const void *bytes, size_t n, const char *path, struct err *e)
{
        struct slice rest = { bytes, n };

        while (rest.n) {
                ssize_t done = pwrite(fd, rest.p, rest.n, (off_t)offset);

                if (done < 0 && errno == EINTR)
                        continue;
                if (done <= 0)
                        return FAIL(e, ERR_IO, done < 0 ? errno : EIO, "write %s", path);
                rest = slice_skip(rest, (size_t)done);
                offset += (uint64_t)done;
        }
        return OK;
}

RESULT fs_read_at(int fd, uint64_t offset, void *ret_bytes, size_t n, size_t *ret_n, const char *path, struct err *e)
{
        size_t got = 0;

        while (got < n) {
                ssize_t done = pread(fd, (char *)ret_bytes + got, n - got, (off_t)(offset + got));

                if (done < 0 && errno == EINTR)
                        continue;
                if (done < 0)
                        return FAIL(e, ERR_IO, errno, "read %s", path);
                if (done == 0)
                        break;
                got += (size_t)done;
        }
        *ret_n = got;
        return OK;
}

RESULT fs_read_file(const char *path, struct buf *b, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path);
        for (;;) {
                size_t room = MIN((size_t)8192, b->max - b->n), got;
                char *at = room ? buf_reserve(b, room) : NULL;
                char one;

                if (!at) {      /* full: good only if the file ends here */
                        TRY(fs_read_at(fd, b->n, &one, 1, &got, path, e));
                        if (got)
                                return FAIL(e, ERR_LIMIT, 0, "%s is larger than %zu bytes", path, b->max);
                        return OK;
                }
                TRY(fs_read_at(fd, b->n, at, room, &got, path, e));
                b->n += got;
                if (got < room)
                        return OK;
        }
}

static RESULT write_new_file(const char *path, struct slice bytes, mode_t mode, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "create %s", path);
        if (fchmod(fd, mode) < 0)       /* whatever the umask says */
                return FAIL(e, ERR_IO, errno, "set the mode of %s", path);
        TRY(fs_write_at(fd, 0, bytes.p, bytes.n, path, e));
        return fs_sync(fd, path, e);
}

RESULT fs_publish_file(const char *path, struct slice bytes, mode_t mode, struct err *e)
{
        char folder[PATH_MAX], temporary[PATH_MAX], suffix[17];

        rand_hex(suffix, 8);
        if ((size_t)snprintf(temporary, sizeof temporary, "%s.%s.tmp", path, suffix) >= sizeof temporary)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s", path);
        parent_of(path, folder);
        if (!write_new_file(temporary, bytes, mode, e).ok || !fs_rename(temporary, path, e).ok) {
                unlink(temporary);
                return FAILED;
        }
        return fs_sync_dir(folder, e);
}

RESULT fs_rename(const char *from, const char *to, struct err *e)
{
        if (rename(from, to) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "rename %s to %s", from, to);
        return OK;
}

RESULT fs_remove(const char *path, struct err *e)
{
        if (unlink(path) < 0 && errno != ENOENT)
                return FAIL(e, ERR_IO, errno, "remove %s", path);
        return OK;
}

RESULT fs_lock(const char *path, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char pid[32] = "";
        size_t n = 0;

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "open lock file %s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return FAIL(e, ERR_IO, errno, "lock %s", path);
                IGNORE(fs_read_at(fd, 0, pid, sizeof pid - 1, &n, path, e));    /* the pid only helps the reader */
                pid[strcspn(pid, "\n")] = 0;
                return FAIL(e, ERR_BUSY, 0, "%s is locked by another process (pid %s)", path, *pid ? pid : "unknown");
        }
        snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(fd, 0) < 0)
                return FAIL(e, ERR_IO, errno, "empty %s", path);
        TRY(fs_write_at(fd, 0, pid, strlen(pid), path, e));
        *ret_fd = TAKE_FD(fd);
        return OK;
}
