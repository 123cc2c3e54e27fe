/* The server's side of TLS (OpenSSL 3): TLS 1.2 and 1.3, ALPN "http/1.1", session tickets whose keys rotate.
 *
 *      TRY(tls_new(&tls, e));
 *      TRY(tls_set_certificate(tls, chain_pem, key_pem, e));         at start, and again whenever the certificate changed
 *      ... the server makes a session of it for each connection ...
 *      tls_free(tls)                                                 after the server has ended
 *
 * tls_set_certificate() may be called at any time by any thread: handshakes that begin afterwards use the new one, connections
 * that are open keep theirs. Tickets stay valid across it. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct tls;

RESULT tls_new(struct tls **ret_tls, struct err *e);
void tls_free(struct tls *tls);
DEFINE_CLEANUP(struct tls *, tls_free)

/* PEM texts: the certificate with its chain, and the private key (ECDSA or RSA). ERR_INVALID: unreadable, or key and certificate
 * do not belong together; the certificate in use stays. */
RESULT tls_set_certificate(struct tls *tls, struct slice chain_pem, struct slice key_pem, struct err *e);
