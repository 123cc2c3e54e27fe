/* slow: clients on a bad line. Half of them download --path, half upload with one PATCH, all at --rate bytes a second, until
 * SIGTERM. Ten turns a second; in each turn every client moves a tenth of its rate. A connection that breaks fails the run. */
#include "load.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#define TURNS_PER_SECOND 10

struct slow_client {
        int fd;
        SSL *ssl;
        bool uploads;
        uint64_t moved;
};

static RESULT open_client(const struct wire_target *t, struct slow_client *c, struct err *e)
{
        int small = 16384;

        c->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
                return FAIL(e, ERR_IO, errno, "socket");
        /* Otherwise the kernel would take megabytes for a client that reads none. */
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
        if (connect(c->fd, (const struct sockaddr *)&t->address, t->address_n) < 0)
                return FAIL(e, ERR_IO, errno, "connect to %s", t->host);
        if (t->tls) {
                c->ssl = SSL_new(t->ssl_ctx);
                if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || SSL_connect(c->ssl) != 1)
                        return FAIL(e, ERR_IO, 0, "TLS handshake failed");
        }
        return OK;
}

/* Bytes moved, 0: nothing can be moved now, -1: broken. */
static ssize_t move_bytes(struct slow_client *c, void *p, size_t n, bool out)
{
        if (!c->ssl) {
                ssize_t rc = out ? send(c->fd, p, n, MSG_NOSIGNAL) : recv(c->fd, p, n, 0);
                if (rc < 0)
                        return errno == EAGAIN ? 0 : -1;
                return rc == 0 ? -1 : rc;
        }
        int rc = out ? SSL_write(c->ssl, p, (int)n) : SSL_read(c->ssl, p, (int)n);
        if (rc > 0)
                return rc;
        int why = SSL_get_error(c->ssl, rc);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static RESULT say(struct slow_client *c, char *text, struct err *e)
{
        ssize_t n = move_bytes(c, text, strlen(text), true);
        return n == (ssize_t)strlen(text) ? OK : FAIL(e, ERR_IO, errno, "the server closed the connection");
}

/* Reads an answer's head; what follows it is dropped with it. */
static RESULT hear(struct slow_client *c, char *ret_text, size_t size, struct err *e)
{
        ssize_t n = move_bytes(c, ret_text, size - 1, false);
        if (n <= 0)
                return FAIL(e, ERR_IO, errno, "the server closed the connection");
        ret_text[n] = '\0';
        return OK;
}

static RESULT begin_upload(const struct load_options *o, const char *host, struct slow_client *c, struct err *e)
{
        char text[4096], location[1024];

        snprintf(text, sizeof(text), "POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", o->repository, host);
        TRY(say(c, text, e));
        TRY(hear(c, text, sizeof(text), e));
        char *at = strcasestr(text, "\r\nlocation:");
        if (!at || sscanf(at + 11, " %1000[^\r]", location) != 1)
                return FAIL(e, ERR_INVALID, 0, "POST of an upload: no Location in: %.60s", text);
        char *path = strstr(location, "/v2/");
        snprintf(text, sizeof(text), "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1099511627776\r\n\r\n", path ? path : location, host);
        return say(c, text, e);
}

static RESULT begin_client(const struct load_options *o, const char *host, struct slow_client *c, struct err *e)
{
        char text[2048];

        if (c->uploads) {
                TRY(begin_upload(o, host, c, e));
        } else {
                snprintf(text, sizeof(text), "GET %.*s HTTP/1.1\r\nHost: %s\r\n\r\n", SLICE_ARG(o->paths[0]), host);
                TRY(say(c, text, e));
        }
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
                return FAIL(e, ERR_IO, errno, "fcntl");
        return OK;
}

static RESULT turn(struct slow_client *clients, unsigned count, size_t bytes, char *scratch, struct err *e)
{
        for (unsigned i = 0; i < count; i++) {
                ssize_t n = move_bytes(&clients[i], scratch, bytes, clients[i].uploads);
                if (n < 0)
                        return FAIL(e, ERR_IO, errno, "a slow %s broke after %llu bytes", clients[i].uploads ? "upload" : "download",
                                    (unsigned long long)clients[i].moved);
                clients[i].moved += (uint64_t)n;
        }
        return OK;
}

RESULT slow_run(const struct load_options *o, atomic_bool *stop, struct err *e)
{
        struct slow_client *clients = calloc(o->clients, sizeof(*clients));
        size_t bytes = MAX(o->rate / TURNS_PER_SECOND, (uint64_t)1);
        char *scratch = calloc(1, bytes);
        struct wire_target target;
        uint64_t moved = 0;

        if (!clients || !scratch || o->path_count == 0)
                return FAIL(e, ERR_INVALID, 0, "slow: --path is needed");
        TRY(wire_target_parse(o->url, &target, e));
        if (target.tls)
                SSL_CTX_set_mode(target.ssl_ctx, SSL_MODE_AUTO_RETRY);
        for (unsigned i = 0; i < o->clients; i++) {
                clients[i].uploads = i % 2;
                TRY(open_client(&target, &clients[i], e));
                TRY(begin_client(o, target.host, &clients[i], e));
        }
        puts("ready");
        fflush(stdout);
        while (!atomic_load(stop)) {
                TRY(turn(clients, o->clients, bytes, scratch, e));
                poll(NULL, 0, 1000 / TURNS_PER_SECOND);
        }
        for (unsigned i = 0; i < o->clients; i++)
                moved += clients[i].moved;
        printf("{\"scenario\":\"slow\",\"count\":%u,\"bytes\":%llu,\"errors\":0}\n", o->clients, (unsigned long long)moved);
        return OK;
}
