#include "store/blob/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>

static RESULT open_folder(const char *data_dir, int *ret_fd, struct err *e)
{
        char path[PATH_MAX];

        if ((size_t)snprintf(path, sizeof path, "%s/blobs", data_dir) >= sizeof path)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s/blobs", data_dir);
        *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret_fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path);
        return OK;
}

static RESULT lock(const char *data_dir, int operation, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = -1;

        TRY(open_folder(data_dir, &fd, e));
        while (flock(fd, operation) < 0) {
                if (errno == EWOULDBLOCK)
                        return FAIL(e, ERR_BUSY, 0, "a backup of %s is under way", data_dir);
                if (errno != EINTR)
                        return FAIL(e, ERR_IO, errno, "lock %s/blobs", data_dir);
        }
        *ret_fd = TAKE_FD(fd);
        return OK;
}

RESULT hold_objects(const char *data_dir, int *ret_fd, struct err *e)
{
        return lock(data_dir, LOCK_SH, ret_fd, e);
}

RESULT hold_begin_removal(const char *data_dir, int *ret_fd, struct err *e)
{
        return lock(data_dir, LOCK_EX | LOCK_NB, ret_fd, e);
}
