/* http/chunked.h: however the bytes are split, the same data come out and the body ends at the same place; what is accepted is what
 * the grammar says. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/chars.h"
#include "http/chunked.h"

struct decoded {
        struct buf data;
        enum chunked_state state;
        size_t used;
};

static void decode(struct slice input, size_t first, size_t step, struct decoded *d)
{
        struct slice rest = input;
        struct chunked c;

        *d = (struct decoded){ .data = BUF_INIT(input.n + 1), .state = CHUNKED_MORE };
        chunked_init(&c);
        for (size_t n = first; d->state == CHUNKED_MORE && rest.n; n = step) {
                struct slice piece = slice_head(rest, n), in = piece, data;

                while ((d->state = chunked_feed(&c, &in, &data)) == CHUNKED_DATA) {
                        CHECK(data.n > 0 && data.p >= piece.p && data.p + data.n <= piece.p + piece.n);
                        buf_put(&d->data, data);
                }
                CHECK(d->state != CHUNKED_MORE || in.n == 0);
                rest = slice_skip(rest, piece.n - in.n);
        }
        CHECK(buf_ok(&d->data));
        CHECK((d->state == CHUNKED_BAD) == (c.wrong != NULL));
        d->used = input.n - rest.n;
}

static void check_same(const struct decoded *a, const struct decoded *b)
{
        CHECK(a->state == b->state && a->used == b->used);
        CHECK(slice_eq(buf_slice(&a->data), buf_slice(&b->data)));
}

static bool take_line(struct slice *rest, struct slice *ret_line)
{
        return slice_cut(rest, '\n', ret_line) && slice_ends(*ret_line, S("\r")) && !memchr(ret_line->p, '\r', ret_line->n - 1);
}

/* A second way to read a body that was accepted, not in steps: the grammar holds line by line. */
static void check_grammar(struct slice body)
{
        struct slice line, end = S("\r\n");

        for (;;) {
                uint64_t size = 0;
                size_t digits = 0;

                CHECK(take_line(&body, &line));
                for (; char_is(line.p[digits], CHAR_HEX); digits++)
                        size = size * 16 + char_hex_value(line.p[digits]);
                CHECK(digits >= 1 && digits <= 16);
                line = slice_trim(slice_skip(line, digits));
                CHECK(line.p[0] == '\r' || line.p[0] == ';');
                if (size == 0)
                        break;
                CHECK(size <= body.n);
                body = slice_skip(body, size);
                CHECK(slice_starts(body, end));
                body = slice_skip(body, end.n);
        }
        do
                CHECK(take_line(&body, &line));
        while (line.n > 1);
        CHECK(body.n == 0);
}

/* The same data, encoded plainly, decode to themselves. */
static void check_again(struct slice data)
{
        struct buf plain = BUF_INIT(data.n + 100);
        struct decoded d;

        if (data.n)
                buf_printf(&plain, "%zX\r\n", data.n);
        buf_put(&plain, data);
        buf_put(&plain, data.n ? S("\r\n0\r\n\r\n") : S("0\r\n\r\n"));
        decode(buf_slice(&plain), plain.n, 1, &d);
        CHECK(d.state == CHUNKED_END && d.used == plain.n && slice_eq(buf_slice(&d.data), data));
        buf_fini(&d.data);
        buf_fini(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice input = fuzz_input(bytes, n);
        struct decoded whole, bytewise, split;

        decode(input, input.n, 1, &whole);
        decode(input, 1, 1, &bytewise);
        decode(input, fuzz_number(input, n + 1), n + 1, &split);
        check_same(&whole, &bytewise);
        check_same(&whole, &split);
        if (whole.state == CHUNKED_END) {
                check_grammar(slice_head(input, whole.used));
                check_again(buf_slice(&whole.data));
        }
        buf_fini(&whole.data);
        buf_fini(&bytewise.data);
        buf_fini(&split.data);
        return 0;
}
