/* One connection's life, on the loop's thread:
 *
 *      CLOSED -> CONNECTING -> (HANDSHAKE) -> RESTING <-> HEAD -> BODY                          -> RESTING
 *                                                           \-> CHUNK_SIZE -> BODY -> CHUNK_END -> CHUNK_SIZE ... TRAILER -> RESTING
 *
 * The request is sent while the answer is awaited, so that an early error is seen. TLS runs between two memory ends of our own:
 * one recv() feeds the engine with up to IN_BYTES, one send() takes what it made, so records cost no system call each. */
#include "wire.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#define IN_BYTES (256 * 1024)
#define CIPHER_BYTES (256 * 1024)
#define HEAD_BYTES_MAX (32 * 1024)
#define DROP_BYTES (4u << 20)
#define EVENTS 256

/* --- Target ----------------------------------------------------------------------------------------------------------- */

RESULT wire_target_parse(const char *url, struct wire_target *ret_target, struct err *e)
{
        struct slice rest = slice_from(url), host;
        struct wire_target t = { .tls = slice_starts(rest, S("https://")) };

        if (!t.tls && !slice_starts(rest, S("http://")))
                return FAIL(e, ERR_INVALID, 0, "%s: not an http:// or https:// address", url);
        rest = slice_skip(rest, t.tls ? 8 : 7);
        while (slice_ends(rest, S("/")))
                rest.n--;
        if (!slice_to_cstr(rest, t.host, sizeof(t.host)) || !slice_cut(&rest, ':', &host))
                return FAIL(e, ERR_INVALID, 0, "%s: a host and a port are needed", url);

        char name[300], port[16];
        struct addrinfo *found = NULL, hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
        if (!slice_to_cstr(host, name, sizeof(name)) || !slice_to_cstr(rest, port, sizeof(port)) ||
            getaddrinfo(name, port, &hints, &found) != 0)
                return FAIL(e, ERR_INVALID, 0, "%s: no such host", url);
        memcpy(&t.address, found->ai_addr, found->ai_addrlen);
        t.address_n = found->ai_addrlen;
        freeaddrinfo(found);

        if (t.tls) {
                t.ssl_ctx = SSL_CTX_new(TLS_client_method());
                if (!t.ssl_ctx)
                        return FAIL(e, ERR_NOMEM, 0, "no TLS context");
                /* Load on loopback: whom we talk to is not in question, and verifying would be the client's cost. */
                SSL_CTX_set_verify(t.ssl_ctx, SSL_VERIFY_NONE, NULL);
                SSL_CTX_set_mode(t.ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
                /* The order of Go's clients, docker and podman among them: servers that follow their client would else be measured with
                 * AES-256, which costs a fifth more. */
                if (SSL_CTX_set_ciphersuites(t.ssl_ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384") != 1)
                        return FAIL(e, ERR_NOMEM, 0, "no TLS context");
                SSL_CTX_set_alpn_protos(t.ssl_ctx, (const unsigned char *)"\x08http/1.1", 9);
        }
        *ret_target = t;
        return OK;
}

void wire_target_fini(struct wire_target *target)
{
        SSL_CTX_free(target->ssl_ctx);
        target->ssl_ctx = NULL;
}

/* --- The engine's two ends -------------------------------------------------------------------------------------------- */

static int end_read(BIO *bio, char *p, size_t n, size_t *ret_n)
{
        struct wire_conn *c = BIO_get_data(bio);
        struct slice *in = &c->loop->cipher_in;

        BIO_clear_retry_flags(bio);
        if (in->n == 0) {
                BIO_set_retry_read(bio);
                return 0;
        }
        *ret_n = MIN(n, in->n);
        memcpy(p, in->p, *ret_n);
        *in = slice_skip(*in, *ret_n);
        return 1;
}

static int end_write(BIO *bio, const char *p, size_t n, size_t *ret_n)
{
        struct wire_conn *c = BIO_get_data(bio);

        BIO_clear_retry_flags(bio);
        if (c->cipher.n >= CIPHER_BYTES) {
                BIO_set_retry_write(bio);
                return 0;
        }
        buf_put(&c->cipher, (struct slice){ p, n });
        *ret_n = n;
        return buf_ok(&c->cipher);
}

static long end_ctrl(BIO *bio, int command, long number, void *p)
{
        (void)bio, (void)number, (void)p;
        return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *end_method(void)
{
        static BIO_METHOD *method;

        if (!method) {
                method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bench");
                CHECK(method);
                BIO_meth_set_read_ex(method, end_read);
                BIO_meth_set_write_ex(method, end_write);
                BIO_meth_set_ctrl(method, end_ctrl);
        }
        return method;
}

static RESULT tls_begin(struct wire_conn *c, struct err *e)
{
        c->ssl = SSL_new(c->loop->target->ssl_ctx);
        BIO *end = BIO_new(end_method());
        if (!c->ssl || !end)
                return FAIL(e, ERR_NOMEM, 0, "no TLS connection");
        BIO_set_data(end, c);
        BIO_set_init(end, 1);
        SSL_set_bio(c->ssl, end, end);
        SSL_set_connect_state(c->ssl);
        c->cipher = BUF_INIT(CIPHER_BYTES + 64 * 1024);
        return OK;
}

/* --- Loop and connections --------------------------------------------------------------------------------------------- */

RESULT wire_loop_init(struct wire_loop *loop, const struct wire_target *target, struct err *e)
{
        *loop = (struct wire_loop){ .target = target, .epoll_fd = epoll_create1(EPOLL_CLOEXEC), .in = malloc(IN_BYTES) };
        if (loop->epoll_fd < 0 || !loop->in)
                return FAIL(e, ERR_IO, errno, "epoll_create1");
        if (target->tls)
                (void)end_method();
        return OK;
}

void wire_loop_fini(struct wire_loop *loop)
{
        free(loop->in);
        close(loop->epoll_fd);
}

RESULT wire_connect(struct wire_loop *loop, struct wire_conn *c, struct err *e)
{
        const struct wire_target *t = loop->target;
        void *arg = c->arg;
        int on = 1;

        *c = (struct wire_conn){ .loop = loop, .arg = arg, .pending = BUF_INIT(HEAD_BYTES_MAX) };
        c->fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0)
                return FAIL(e, ERR_IO, errno, "socket");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c->phase = WIRE_CONNECTING;
        loop->open++;
        if (connect(c->fd, (const struct sockaddr *)&t->address, t->address_n) < 0 && errno != EINPROGRESS) {
                int cause = errno;
                wire_close(c);
                return FAIL(e, ERR_IO, cause, "connect to %s", t->host);
        }
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
        c->wants_out = true;
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
                return FAIL(e, ERR_IO, errno, "epoll_ctl");
        if (t->tls)
                TRY(tls_begin(c, e));
        return OK;
}

void wire_close(struct wire_conn *c)
{
        if (c->phase == WIRE_CLOSED)
                return;
        c->phase = WIRE_CLOSED;
        close(c->fd);
        SSL_free(c->ssl);
        c->ssl = NULL;
        buf_fini(&c->cipher);
        buf_fini(&c->pending);
        c->loop->open--;
}

static void fail(struct wire_conn *c, const char *why)
{
        wire_close(c);
        c->loop->failed(c, why);
}

static void fail_errno(struct wire_conn *c, const char *call)
{
        char why[128];

        snprintf(why, sizeof(why), "%s: %s", call, strerror(errno));
        fail(c, why);
}

static void want_out(struct wire_conn *c, bool on)
{
        if (c->wants_out == on)
                return;
        c->wants_out = on;
        struct epoll_event event = { .events = on ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c };
        CHECK(epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_MOD, c->fd, &event) == 0);
}

/* --- Sending ---------------------------------------------------------------------------------------------------------- */

/* What is next of the request, as one piece. */
static struct slice next_piece(const struct wire_conn *c)
{
        if (c->head.n > 0)
                return c->head;
        if (c->body.repeated > 0)
                return slice_head(slice_skip(c->body.unit, c->unit_at), MIN(c->body.repeated, (uint64_t)SIZE_MAX));
        return c->body.rest;
}

static void piece_sent(struct wire_conn *c, size_t n)
{
        if (c->head.n > 0) {
                c->head = slice_skip(c->head, n);
        } else if (c->body.repeated > 0) {
                c->body.repeated -= n;
                c->unit_at = (c->unit_at + n) % c->body.unit.n;
        } else {
                c->body.rest = slice_skip(c->body.rest, n);
        }
}

/* Takes n sent bytes off the pieces. */
static void pieces_sent(struct wire_conn *c, size_t n)
{
        while (n > 0) {
                size_t part = MIN(next_piece(c).n, n);
                piece_sent(c, part);
                n -= part;
        }
}

static bool all_sent(const struct wire_conn *c)
{
        return c->head.n == 0 && c->body.repeated == 0 && c->body.rest.n == 0 && c->cipher.n == 0;
}

/* Head and body leave in one call where they can: as a client with a buffered writer sends them. */
static ssize_t send_pieces(struct wire_conn *c)
{
        struct iovec pieces[3];
        struct msghdr message = { .msg_iov = pieces };
        struct slice s[3] = { c->head, slice_head(slice_skip(c->body.unit, c->unit_at), c->body.repeated), c->body.rest };

        if (c->body.repeated > s[1].n)
                s[2] = SLICE_NONE;
        for (int i = 0; i < 3; i++) {
                if (s[i].n > 0)
                        pieces[message.msg_iovlen++] = (struct iovec){ (char *)s[i].p, s[i].n };
        }
        return sendmsg(c->fd, &message, MSG_NOSIGNAL);
}

static void send_plain(struct wire_conn *c)
{
        for (int turn = 0; turn < 8 && !all_sent(c); turn++) {
                ssize_t n = send_pieces(c);
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0) {
                        fail_errno(c, "send");
                        return;
                }
                pieces_sent(c, (size_t)n);
        }
        want_out(c, !all_sent(c));
}

static bool send_cipher(struct wire_conn *c)
{
        while (c->cipher.n > 0) {
                ssize_t n = send(c->fd, c->cipher.p, c->cipher.n, MSG_NOSIGNAL);
                if (n < 0 && errno == EAGAIN)
                        return true;
                if (n < 0) {
                        fail_errno(c, "send");
                        return false;
                }
                if ((size_t)n == c->cipher.n)
                        buf_reset(&c->cipher);
                else
                        buf_consume(&c->cipher, (size_t)n);
        }
        return true;
}

/* Fills the cipher buffer, at most once a turn. */
static bool encrypt_pieces(struct wire_conn *c)
{
        while (c->cipher.n < CIPHER_BYTES) {
                struct slice piece = next_piece(c);
                size_t n;
                if (piece.n == 0)
                        return true;
                int rc = SSL_write_ex(c->ssl, piece.p, MIN(piece.n, (size_t)16384), &n);
                if (rc != 1) {
                        int why = SSL_get_error(c->ssl, rc);
                        if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ)
                                return true;
                        fail(c, "TLS write failed");
                        return false;
                }
                piece_sent(c, n);
        }
        return true;
}

