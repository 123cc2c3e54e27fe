#include "cli/probe.h"

#include "base/cleanup.h"
#include "net/dial.h"

#include <stdio.h>
#include <sys/socket.h>

enum { ANSWER_MAX = 64 * 1024, REQUEST_MAX = 1024 };

/* --- One exchange ----------------------------------------------------------------------------------------------------- */

static ssize_t send_some(SSL *ssl, int fd, struct slice bytes)
{
        return ssl ? SSL_write(ssl, bytes.p, (int)bytes.n) : send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
}

static ssize_t receive_some(SSL *ssl, int fd, char *room, size_t n)
{
        return ssl ? SSL_read(ssl, room, (int)n) : recv(fd, room, n, 0);
}

/* The whole answer, as far as it fits: the server closes after it. */
static RESULT exchange(SSL *ssl, int fd, const char *address, const char *path, struct buf *answer, struct err *e)
{
        char request[REQUEST_MAX];
        int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: orlop/%s (health)\r\n"
                                                  "Connection: close\r\n\r\n", path, ORLOP_VERSION);
        ssize_t got = 0;

        CHECK(n > 0 && (size_t)n < sizeof request);
        if (send_some(ssl, fd, (struct slice){ request, (size_t)n }) != n)
                return dial_fail(e, address, "sending");
        while (answer->n < ANSWER_MAX) {
                char *room = buf_reserve(answer, 4096);

                got = room ? receive_some(ssl, fd, room, 4096) : 0;
                if (got <= 0)
                        break;
                answer->n += (size_t)got;
        }
        if (got < 0 && answer->n == 0)
                return dial_fail(e, address, "waiting for the answer");
        return OK;
}

/* "HTTP/1.1 200 OK", and what comes after the empty line. */
static RESULT read_answer(struct slice answer, const char *address, int *ret_status, struct buf *body, struct err *e)
{
        const char *end = answer.n ? memmem(answer.p, answer.n, "\r\n\r\n", 4) : NULL;
        uint64_t status;

        if (!end || !slice_starts(answer, S("HTTP/1.")) || !slice_to_u64(slice_head(slice_skip(answer, 9), 3), &status))
                return FAIL(e, ERR_INVALID, 0, "what answers at %s does not speak HTTP", address);
        *ret_status = (int)status;
        answer = slice_skip(answer, (size_t)(end - answer.p) + 4);
        buf_put(body, slice_head(answer, body->max - body->n));
        return OK;
}

RESULT probe_get(const char *address, const char *path, uint64_t timeout_ms, int *ret_status, struct buf *body, struct err *e)
{
        _cleanup_(buf_fini) struct buf answer = BUF_INIT(ANSWER_MAX + 4096);
        _cleanup_fd_ int fd = -1;
        _cleanup_(SSL_freep) SSL *ssl = NULL;
        bool tls;

        TRY(dial(address, timeout_ms, &fd, &tls, e));
        if (tls)
                TRY(dial_tls(fd, address, &ssl, e));
        TRY(exchange(ssl, fd, address, path, &answer, e));
        return read_answer(buf_slice(&answer), address, ret_status, body, e);
}
