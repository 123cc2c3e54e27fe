#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/sha.h"

#include "base/check.h"

#include <endian.h>

/* The saved form: algorithm, version, then the words of the context, each as 64 bits, then the pending block. */
enum { STATE_VERSION = 1, STATE_WORDS = 8 };

size_t sha_hash_size(enum sha_algorithm algorithm)
{
        switch (algorithm) {
        case SHA_256:
                return 32;
        case SHA_512:
                return 64;
        }
        CHECK(!"a known algorithm");
        return 0;
}

void sha_init(struct sha *h, enum sha_algorithm algorithm)
{
        h->algorithm = algorithm;
        if (algorithm == SHA_256)
                CHECK(SHA256_Init(&h->u.sha256));
        else
                CHECK(SHA512_Init(&h->u.sha512));
}

void sha_update(struct sha *h, const void *bytes, size_t n)
{
        if (h->algorithm == SHA_256)
                CHECK(SHA256_Update(&h->u.sha256, bytes, n));
        else
                CHECK(SHA512_Update(&h->u.sha512, bytes, n));
}

void sha_final(struct sha *h, unsigned char *ret_hash)
{
        if (h->algorithm == SHA_256)
                CHECK(SHA256_Final(ret_hash, &h->u.sha256));
        else
                CHECK(SHA512_Final(ret_hash, &h->u.sha512));
}

uint64_t sha_length(const struct sha *h)
{
        if (h->algorithm == SHA_256)
                return ((uint64_t)h->u.sha256.Nh << 32 | h->u.sha256.Nl) / 8;
        return h->u.sha512.Nl / 8;      /* 2^61 bytes are enough */
}

static unsigned char *put_word(unsigned char *at, uint64_t word)
{
        word = htole64(word);
        memcpy(at, &word, sizeof word);
        return at + sizeof word;
}

static uint64_t get_word(const char *at)
{
        uint64_t word;

        memcpy(&word, at, sizeof word);
        return le64toh(word);
}

size_t sha_save(const struct sha *h, unsigned char ret_state[static SHA_STATE_MAX])
{
        unsigned char *at = ret_state;
        size_t pending = h->algorithm == SHA_256 ? h->u.sha256.num : h->u.sha512.num;
        const void *block = h->algorithm == SHA_256 ? (const void *)h->u.sha256.data : (const void *)h->u.sha512.u.p;

        *at++ = (unsigned char)h->algorithm;
        *at++ = STATE_VERSION;
        at = put_word(at, sha_length(h));
        for (int i = 0; i < STATE_WORDS; i++)
                at = put_word(at, h->algorithm == SHA_256 ? h->u.sha256.h[i] : h->u.sha512.h[i]);
        memcpy(at, block, pending);
        return (size_t)(at - ret_state) + pending;
}

bool sha_load(struct sha *h, struct slice state)
{
        const size_t fixed = 2 + 8 + 8 * STATE_WORDS;
        uint64_t length;
        size_t pending, block;

        if (state.n < fixed || (state.p[0] != SHA_256 && state.p[0] != SHA_512) || state.p[1] != STATE_VERSION)
                return false;
        block = state.p[0] == SHA_256 ? SHA256_CBLOCK : SHA512_CBLOCK;
        length = get_word(state.p + 2);
        pending = length % block;
        if (state.n != fixed + pending || length > UINT64_MAX / 8)
                return false;

        sha_init(h, (enum sha_algorithm)state.p[0]);
        for (int i = 0; i < STATE_WORDS; i++) {
                uint64_t word = get_word(state.p + 10 + 8 * i);

                if (h->algorithm == SHA_256)
                        h->u.sha256.h[i] = (SHA_LONG)word;
                else
                        h->u.sha512.h[i] = word;
        }
        if (h->algorithm == SHA_256) {
                h->u.sha256.Nl = (SHA_LONG)(length * 8);
                h->u.sha256.Nh = (SHA_LONG)(length * 8 >> 32);
                h->u.sha256.num = (unsigned)pending;
                memcpy(h->u.sha256.data, state.p + fixed, pending);
        } else {
                h->u.sha512.Nl = length * 8;
                h->u.sha512.num = (unsigned)pending;
                memcpy(h->u.sha512.u.p, state.p + fixed, pending);
        }
        return true;
}
