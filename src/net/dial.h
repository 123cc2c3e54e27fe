/* Connections to a registry on this machine, for the commands that talk to one that runs. Blocking, any thread.
 *
 *      TRY(dial("https://127.0.0.1:5000", timeout_ms, &fd, &tls, e));
 *      if (tls)
 *              TRY(dial_tls(fd, address, &ssl, e));         the certificate is not checked: compare it, where it matters
 *
 * ERR_INVALID: no such address. ERR_CLOSED: nobody answers there. ERR_TIMEOUT. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

#include <openssl/ssl.h>

DEFINE_CLEANUP(SSL *, SSL_free)
DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)

/* "https://HOST:PORT", "http://HOST:PORT" or "unix:/PATH"; HOST is an IP address, and one that stands for all of the machine's is
 * reached by loopback. Each later step on the socket fails after timeout_ms without progress. */
RESULT dial(const char *address, uint64_t timeout_ms, int *ret_fd, bool *ret_tls, struct err *e);
RESULT dial_tls(int fd, const char *address, SSL **ret_ssl, struct err *e);
/* The error of a step that failed with this errno. */
struct result dial_fail(struct err *e, const char *address, const char *step);
