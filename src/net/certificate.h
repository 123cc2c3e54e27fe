/* Keys and certificates (RFC 5280) of the registry's own authority: EC P-256, signed with ECDSA and SHA-256, and such that strict
 * clients (Go, OpenSSL's X509_V_FLAG_X509_STRICT, GnuTLS) take them.
 *
 *      TRY(certificate_key_new(&key, e));
 *      TRY(certificate_sign_authority(&(struct certificate_order){ ... }, &ca, e));
 *      TRY(certificate_sign_server(&(struct certificate_order){ ... }, &server, e));
 *
 * Objects are OpenSSL's: free with X509_free(), EVP_PKEY_free(), or the cleanups below. Times are seconds since 1970. ERR_NOMEM and
 * ERR_INTERNAL (OpenSSL refuses) travel up; ERR_INVALID: text that is no such PEM. Any thread. */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "net/names.h"

#include <openssl/x509.h>

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

struct certificate_order {
        EVP_PKEY *key;                  /* the certificate's own */
        const char *common_name;
        int64_t from_s, until_s;
        /* of an authority */
        const X509 *previous;           /* NULL, or a certificate of the same key: the new one has its subject */
        /* of a server */
        X509 *issuer;
        EVP_PKEY *issuer_key;
        const struct names *names;
};

RESULT certificate_key_new(EVP_PKEY **ret_key, struct err *e);
/* Signed by its own key; may sign servers, no further authorities. */
RESULT certificate_sign_authority(const struct certificate_order *order, X509 **ret_certificate, struct err *e);
RESULT certificate_sign_server(const struct certificate_order *order, X509 **ret_certificate, struct err *e);

/* PEM (RFC 7468). A key with a password is ERR_INVALID: nobody could be asked for it. */
RESULT certificate_read(struct slice pem, X509 **ret_certificate, struct err *e);
RESULT certificate_read_key(struct slice pem, EVP_PKEY **ret_key, struct err *e);
RESULT certificate_write(X509 *certificate, struct buf *b, struct err *e);
RESULT certificate_write_key(EVP_PKEY *key, struct buf *b, struct err *e);

int64_t certificate_from(const X509 *certificate);
int64_t certificate_until(const X509 *certificate);
void certificate_names(X509 *certificate, struct names *names);         /* adds those that it holds */
