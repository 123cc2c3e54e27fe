#include "oci/digest.h"

#include "base/hex.h"

static struct slice algorithm_name(enum sha_algorithm algorithm)
{
        return algorithm == SHA_256 ? S("sha256") : S("sha512");
}

static bool algorithm_parse(struct slice name, enum sha_algorithm *ret_algorithm)
{
        if (slice_eq(name, S("sha256")))
                *ret_algorithm = SHA_256;
        else if (slice_eq(name, S("sha512")))
                *ret_algorithm = SHA_512;
        else
                return false;
        return true;
}

RESULT digest_parse(struct slice text, struct digest *ret_digest, struct err *e)
{
        struct digest d = { 0 };
        struct slice hex = text, name;

        if (!slice_cut(&hex, ':', &name) || name.n == 0)
                return FAIL(e, ERR_DIGEST_INVALID, 0, "\"%.*s\" is not a digest: it must be sha256:<64 hexadecimal digits>",
                            SLICE_ARG(slice_head(text, 160)));
        if (!algorithm_parse(name, &d.algorithm))
                return FAIL(e, ERR_DIGEST_INVALID, 0, "the digest algorithm \"%.*s\" is not supported; use sha256 or sha512",
                            SLICE_ARG(slice_head(name, 64)));
        if (!hex_decode(hex, d.hash, sha_hash_size(d.algorithm)))
                return FAIL(e, ERR_DIGEST_INVALID, 0, "\"%.*s\" is not a digest: behind the colon there must be %zu lower-case "
                            "hexadecimal digits", SLICE_ARG(slice_head(text, 160)), sha_hash_size(d.algorithm) * 2);
        *ret_digest = d;
        return OK;
}

struct digest_text digest_format(const struct digest *d)
{
        struct digest_text text = { 0 };
        struct slice name = algorithm_name(d->algorithm);

        memcpy(text.s, name.p, name.n);
        text.s[name.n] = ':';
        hex_encode(d->hash, sha_hash_size(d->algorithm), text.s + name.n + 1);
        return text;
}

bool digest_eq(const struct digest *a, const struct digest *b)
{
        return digest_compare(a, b) == 0;
}

int digest_compare(const struct digest *a, const struct digest *b)
{
        if (a->algorithm != b->algorithm)
                return a->algorithm < b->algorithm ? -1 : 1;
        return memcmp(a->hash, b->hash, sha_hash_size(a->algorithm));
}

size_t digest_encode(const struct digest *d, unsigned char ret_code[static DIGEST_CODE_MAX])
{
        size_t n = sha_hash_size(d->algorithm);

        ret_code[0] = (unsigned char)d->algorithm;
        memcpy(ret_code + 1, d->hash, n);
        return n + 1;
}

bool digest_decode(struct slice code, struct digest *ret_digest)
{
        struct digest d = { 0 };

        if (code.n < 1 || (code.p[0] != SHA_256 && code.p[0] != SHA_512))
                return false;
        d.algorithm = (enum sha_algorithm)code.p[0];
        if (code.n != 1 + sha_hash_size(d.algorithm))
                return false;
        memcpy(d.hash, code.p + 1, code.n - 1);
        *ret_digest = d;
        return true;
}

void digest_of_bytes(enum sha_algorithm algorithm, struct slice bytes, struct digest *ret_digest)
{
        struct sha h;

        sha_init(&h, algorithm);
        sha_update(&h, bytes.p, bytes.n);
        digest_of_sha(&h, ret_digest);
}

void digest_of_sha(struct sha *h, struct digest *ret_digest)
{
        struct digest d = { .algorithm = h->algorithm };

        sha_final(h, d.hash);
        *ret_digest = d;
}