static void send_tls(struct wire_conn *c)
{
        if (c->cipher.n == 0 && !encrypt_pieces(c))
                return;
        if (send_cipher(c))
                want_out(c, !all_sent(c));
}

static void send_more(struct wire_conn *c)
{
        if (c->ssl)
                send_tls(c);
        else
                send_plain(c);
}

void wire_send(struct wire_conn *c, struct slice head, const struct wire_body *body, bool head_only)
{
        CHECK(c->phase == WIRE_RESTING);
        c->head = head;
        c->body = body ? *body : (struct wire_body){ 0 };
        c->unit_at = 0;
        c->head_only = head_only;
        c->phase = WIRE_HEAD;
        c->response = (struct wire_response){ 0 };
        c->closes = false;
        send_more(c);
}

/* --- Receiving -------------------------------------------------------------------------------------------------------- */

static void answer_done(struct wire_conn *c)
{
        if (!all_sent(c)) {
                fail(c, "an answer before the request was sent");
                return;
        }
        c->phase = WIRE_RESTING;
        if (c->closes) {
                fail(c, "the server closes the connection");
                return;
        }
        c->loop->answered(c, &c->response);
}

static void head_field(struct wire_conn *c, struct slice line, bool *chunked)
{
        struct slice name;

        if (!slice_cut(&line, ':', &name))
                return;
        line = slice_trim(line);
        if (slice_eq_nocase(name, S("content-length"))) {
                if (!slice_to_u64(line, &c->left))
                        c->left = 0;
        } else if (slice_eq_nocase(name, S("transfer-encoding"))) {
                *chunked = slice_eq_nocase(line, S("chunked"));
        } else if (slice_eq_nocase(name, S("connection"))) {
                c->closes = slice_eq_nocase(line, S("close"));
        } else if (slice_eq_nocase(name, S("location"))) {
                if (slice_to_cstr(line, c->location, sizeof(c->location)))
                        c->response.location = slice_from(c->location);
        }
}

