/* bench-floor: the least that a server can do, as a yardstick; not a server to use.
 *
 *      bench-floor PORT FOLDER [CERTIFICATE KEY]
 *
 * - A small file of FOLDER is answered from memory: one read, a comparison of the path, one write. Nothing of HTTP is checked.
 * - A blob that is pushed (POST, then PUT with a length) is hashed, written to a file and synced by the thread that receives it.
 *
 * As many threads as there are cores, each with its own epoll and its own listener on the port. */
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/sha.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BUFFER_BYTES (256 * 1024)
#define ANSWERS_MAX 64
#define ANSWER_BYTES_MAX (64 * 1024)

struct answer {
        struct buf request;             /* "GET /path " */
        struct buf bytes;
};

struct upload {
        int fd;
        uint64_t at, left;
        struct sha sha;
};

struct conn {
        int fd;
        SSL *ssl;
        bool handshaken;
        struct upload up;
};

struct server {
        int port;
        const char *folder;
        SSL_CTX *ssl_ctx;
};

struct thread {
        pthread_t id;
        const struct server *server;
        struct answer answers[ANSWERS_MAX];
        size_t answer_count;
        char *buffer;
};

static ssize_t receive(struct conn *c, char *p, size_t n)
{
        if (!c->ssl)
                return recv(c->fd, p, n, 0);
        int rc = SSL_read(c->ssl, p, (int)n);
        return rc > 0 ? rc : SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ ? (errno = EAGAIN, -1) : 0;
}

static void answer(struct conn *c, struct slice bytes)
{
        if (c->ssl)
                CHECK(SSL_write(c->ssl, bytes.p, (int)bytes.n) == (int)bytes.n);
        else
                IGNORE((struct result){ send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL) == (ssize_t)bytes.n });
}

/* Reads the file once; from then on its answer is in memory. NULL: there is none. */
static const struct answer *answer_make(struct thread *t, struct slice request)
{
        struct answer *a = &t->answers[t->answer_count];
        bool head = slice_starts(request, S("HEAD"));
        struct buf path = BUF_INIT(4096), body = BUF_INIT(ANSWER_BYTES_MAX);
        struct err e;

        CHECK(t->answer_count < ANSWERS_MAX);
        buf_printf(&path, "%s%.*s", t->server->folder, SLICE_ARG(slice_skip(slice_head(request, request.n - 1), head ? 5 : 4)));
        if (slice_ends(buf_slice(&path), S("/v2/")))
                buf_put(&body, S("{}"));
        else if (!fs_read_file(buf_cstr(&path), &body, &e).ok)
                return NULL;
        a->request = a->bytes = BUF_INIT(2 * ANSWER_BYTES_MAX);
        buf_put(&a->request, request);
        buf_printf(&a->bytes, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nContent-Type: application/octet-stream\r\n\r\n", body.n);
        if (!head)
                buf_put(&a->bytes, buf_slice(&body));
        buf_fini(&body);
        buf_fini(&path);
        t->answer_count++;
        return a;
}

static const struct answer *answer_find(struct thread *t, struct slice request)
{
        for (size_t i = 0; i < t->answer_count; i++) {
                if (slice_eq(request, buf_slice(&t->answers[i].request)))
                        return &t->answers[i];
        }
        return answer_make(t, request);
}

static void upload_begin(struct thread *t, struct conn *c, const char *head)
{
        char path[4096];
        const char *length = strcasestr(head, "\r\ncontent-length:");

        snprintf(path, sizeof(path), "%s/upload.%d.%d", t->server->folder, (int)gettid(), c->fd);
        c->up = (struct upload){ .fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
                                 .left = length ? strtoull(length + 17, NULL, 10) : 0 };
        CHECK(c->up.fd >= 0);
        sha_init(&c->up.sha, SHA_256);
}

static void upload_bytes(struct conn *c, const char *p, size_t n)
{
        unsigned char hash[SHA_HASH_MAX];

        CHECK(n <= c->up.left && pwrite(c->up.fd, p, n, (off_t)c->up.at) == (ssize_t)n);
        sha_update(&c->up.sha, p, n);
        c->up.at += n;
        c->up.left -= n;
        if (c->up.left > 0)
                return;
        CHECK(fdatasync(c->up.fd) == 0);
        sha_final(&c->up.sha, hash);
        close(c->up.fd);
        c->up.fd = -1;
        answer(c, S("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"));
}

/* A request's head is expected in one piece, as loopback delivers it. */
static void request(struct thread *t, struct conn *c, char *p, size_t n)
{
        struct slice rest = { p, n }, method, path;
        const struct answer *a;

        if (!slice_cut(&rest, ' ', &method) || !slice_cut(&rest, ' ', &path))
                return;
        if (slice_eq(method, S("POST"))) {
                answer(c, S("HTTP/1.1 202 Accepted\r\nLocation: /v2/x/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n"));
        } else if (slice_eq(method, S("PUT"))) {
                char *end = memmem(p, n, "\r\n\r\n", 4);
                CHECK(end);
                p[n] = '\0';
                upload_begin(t, c, p);
                if (end + 4 < p + n)
                        upload_bytes(c, end + 4, (size_t)(p + n - end - 4));
        } else {
                a = answer_find(t, (struct slice){ p, (size_t)(path.p + path.n + 1 - p) });
                answer(c, a ? buf_slice(&a->bytes) : S("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
        }
}

static void conn_close(struct conn *c)
{
        SSL_free(c->ssl);
        close(c->fd);
        free(c);
}

static bool handshake(struct conn *c)
{
        int rc = SSL_accept(c->ssl);

        c->handshaken = rc == 1;
        return rc == 1 || SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ;
}

static void on_readable(struct thread *t, struct conn *c)
{
        if (c->ssl && !c->handshaken && (!handshake(c) || !c->handshaken)) {
                if (!c->handshaken && SSL_get_error(c->ssl, -1) == SSL_ERROR_SSL)
                        conn_close(c);
                return;
        }
        do {
                ssize_t n = receive(c, t->buffer, BUFFER_BYTES);
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        conn_close(c);
                        return;
                }
                if (c->up.fd >= 0)
                        upload_bytes(c, t->buffer, (size_t)n);
                else
                        request(t, c, t->buffer, (size_t)n);
        } while (c->ssl && SSL_pending(c->ssl) > 0);
}

static void on_accept(struct thread *t, int epoll_fd, int listener)
{
        struct conn *c = calloc(1, sizeof(*c));
        int on = 1;

        CHECK(c);
        c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        c->up.fd = -1;
        if (c->fd < 0) {
                free(c);
                return;
        }
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (t->server->ssl_ctx) {
                c->ssl = SSL_new(t->server->ssl_ctx);
                SSL_set_fd(c->ssl, c->fd);
        }
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) == 0);
}

