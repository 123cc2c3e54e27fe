#include "transfer/client.h"

#include "net/dial.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum {
        TIMEOUT_MS = 10 * 60 * 1000,    /* a large blob is synced before it is answered */
        RECEIVE_BYTES = 64 * 1024,
        HEAD_MAX = 32 * 1024,
        REQUEST_MAX = 8 * 1024,
        REFUSAL_MAX = 64 * 1024,
        ASK_ABOVE_BYTES = 256 * 1024,   /* of a body: may it be sent? */
};

struct client {
        char *address;                  /* owned */
        X509 *certificate;              /* owned; NULL: none */
        int fd;
        SSL *ssl;                       /* owned; NULL: plain */
        char received[RECEIVE_BYTES];
        size_t at, end;                 /* what is there of `received` */
        uint64_t body_left;             /* of the answer */
        bool head_only, close_after, send_failed;
        bool has_early;                 /* the answer came before the body was sent: */
        struct client_answer early;
};

static void hang_up(struct client *client)
{
        SSL_free(TAKE_PTR(client->ssl));
        if (client->fd >= 0)
                close(TAKE_FD(client->fd));
        client->at = client->end = 0;
        client->body_left = 0;
        client->close_after = client->send_failed = false;
}

void client_free(struct client *client)
{
        if (!client)
                return;
        hang_up(client);
        X509_free(client->certificate);
        free(client->address);
        free(client);
}

static RESULT read_certificate(struct slice pem, X509 **ret_certificate, struct err *e)
{
        BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);

        *ret_certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
        BIO_free(bio);
        ERR_clear_error();
        return *ret_certificate ? OK : FAIL(e, ERR_INVALID, 0, "the registry's certificate cannot be read");
}

RESULT client_new(const char *address, struct slice certificate_pem, struct client **ret_client, struct err *e)
{
        _cleanup_(client_freep) struct client *client = calloc(1, sizeof *client);

        if (!client)
                return FAIL(e, ERR_NOMEM, ENOMEM, "talk to the registry");
        client->fd = -1;
        client->address = strdup(address);
        if (!client->address)
                return FAIL(e, ERR_NOMEM, ENOMEM, "talk to the registry");
        if (certificate_pem.n)
                TRY(read_certificate(certificate_pem, &client->certificate, e));
        *ret_client = TAKE_PTR(client);
        return OK;
}

/* --- The connection --------------------------------------------------------------------------------------------------- */

/* The address was told by a file of ours; who listens there now is asked for the certificate of that registry. */
static RESULT check_certificate(struct client *client, struct err *e)
{
        X509 *certificate = SSL_get1_peer_certificate(client->ssl);
        bool same = certificate && client->certificate && X509_cmp(certificate, client->certificate) == 0;

        X509_free(certificate);
        return same ? OK : FAIL(e, ERR_DENIED, 0, "what answers at %s has not the certificate of this registry", client->address);
}

static RESULT connect_again(struct client *client, struct err *e)
{
        bool tls;

        hang_up(client);
        TRY(dial(client->address, TIMEOUT_MS, &client->fd, &tls, e));
        if (!tls)
                return OK;
        TRY(dial_tls(client->fd, client->address, &client->ssl, e));
        return check_certificate(client, e);
}

