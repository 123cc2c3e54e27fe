/* SHA-256 and SHA-512 whose running state can be saved and loaded, so that an upload goes on after a restart without reading
 * its bytes again. (OpenSSL's EVP contexts cannot be saved; its older SHA256_CTX and SHA512_CTX can, and run the same code.)
 *
 *      struct sha h;
 *      sha_init(&h, SHA_256);
 *      sha_update(&h, bytes, n);          any number of times
 *      n = sha_save(&h, state);           at any time
 *      sha_final(&h, hash);               h is used up
 *
 * A value: no ownership, no thread of its own. The saved form is little-endian and independent of the machine. */
#pragma once

#include "base/slice.h"

#include <openssl/sha.h>

enum sha_algorithm {
        SHA_256 = 1,            /* these numbers stand in the database */
        SHA_512 = 2,
};

#define SHA_HASH_MAX 64
#define SHA_STATE_MAX 256

struct sha {
        enum sha_algorithm algorithm;
        union {
                SHA256_CTX sha256;
                SHA512_CTX sha512;
        } u;
};

size_t sha_hash_size(enum sha_algorithm algorithm);         /* 32 or 64 */
void sha_init(struct sha *h, enum sha_algorithm algorithm);
void sha_update(struct sha *h, const void *bytes, size_t n);
void sha_final(struct sha *h, unsigned char *ret_hash);
size_t sha_save(const struct sha *h, unsigned char ret_state[static SHA_STATE_MAX]);
bool sha_load(struct sha *h, struct slice state);           /* false: not a state that sha_save() wrote */
uint64_t sha_length(const struct sha *h);                   /* bytes hashed so far */
