/* http/query.h and http_request_query(): decoding never grows and never yields NUL; what is encoded comes back. The input is a
 * name, a line end, and a query. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/handler.h"
#include "http/query.h"

enum { VALUES_MAX = 64 };

static void encode(struct buf *b, struct slice text)
{
        for (size_t i = 0; i < text.n; i++)
                buf_printf(b, i % 2 ? "%%%02X" : "%%%02x", (unsigned char)text.p[i]);
}

static void check_decode(struct slice text, struct arena *arena)
{
        struct slice decoded = percent_decode(text, arena);

        if (!decoded.p)
                return;
        CHECK(decoded.n <= text.n);
        if (text.n && !memchr(text.p, '%', text.n))
                CHECK(decoded.p == text.p && decoded.n == text.n);
}

/* name=value in percent-encoding, behind another parameter. */
static void check_round_trip(struct slice name, struct slice value)
{
        struct buf query = BUF_INIT(1024 * 1024);
        struct arena arena = ARENA_INIT(1024 * 1024);
        struct http_request rq = { .arena = &arena };
        struct slice found;

        if (memchr(value.p, 0, value.n) || memchr(name.p, 0, name.n))
                return;
        buf_put(&query, S("%zz&"));
        encode(&query, name);
        buf_put_char(&query, '=');
        encode(&query, value);
        CHECK(buf_ok(&query));
        rq.query = buf_slice(&query);
        found = http_request_query(&rq, name, 0);
        CHECK(found.p && slice_eq(found, value));
        CHECK(!http_request_query(&rq, name, 1).p);
        arena_fini(&arena);
        buf_fini(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice query = fuzz_input(bytes, n), name = fuzz_line(&query);
        struct arena arena = ARENA_INIT(64 * 1024);
        struct http_request rq = { .query = query, .arena = &arena };

        check_decode(query, &arena);
        for (size_t i = 0; i < VALUES_MAX; i++) {
                struct slice value = http_request_query(&rq, name, i);

                CHECK(value.p || value.n == 0);
                CHECK(value.n <= query.n);
        }
        check_round_trip(name, query);
        arena_fini(&arena);
        return 0;
}
