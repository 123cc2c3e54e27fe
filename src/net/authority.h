/* The registry's own authority and the server certificate that it signs (RFC 5280), for --tls auto.
 *
 *      struct authority_config config = { .folder = "<data>/tls", .names = names, .name_count = n };
 *      struct authority_identity identity = AUTHORITY_IDENTITY_INIT;
 *
 *      TRY(authority_ensure(&config, &identity, &renewed, e));       at start, hourly, and when a setting changed
 *      ... tls_set_certificate(tls, buf_slice(&identity.chain_pem), buf_slice(&identity.key_pem), e) ...
 *      authority_identity_fini(&identity);
 *
 * First call: makes the authority (EC P-256, 10 years) and a server certificate (398 days). Later calls load them, and make the
 * server certificate again 30 days before it ends, or when the names it must hold have changed: the machine's host name,
 * "localhost", every address of the machine, and the names of the configuration.
 *
 *      <data>/tls/ca.crt  ca.key  server.crt  server.key             keys have mode 0600
 *
 * Blocks; one thread at a time. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct authority_config {
        const char *folder;
        const char *const *names;       /* DNS names and IP addresses beside the machine's own */
        size_t name_count;
};

#define FINGERPRINT_TEXT_MAX 96         /* "AB:CD:…" of 32 bytes and a NUL */

struct authority_identity {
        struct buf ca_pem, chain_pem, key_pem;  /* owned */
        char fingerprint[FINGERPRINT_TEXT_MAX]; /* SHA-256 of the server's certificate */
        char ca_fingerprint[FINGERPRINT_TEXT_MAX];
};
#define AUTHORITY_PEM_MAX (64 * 1024)
#define AUTHORITY_IDENTITY_INIT \
        ((struct authority_identity){ BUF_INIT(AUTHORITY_PEM_MAX), BUF_INIT(AUTHORITY_PEM_MAX), BUF_INIT(AUTHORITY_PEM_MAX), "", "" })

void authority_identity_fini(struct authority_identity *identity);
/* *ret_renewed: the server certificate was made new. ERR_IO, ERR_CORRUPT (the message names the file and the mend). */
RESULT authority_ensure(const struct authority_config *config, struct authority_identity *ret_identity, bool *ret_renewed,
                        struct err *e);

/* Changes nothing: can authority_ensure() work with what is there? ERR_NOT_FOUND: there is nothing yet. ERR_CORRUPT, ERR_IO. */
RESULT authority_check(const char *folder, struct err *e);

/* The fingerprint of the first certificate in a PEM text. ERR_INVALID. */
RESULT authority_fingerprint(struct slice chain_pem, char ret_fingerprint[static FINGERPRINT_TEXT_MAX], struct err *e);
