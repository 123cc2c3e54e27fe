/* The HTTP/1.1 server (RFC 9110, RFC 9112): listeners, N loop threads, and what a handler may forget about.
 *
 *      TRY(http_server_new(&config, &server, e));
 *      TRY(http_server_listen(server, S("127.0.0.1:5000"), e));      several; or http_server_adopt() for an inherited socket
 *      TRY(http_server_start(server, e));                            connections are served from here on
 *      ...
 *      http_server_stop(server, timeout_ms);                         listens no more; running transfers finish, then all closes
 *      http_server_free(server);
 *
 * Memory of a connection, at most: see the table in http/connection.h.
 *
 * One thread sets up, stops and frees; http_server_set_limits() and http_server_stats() may be called by any thread at any time. */
#pragma once

#include "base/cleanup.h"
#include "base/pool.h"
#include "http/handler.h"
#include "net/tls.h"

struct http_server;

/* Each limit and its answer. All of them may change while the server runs; a connection sees a change with its next request. */
struct http_limits {
        uint64_t request_line_bytes_max;        /* 414 */
        uint64_t head_bytes_max;                /* 431 */
        uint64_t head_fields_max;               /* 431 */
        uint64_t connections_max;               /* above it the one that was idle for longest is closed */
        uint64_t head_timeout_ms;               /* to send a whole head, or to finish a TLS handshake: 408 or close */
        uint64_t idle_timeout_ms;               /* between requests */
        uint64_t body_rate_bytes;               /* slowest rate at which a body may travel, in a second; 0: no limit */
        uint64_t body_rate_window_ms;           /* time over which it is measured */
        uint64_t ranges_max;                    /* with more in one request the whole is sent */
};

struct http_server_config {
        unsigned loops;                         /* 0: one for each core */
        struct pool *pool;                      /* borrowed; freed after http_server_stop() and before http_server_free() */
        struct http_app app;
        struct http_limits limits;
        struct tls *tls;                        /* borrowed; NULL: plain HTTP */
};

RESULT http_server_new(const struct http_server_config *config, struct http_server **ret_server, struct err *e);
void http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free)

/* "host:port", "[v6]:port" or "unix:/path"; port 0 takes a free one. Unix sockets speak plain HTTP.
 * ERR_EXISTS: the address is in use (the message names it); ERR_INVALID, ERR_IO. */
RESULT http_server_listen(struct http_server *server, struct slice address, struct err *e);
/* A listening socket made by somebody else (systemd's socket activation); owned by the server from then on. */
RESULT http_server_adopt(struct http_server *server, int fd, struct err *e);
/* What it listens on, as addresses that http_server_listen() takes, with real ports; valid until free. NULL: no more. */
const char *http_server_address(struct http_server *server, size_t index);

RESULT http_server_start(struct http_server *server, struct err *e);
void http_server_stop(struct http_server *server, uint64_t timeout_ms);
void http_server_set_limits(struct http_server *server, const struct http_limits *limits);

struct http_server_stats {
        uint64_t connections;                   /* open now */
        uint64_t connections_total;
        uint64_t requests_total;
        uint64_t requests_running;              /* a head has come, the answer is not out yet */
        uint64_t bytes_in_total, bytes_out_total;       /* of bodies */
};
void http_server_stats(struct http_server *server, struct http_server_stats *ret_stats);
