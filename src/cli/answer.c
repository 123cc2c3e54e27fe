#include "cli/answer.h"

#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { PIECE_BYTES = 16 * 1024, TRY_EVERY_BYTES = 64 * 1024 };
#define SPOOL_MAX (UINT64_C(128) << 20)

bool answer_is_behind(const struct answer *answer)
{
        return answer->sent < answer->spooled;
}

/* As many of the bytes as the socket takes; with MSG_DONTWAIT in `flags` perhaps none. */
static RESULT send_some(int fd, struct slice bytes, int flags, size_t *ret_sent, struct err *e)
{
        size_t sent = 0;

        while (sent < bytes.n) {
                ssize_t n = send(fd, bytes.p + sent, bytes.n - sent, flags | MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && (flags & MSG_DONTWAIT) && (errno == EAGAIN || errno == EWOULDBLOCK))
                        break;
                if (n <= 0)
                        return FAIL(e, ERR_CLOSED, n < 0 ? errno : 0, "the other side of the control socket has gone");
                sent += (size_t)n;
        }
        *ret_sent = sent;
        return OK;
}

/* Some file systems know no files without a name: there it loses its name at once. */
static RESULT open_spool(struct answer *answer, struct err *e)
{
        char path[PATH_MAX];

        answer->spool_fd = open(answer->data_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (answer->spool_fd >= 0)
                return OK;
        snprintf(path, sizeof path, "%s/answer.XXXXXX", answer->data_dir);
        answer->spool_fd = mkostemp(path, O_CLOEXEC);
        if (answer->spool_fd < 0)
                return FAIL(e, ERR_IO, errno, "make %s", path);
        unlink(path);
        return OK;
}

static RESULT spool(struct answer *answer, struct slice bytes, struct err *e)
{
        if (!bytes.n)
                return OK;
        if (answer->spool_fd < 0)
                TRY(open_spool(answer, e));
        if (answer->spooled + bytes.n > SPOOL_MAX)
                return FAIL(e, ERR_LIMIT, 0, "the answer is too long for a client that reads so slowly");
        TRY(fs_write_at(answer->spool_fd, answer->spooled, bytes.p, bytes.n, "an answer that waits", e));
        answer->spooled += bytes.n;
        return OK;
}

static RESULT send_spooled(struct answer *answer, int flags, struct err *e)
{
        char piece[PIECE_BYTES];
        size_t n, sent;

        answer->tried = answer->spooled;
        while (answer_is_behind(answer)) {
                TRY(fs_read_at(answer->spool_fd, answer->sent, piece, MIN(sizeof piece, answer->spooled - answer->sent), &n,
                               "an answer that waits", e));
                TRY(send_some(answer->fd, (struct slice){ piece, n }, flags, &sent, e));
                answer->sent += sent;
                if (sent < n)
                        return OK;
        }
        if (answer->spooled && ftruncate(answer->spool_fd, 0) < 0)
                return FAIL(e, ERR_IO, errno, "empty an answer's file");
        answer->spooled = answer->sent = answer->tried = 0;
        return OK;
}

RESULT answer_catch_up(struct answer *answer, struct err *e)
{
        return send_spooled(answer, MSG_DONTWAIT, e);
}

static RESULT put(struct answer *answer, struct slice bytes, struct err *e)
{
        size_t sent = 0;

        if (answer_is_behind(answer) && answer->spooled - answer->tried >= TRY_EVERY_BYTES)
                TRY(send_spooled(answer, MSG_DONTWAIT, e));
        if (!answer_is_behind(answer))
                TRY(send_some(answer->fd, bytes, MSG_DONTWAIT, &sent, e));
        return spool(answer, slice_skip(bytes, sent), e);
}

RESULT answer_put(struct answer *answer, struct slice line, struct err *e)
{
        TRY(put(answer, line, e));
        return put(answer, S("\n"), e);
}

RESULT answer_end(struct answer *answer, struct err *e)
{
        return send_spooled(answer, 0, e);
}

void answer_fini(struct answer *answer)
{
        cleanup_fd(&answer->spool_fd);
}
