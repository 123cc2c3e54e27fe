/* An HTTP/1.1 client for load: many kept-alive connections on one thread's epoll, plain or TLS, at a low cost of its own.
 *
 *      wire_loop_init(&loop, &target, &e);
 *      wire_connect(&loop, conn, &e);           any number; the handshake runs in wire_loop_run()
 *      wire_loop_run(&loop, &e);                calls loop.ready(conn) and loop.answered(conn, &response)
 *      wire_loop_fini(&loop);
 *
 * ready() and answered() may call wire_send() once each: the next request of that connection. Without it the connection rests.
 * A body that is downloaded is counted and dropped. On plain connections the kernel drops large ones itself (MSG_TRUNC), so
 * that the client's copying does not hide the server's work.
 *
 * Errors: anything but a complete answer is reported to failed(conn, text), and the connection is closed. One thread a loop. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

#include <netdb.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

/* What follows the head of a request: `unit` again and again, `repeated` bytes of it in all, then `rest`. */
struct wire_body {
        struct slice unit;              /* borrowed until the answer */
        uint64_t repeated;
        struct slice rest;              /* borrowed until the answer */
};

struct wire_response {
        int status;
        uint64_t body_bytes;
        struct slice location;          /* valid during answered() */
};

struct wire_target {
        struct sockaddr_storage address;
        socklen_t address_n;
        char host[300];                 /* for the Host field */
        bool tls;
        SSL_CTX *ssl_ctx;               /* owned; NULL without TLS */
};

/* http[s]://HOST:PORT with a numeric or local name. ERR_INVALID. */
RESULT wire_target_parse(const char *url, struct wire_target *ret_target, struct err *e);
void wire_target_fini(struct wire_target *target);

enum wire_phase { WIRE_CLOSED, WIRE_CONNECTING, WIRE_HANDSHAKE, WIRE_HEAD, WIRE_BODY, WIRE_CHUNK_SIZE, WIRE_CHUNK_END, WIRE_TRAILER,
                  WIRE_RESTING };

struct wire_conn {
        struct wire_loop *loop;
        int fd;
        enum wire_phase phase;
        SSL *ssl;                       /* owned */

        /* request */
        struct slice head;              /* borrowed: what is left of it */
        struct wire_body body;
        uint64_t unit_at;
        bool head_only;                 /* HEAD: the answer has no body */
        bool wants_out;
        struct buf cipher;              /* TLS records that the socket did not take yet */

        /* answer */
        struct buf pending;             /* a head, or a chunk's line, that came in pieces */
        uint64_t left;                  /* of the body, or of the chunk */
        bool in_chunks, closes;
        struct wire_response response;
        char location[512];

        void *arg;                      /* the scenario's */
};

struct wire_loop {
        int epoll_fd;
        const struct wire_target *target;       /* borrowed */
        char *in;                               /* owned: one read; it is used up before the next */
        struct slice cipher_in;                 /* TLS: what the engine has not taken of it */
        size_t open;                            /* connections that are not closed */
        void *arg;
        void (*ready)(struct wire_conn *c);
        void (*answered)(struct wire_conn *c, const struct wire_response *rs);
        void (*failed)(struct wire_conn *c, const char *why);
        bool (*tick)(struct wire_loop *loop);   /* after each batch of events, at least every 20 ms; false ends the loop */
};

RESULT wire_loop_init(struct wire_loop *loop, const struct wire_target *target, struct err *e);
void wire_loop_fini(struct wire_loop *loop);
/* Zeroed memory of the caller; wire_close() before it goes. */
RESULT wire_connect(struct wire_loop *loop, struct wire_conn *c, struct err *e);
void wire_close(struct wire_conn *c);
void wire_send(struct wire_conn *c, struct slice head, const struct wire_body *body, bool head_only);
/* Until tick() says false or no connection is open. */
RESULT wire_loop_run(struct wire_loop *loop, struct err *e);