/* A connection without a request on it has nothing to say but its end, or session tickets: then it is looked at. */
static bool has_ended(struct client *client)
{
        struct pollfd fd = { client->fd, POLLIN, 0 };
        char byte;

        if (client->fd < 0 || client->close_after)
                return true;
        if (poll(&fd, 1, 0) <= 0)
                return false;
        return !client->ssl || recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static struct result fail_broken(struct client *client, const char *step, struct err *e)
{
        struct result result = dial_fail(e, client->address, step);

        if (e->code == ERR_CLOSED)
                result = FAIL(e, ERR_CLOSED, 0, "the registry at %s broke the connection (%s)", client->address, step);
        hang_up(client);
        return result;
}

static RESULT write_all(struct client *client, struct slice bytes, struct err *e)
{
        while (bytes.n) {
                size_t n = MIN(bytes.n, (size_t)1024 * 1024);
                ssize_t done = client->ssl ? SSL_write(client->ssl, bytes.p, (int)n) : send(client->fd, bytes.p, n, MSG_NOSIGNAL);

                if (done <= 0 && !client->ssl && errno == EINTR)
                        continue;
                if (done <= 0) {
                        ERR_clear_error();
                        return FAIL(e, ERR_CLOSED, errno, "send to %s", client->address);
                }
                bytes = slice_skip(bytes, (size_t)done);
        }
        return OK;
}

/* More of the answer. *ret_n 0: the other side has ended. */
static RESULT read_some(struct client *client, char *room, size_t size, size_t *ret_n, struct err *e)
{
        ssize_t got;

        do
                got = client->ssl ? SSL_read(client->ssl, room, (int)MIN(size, (size_t)INT32_MAX)) : recv(client->fd, room, size, 0);
        while (got < 0 && !client->ssl && errno == EINTR);
        if (got < 0) {
                ERR_clear_error();
                return fail_broken(client, "waiting for the answer", e);
        }
        *ret_n = (size_t)got;
        return OK;
}

/* Small bodies are read to their end, because a new connection costs more. */
static void pass_over(struct client *client)
{
        char room[4096];
        struct err ignored;
        size_t n = 1;

        if (client->body_left > REFUSAL_MAX)
                hang_up(client);
        while (client->fd >= 0 && client->body_left && n)
                if (!client_receive(client, room, sizeof room, &n, &ignored).ok)
                        return;
}

/* --- Answers ---------------------------------------------------------------------------------------------------------- */

static RESULT read_head(struct client *client, char head[static HEAD_MAX + 1], size_t *ret_n, struct err *e)
{
        size_t n = 0;

        for (;;) {
                size_t got;

                if (client->at == client->end) {
                        client->at = 0;
                        TRY(read_some(client, client->received, sizeof client->received, &client->end, e));
                        if (client->end == 0) {
                                errno = 0;
                                return fail_broken(client, client->send_failed ? "sending" : "waiting for the answer", e);
                        }
                }
                for (got = client->at; got < client->end && n < HEAD_MAX;) {
                        head[n++] = client->received[got++];
                        if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0) {
                                client->at = got;
                                *ret_n = n - 2;
                                return OK;
                        }
                }
                client->at = got;
                if (n == HEAD_MAX) {
                        hang_up(client);
                        return FAIL(e, ERR_INVALID, 0, "the answer of %s has a head that is too long", client->address);
                }
        }
}

/* "</v2/…?n=…>; rel="next"" */
static void read_link(struct slice value, struct client_answer *answer)
{
        struct slice target;

        if (slice_starts(value, S("<")) && slice_ends(value, S("rel=\"next\""))) {
                value = slice_skip(value, 1);
                if (slice_cut(&value, '>', &target) && !slice_to_cstr(target, answer->next, sizeof answer->next))
                        answer->next[0] = 0;
        }
}

static bool read_field(struct client *client, struct slice name, struct slice value, struct client_answer *answer)
{
        if (slice_eq_nocase(name, S("Content-Length")))
                return slice_to_u64(value, &answer->body_bytes);
        if (slice_eq_nocase(name, S("Transfer-Encoding")))
                return false;
        if (slice_eq_nocase(name, S("Location")))
                return slice_to_cstr(value, answer->location, sizeof answer->location);
        if (slice_eq_nocase(name, S("Content-Type")))
                return slice_to_cstr(value, answer->media_type, sizeof answer->media_type);
        if (slice_eq_nocase(name, S("Docker-Content-Digest")))
                return slice_to_cstr(value, answer->digest, sizeof answer->digest);
        if (slice_eq_nocase(name, S("Link")))
                read_link(value, answer);
        if (slice_eq_nocase(name, S("Connection")) && slice_eq_nocase(value, S("close")))
                client->close_after = true;
        return true;
}

static bool read_answer(struct client *client, struct slice head, struct client_answer *answer)
{
        struct slice line, name;
        uint64_t status;

        if (!slice_next(&head, '\n', &line) || !slice_starts(line, S("HTTP/1.1 ")) ||
            !slice_to_u64(slice_head(slice_skip(line, 9), 3), &status) || status < 100 || status > 599)
                return false;
        answer->status = (int)status;
        while (slice_next(&head, '\n', &line) && line.n > 1) {
                if (!slice_ends(line, S("\r")) || !slice_cut(&line, ':', &name))
                        return false;
                line.n--;
                if (!read_field(client, name, slice_trim(line), answer))
                        return false;
        }
        return true;
}

static RESULT next_answer(struct client *client, struct client_answer *ret_answer, struct err *e)
{
        struct client_answer answer = { .status = 0 };
        char head[HEAD_MAX + 1];
        size_t n = 0;

        if (client->fd < 0) {
                errno = 0;
                return fail_broken(client, "sending", e);
        }
        TRY(read_head(client, head, &n, e));
        if (!read_answer(client, (struct slice){ head, n }, &answer)) {
                hang_up(client);
                return FAIL(e, ERR_INVALID, 0, "what answers at %s is not this registry", client->address);
        }
        *ret_answer = answer;
        return OK;
}