static int listen_on(int port)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
        CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1024) == 0);
        return fd;
}

static void *thread_main(void *arg)
{
        struct thread *t = arg;
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC), listener = listen_on(t->server->port);
        struct epoll_event events[64], event = { .events = EPOLLIN };

        t->buffer = malloc(BUFFER_BYTES + 1);
        CHECK(t->buffer && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0);
        for (;;) {
                int n = epoll_wait(epoll_fd, events, ARRAY_LEN(events), -1);
                for (int i = 0; i < n; i++) {
                        if (events[i].data.ptr)
                                on_readable(t, events[i].data.ptr);
                        else
                                on_accept(t, epoll_fd, listener);
                }
        }
        return NULL;
}

int main(int argc, char **argv)
{
        static struct server server;
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        uint64_t port;

        if ((argc != 3 && argc != 5) || !slice_to_u64(slice_from(argv[1]), &port)) {
                fputs("usage: bench-floor PORT FOLDER [CERTIFICATE KEY]\n", stderr);
                return 2;
        }
        signal(SIGPIPE, SIG_IGN);
        server = (struct server){ .port = (int)port, .folder = argv[2] };
        if (argc == 5) {
                server.ssl_ctx = SSL_CTX_new(TLS_server_method());
                CHECK(server.ssl_ctx && SSL_CTX_use_certificate_file(server.ssl_ctx, argv[3], SSL_FILETYPE_PEM) == 1);
                CHECK(SSL_CTX_use_PrivateKey_file(server.ssl_ctx, argv[4], SSL_FILETYPE_PEM) == 1);
                SSL_CTX_set_read_ahead(server.ssl_ctx, 1);
        }
        for (long i = 0; i < cores; i++) {
                struct thread *t = calloc(1, sizeof(*t));
                CHECK(t);
                t->server = &server;
                CHECK(pthread_create(&t->id, NULL, thread_main, t) == 0);
        }
        for (;;)
                pause();
}