/* The head without its empty line. false: it is none. */
static bool read_head(struct wire_conn *c, struct slice head)
{
        uint64_t status;
        bool chunked = false;
        struct slice line;

        if (head.n < 12 || !slice_starts(head, S("HTTP/1.1 ")) || !slice_to_u64((struct slice){ head.p + 9, 3 }, &status))
                return false;
        c->response.status = (int)status;
        c->left = 0;
        while (slice_next(&head, '\n', &line)) {
                if (line.n > 0 && line.p[line.n - 1] == '\r')
                        line.n--;
                head_field(c, line, &chunked);
        }
        if (status < 200)
                return true;
        if (c->head_only || status == 204 || status == 304)
                c->left = 0, chunked = false;
        c->phase = chunked ? WIRE_CHUNK_SIZE : WIRE_BODY;
        if (c->phase == WIRE_BODY && c->left == 0)
                answer_done(c);
        return true;
}

/* Takes a piece that ends with `end` from *in, across reads if need be. false: it is not complete yet, or the connection failed. */
static bool take_until(struct wire_conn *c, struct slice *in, struct slice end, struct slice *ret_piece)
{
        if (c->pending.n == 0) {
                char *hit = memmem(in->p, in->n, end.p, end.n);
                if (hit) {
                        *ret_piece = (struct slice){ in->p, (size_t)(hit - in->p) };
                        *in = slice_skip(*in, ret_piece->n + end.n);
                        return true;
                }
        }
        while (in->n > 0) {
                buf_put_char(&c->pending, in->p[0]);
                *in = slice_skip(*in, 1);
                if (slice_ends(buf_slice(&c->pending), end)) {
                        *ret_piece = slice_head(buf_slice(&c->pending), c->pending.n - end.n);
                        return true;
                }
        }
        if (!buf_ok(&c->pending))
                fail(c, "an answer's head is too long");
        return false;
}