/* "100 Continue", or the answer that makes the body needless. */
static RESULT ask_before_sending(struct client *client, struct err *e)
{
        TRY(next_answer(client, &client->early, e));
        client->has_early = client->early.status >= 200;
        client->close_after = client->close_after || client->has_early;
        return OK;
}

RESULT client_answer(struct client *client, struct client_answer *ret_answer, struct err *e)
{
        struct client_answer answer = client->early;

        if (!client->has_early)
                do
                        TRY(next_answer(client, &answer, e));
                while (answer.status < 200);
        client->body_left = client->head_only || answer.status == 204 || answer.status == 304 ? 0 : answer.body_bytes;
        client->close_after = client->close_after || client->send_failed;
        *ret_answer = answer;
        return OK;
}

RESULT client_receive(struct client *client, void *room, size_t size, size_t *ret_n, struct err *e)
{
        size_t n = (size_t)MIN((uint64_t)size, client->body_left);

        *ret_n = 0;
        if (n == 0)
                return OK;
        if (client->at < client->end) {
                n = MIN(n, client->end - client->at);
                memcpy(room, client->received + client->at, n);
                client->at += n;
        } else {
                TRY(read_some(client, room, n, &n, e));
                if (n == 0) {
                        errno = 0;
                        return fail_broken(client, "receiving", e);
                }
        }
        client->body_left -= n;
        *ret_n = n;
        return OK;
}

RESULT client_receive_all(struct client *client, struct buf *b, struct err *e)
{
        if (client->body_left > b->max - b->n)
                return FAIL(e, ERR_LIMIT, 0, "the answer has %llu bytes; %zu are the most", (unsigned long long)client->body_left,
                            b->max - b->n);
        while (client->body_left) {
                char *room = buf_reserve(b, (size_t)client->body_left);
                size_t n;

                if (!room)
                        return FAIL(e, ERR_NOMEM, 0, "no memory for an answer");
                TRY(client_receive(client, room, (size_t)client->body_left, &n, e));
                b->n += n;
        }
        return OK;
}

/* --- Requests --------------------------------------------------------------------------------------------------------- */

RESULT client_begin(struct client *client, const struct client_request *request, struct err *e)
{
        bool asks = request->body_bytes > ASK_ABOVE_BYTES;
        char text[REQUEST_MAX];
        int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: orlop\r\nContent-Length: %llu\r\n%s%s\r\n",
                         request->method, request->target, (unsigned long long)request->body_bytes,
                         asks ? "Expect: 100-continue\r\n" : "", request->headers ? request->headers : "");

        if (n < 0 || (size_t)n >= sizeof text)
                return FAIL(e, ERR_INVALID, 0, "the request is too long");
        pass_over(client);
        if (has_ended(client))
                TRY(connect_again(client, e));
        client->head_only = strcmp(request->method, "HEAD") == 0;
        client->send_failed = client->has_early = false;
        if (!write_all(client, (struct slice){ text, (size_t)n }, e).ok)
                return fail_broken(client, "sending", e);
        return asks ? ask_before_sending(client, e) : OK;
}

/* A server that refuses may stop reading and say why: the answer is what counts. */
RESULT client_send(struct client *client, struct slice bytes, struct err *e)
{
        if (!client->has_early && !client->send_failed && client->fd >= 0)
                client->send_failed = !write_all(client, bytes, e).ok;
        return OK;
}

RESULT client_ask(struct client *client, const char *method, const char *target, struct client_answer *ret_answer, struct err *e)
{
        struct client_request request = { .method = method, .target = target };

        TRY(client_begin(client, &request, e));
        return client_answer(client, ret_answer, e);
}

/* --- Refusals --------------------------------------------------------------------------------------------------------- */

static enum err_code code_of(int status)
{
        switch (status) {
        case 401:
        case 403:
                return ERR_DENIED;
        case 404:
                return ERR_NOT_FOUND;
        case 413:
                return ERR_LIMIT;
        case 507:
                return ERR_FULL;
        default:
                return status >= 500 ? ERR_IO : ERR_INVALID;
        }
}

struct result client_refused(struct client *client, const struct client_answer *answer, const char *what, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(REFUSAL_MAX);
        json_t *root = NULL;
        const char *message = NULL;
        struct err ignored;
        struct result result;

        if (client_receive_all(client, &body, &ignored).ok)
                root = json_loadb(body.p ? body.p : "", body.n, 0, NULL);
        message = json_string_value(json_object_get(json_array_get(json_object_get(root, "errors"), 0), "message"));
        result = FAIL(e, code_of(answer->status), 0, "%s: %s (status %d)", what, message ? message : "the registry refuses it",
                      answer->status);
        json_decref(root);
        return result;
}
