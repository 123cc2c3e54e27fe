/* A client of a registry on this machine: HTTP/1.1 (RFC 9112) over one connection that is kept, and made again when it is gone.
 *
 *      TRY(client_new("https://127.0.0.1:5000", certificate_pem, &client, e));
 *
 *      TRY(client_begin(client, &(struct client_request){ "PUT", target, "Content-Type: …\r\n", n }, e));
 *      TRY(client_send(client, bytes, e));                     until body_bytes have been sent
 *      TRY(client_answer(client, &answer, e));
 *      TRY(client_receive(client, room, size, &n, e));         until n is 0
 *
 * What is left of an answer's body is passed over by the next client_begin(). Only what this program's server sends is understood:
 * each answer tells its length.
 *
 * One thread; blocks, at most TIMEOUT without progress. ERR_CLOSED: the registry has gone. ERR_TIMEOUT. ERR_INVALID: not a registry. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

struct client;

/* `certificate_pem`: with https the server must have this certificate; empty: plain addresses only. */
RESULT client_new(const char *address, struct slice certificate_pem, struct client **ret_client, struct err *e);
void client_free(struct client *client);
DEFINE_CLEANUP(struct client *, client_free)

struct client_request {
        const char *method, *target;
        const char *headers;            /* lines that end with CR LF; NULL: none */
        uint64_t body_bytes;
};
enum { CLIENT_TARGET_MAX = 2048 };

struct client_answer {
        int status;
        uint64_t body_bytes;
        char location[1024], media_type[256], digest[160], next[CLIENT_TARGET_MAX];     /* "": no such header. next: of Link */
};

RESULT client_begin(struct client *client, const struct client_request *request, struct err *e);
RESULT client_send(struct client *client, struct slice bytes, struct err *e);
RESULT client_answer(struct client *client, struct client_answer *ret_answer, struct err *e);
RESULT client_receive(struct client *client, void *room, size_t size, size_t *ret_n, struct err *e);
/* The whole body. ERR_LIMIT: more than the buffer may hold. */
RESULT client_receive_all(struct client *client, struct buf *b, struct err *e);

/* A request without a body, and its answer. */
RESULT client_ask(struct client *client, const char *method, const char *target, struct client_answer *ret_answer, struct err *e);
/* The error that an answer tells (distribution-spec, "Error Codes"), with the code that belongs to its status. `what` could not be done. */
struct result client_refused(struct client *client, const struct client_answer *answer, const char *what, struct err *e);