static bool read_chunk_size(struct wire_conn *c, struct slice line)
{
        char text[20], *end;

        if (!slice_to_cstr(slice_head(line, sizeof(text) - 1), text, sizeof(text)))
                return false;
        c->left = strtoull(text, &end, 16);
        if (end == text)
                return false;
        c->phase = c->left > 0 ? WIRE_BODY : WIRE_TRAILER;
        return true;
}

static void body_bytes(struct wire_conn *c, uint64_t n)
{
        c->left -= n;
        c->response.body_bytes += n;
}

/* One step of the answer's grammar. false: more bytes are needed, or the connection is gone. */
static bool receive_step(struct wire_conn *c, struct slice *in, bool *in_chunks)
{
        struct slice piece;
        bool good = true;

        switch (c->phase) {
        case WIRE_HEAD:
                if (!take_until(c, in, S("\r\n\r\n"), &piece))
                        return false;
                good = read_head(c, piece);
                *in_chunks = c->phase == WIRE_CHUNK_SIZE;
                break;
        case WIRE_CHUNK_SIZE:
                if (!take_until(c, in, S("\r\n"), &piece))
                        return false;
                good = read_chunk_size(c, piece);
                break;
        case WIRE_BODY: {
                size_t n = (size_t)MIN(c->left, (uint64_t)in->n);
                body_bytes(c, n);
                *in = slice_skip(*in, n);
                if (c->left > 0)
                        return false;
                if (*in_chunks)
                        c->phase = WIRE_CHUNK_END;
                else
                        answer_done(c);
                break;
        }
        case WIRE_CHUNK_END:
                if (!take_until(c, in, S("\r\n"), &piece))
                        return false;
                good = piece.n == 0;
                c->phase = WIRE_CHUNK_SIZE;
                break;
        case WIRE_TRAILER:
                if (!take_until(c, in, S("\r\n"), &piece))
                        return false;
                if (piece.n == 0)
                        answer_done(c);
                break;
        case WIRE_RESTING:
        case WIRE_CONNECTING:
        case WIRE_HANDSHAKE:
                good = false;
                break;
        case WIRE_CLOSED:
                return false;
        }
        if (c->phase == WIRE_CLOSED)
                return false;
        buf_reset(&c->pending);
        if (!good)
                fail(c, "an answer that is not HTTP/1.1");
        return good;
}

