/* Digests: image-spec, descriptor.md "Digests". `sha256:<64 hex>` and `sha512:<128 hex>`; nothing else is accepted.
 * A value; pure functions; any thread. */
#pragma once

#include "base/err.h"
#include "base/sha.h"
#include "base/slice.h"

struct digest {
        enum sha_algorithm algorithm;
        unsigned char hash[SHA_HASH_MAX];       /* the bytes past the algorithm's size are zero */
};

#define DIGEST_TEXT_MAX 136             /* "sha512:", 128 digits and a NUL */
#define DIGEST_CODE_MAX 65              /* the stored form: an algorithm byte and the raw hash */

struct digest_text {
        char s[DIGEST_TEXT_MAX];
};

/* ERR_DIGEST_INVALID: not a digest, or of an algorithm that is not supported (the message says which). */
RESULT digest_parse(struct slice text, struct digest *ret_digest, struct err *e);

struct digest_text digest_format(const struct digest *d);              /* "sha256:…" for messages and headers */
bool digest_eq(const struct digest *a, const struct digest *b);
int digest_compare(const struct digest *a, const struct digest *b);    /* order of the stored form */
size_t digest_encode(const struct digest *d, unsigned char ret_code[static DIGEST_CODE_MAX]);
bool digest_decode(struct slice code, struct digest *ret_digest);
void digest_of_bytes(enum sha_algorithm algorithm, struct slice bytes, struct digest *ret_digest);
void digest_of_sha(struct sha *h, struct digest *ret_digest);          /* ends the hash */
