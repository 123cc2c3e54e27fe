#include "content.h"

#include "base/hex.h"
#include "base/rand.h"

#include <stdio.h>

static void digest_text(struct sha *h, char *ret_digest)
{
        unsigned char hash[SHA_HASH_MAX];

        sha_final(h, hash);
        memcpy(ret_digest, "sha256:", 7);
        hex_encode(hash, 32, ret_digest + 7);
        ret_digest[CONTENT_DIGEST] = '\0';
}

void content_digest(struct slice bytes, char ret_digest[static CONTENT_DIGEST + 1])
{
        struct sha h;

        sha_init(&h, SHA_256);
        sha_update(&h, bytes.p, bytes.n);
        digest_text(&h, ret_digest);
}

/* The pattern in chunks of CONTENT_CHUNK bytes, each with its frame. */
static RESULT frame_pattern(struct content *c, struct err *e)
{
        struct buf *framed = &c->framed;

        *framed = BUF_INIT(2 * CONTENT_UNIT);
        for (size_t at = 0; at < CONTENT_UNIT; at += CONTENT_CHUNK) {
                buf_printf(framed, "%x\r\n", CONTENT_CHUNK);
                buf_put(framed, (struct slice){ c->pattern + at, CONTENT_CHUNK });
                buf_put(framed, S("\r\n"));
        }
        if (!buf_ok(framed))
                return FAIL(e, ERR_NOMEM, 0, "content");
        c->unit = buf_slice(framed);
        return OK;
}

RESULT content_init(struct content *c, uint64_t bytes, bool chunked, struct err *e)
{
        uint64_t beginning = bytes - CONTENT_TAIL, chunks = beginning / CONTENT_CHUNK;

        CHECK(bytes > CONTENT_TAIL);
        *c = (struct content){ .bytes = bytes, .chunked = chunked, .pattern = malloc(CONTENT_UNIT) };
        if (!c->pattern)
                return FAIL(e, ERR_NOMEM, 0, "content");
        rand_bytes(c->pattern, CONTENT_UNIT);
        c->rest_at = chunks * CONTENT_CHUNK % CONTENT_UNIT;
        c->rest_plain = (size_t)(bytes - chunks * CONTENT_CHUNK);
        c->unit = (struct slice){ c->pattern, CONTENT_UNIT };
        c->repeated = chunks * CONTENT_CHUNK;
        if (chunked) {
                TRY(frame_pattern(c, e));
                c->repeated = chunks * (c->unit.n / (CONTENT_UNIT / CONTENT_CHUNK));
        }
        sha_init(&c->beginning, SHA_256);
        for (uint64_t at = 0; at < beginning; at += CONTENT_UNIT)
                sha_update(&c->beginning, c->pattern, MIN(beginning - at, (uint64_t)CONTENT_UNIT));
        return OK;
}

void content_fini(struct content *c)
{
        buf_fini(&c->framed);
        free(c->pattern);
}

void content_make(const struct content *c, struct content_one *ret_one)
{
        char *p = ret_one->rest;
        size_t shared = c->rest_plain - CONTENT_TAIL;
        struct sha h = c->beginning;

        if (c->chunked)
                p += snprintf(p, 16, "%zx\r\n", c->rest_plain);
        memcpy(p, c->pattern + c->rest_at, shared);
        rand_bytes(p + shared, CONTENT_TAIL);
        sha_update(&h, p + shared, CONTENT_TAIL);
        digest_text(&h, ret_one->digest);
        p += c->rest_plain;
        if (c->chunked)
                p += snprintf(p, 8, "\r\n0\r\n\r\n");
        ret_one->body = (struct wire_body){ c->unit, c->repeated, { ret_one->rest, (size_t)(p - ret_one->rest) } };
}