static void receive(struct wire_conn *c, struct slice in)
{
        while (in.n > 0 && receive_step(c, &in, &c->in_chunks))
                ;
}

static void receive_plain(struct wire_conn *c)
{
        struct wire_loop *loop = c->loop;
        bool drop = c->phase == WIRE_BODY && c->left > IN_BYTES;
        ssize_t n = drop ? recv(c->fd, NULL, MIN(c->left - 1, (uint64_t)DROP_BYTES), MSG_TRUNC) : recv(c->fd, loop->in, IN_BYTES, 0);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n < 0)
                fail_errno(c, "recv");
        else if (n == 0)
                fail(c, "the server closed the connection");
        else if (drop)
                body_bytes(c, (uint64_t)n);
        else
                receive(c, (struct slice){ loop->in, (size_t)n });
}

static void decrypt(struct wire_conn *c)
{
        char plain[16384];
        size_t n;

        while (c->phase != WIRE_CLOSED) {
                int rc = SSL_read_ex(c->ssl, plain, sizeof(plain), &n);
                if (rc == 1) {
                        receive(c, (struct slice){ plain, n });
                        continue;
                }
                if (SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ)
                        fail(c, "TLS read failed, or the server closed the connection");
                return;
        }
}

static void handshake(struct wire_conn *c)
{
        int rc = SSL_do_handshake(c->ssl);

        if (rc != 1 && SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ) {
                fail(c, "TLS handshake failed");
                return;
        }
        if (!send_cipher(c))
                return;
        want_out(c, c->cipher.n > 0);
        if (rc == 1) {
                c->phase = WIRE_RESTING;
                c->loop->ready(c);
        }
}

static void receive_tls(struct wire_conn *c)
{
        struct wire_loop *loop = c->loop;
        ssize_t n = recv(c->fd, loop->in, IN_BYTES, 0);

        if (n < 0 && errno == EAGAIN)
                return;
        if (n <= 0) {
                fail(c, n == 0 ? "the server closed the connection" : strerror(errno));
                return;
        }
        loop->cipher_in = (struct slice){ loop->in, (size_t)n };
        if (c->phase == WIRE_HANDSHAKE)
                handshake(c);
        if (c->phase != WIRE_CLOSED && c->phase != WIRE_HANDSHAKE)
                decrypt(c);
        loop->cipher_in = SLICE_NONE;
}

static void connected(struct wire_conn *c)
{
        int cause = 0;
        socklen_t n = sizeof(cause);

        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &cause, &n);
        if (cause) {
                errno = cause;
                fail_errno(c, "connect");
                return;
        }
        want_out(c, false);
        if (c->ssl) {
                c->phase = WIRE_HANDSHAKE;
                handshake(c);
        } else {
                c->phase = WIRE_RESTING;
                c->loop->ready(c);
        }
}

static void on_event(struct wire_conn *c, uint32_t events)
{
        if (c->phase == WIRE_CONNECTING) {
                connected(c);
                return;
        }
        if (events & EPOLLOUT && c->phase != WIRE_CLOSED)
                send_more(c);
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->phase != WIRE_CLOSED) {
                if (c->ssl)
                        receive_tls(c);
                else
                        receive_plain(c);
        }
}

RESULT wire_loop_run(struct wire_loop *loop, struct err *e)
{
        struct epoll_event events[EVENTS];

        while (loop->open > 0 && loop->tick(loop)) {
                int n = epoll_wait(loop->epoll_fd, events, EVENTS, 20);
                if (n < 0 && errno != EINTR)
                        return FAIL(e, ERR_IO, errno, "epoll_wait");
                for (int i = 0; i < n; i++)
                        on_event(events[i].data.ptr, events[i].events);
        }
        return OK;
}
