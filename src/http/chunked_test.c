/* Unit tests of the decoder of chunked bodies; each input is fed whole, split at every byte, and byte by byte. */
#include "base/buf.h"
#include "http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

/* Feeds one piece from memory of its own; adds data to `out`. What is left of the piece is counted. */
static enum chunked_state feed(struct chunked *c, struct slice piece, struct buf *out, size_t *ret_left)
{
        char *copy = malloc(piece.n + 1);
        struct slice in = { copy, piece.n }, data;
        enum chunked_state state;

        assert_non_null(copy);
        if (piece.n)
                memcpy(copy, piece.p, piece.n);
        while ((state = chunked_feed(c, &in, &data)) == CHUNKED_DATA) {
                assert_true(data.n > 0);
                buf_put(out, data);
        }
        *ret_left = in.n;
        free(copy);
        return state;
}

static enum chunked_state decode(struct slice input, size_t step, size_t first, struct buf *out, size_t *ret_left)
{
        enum chunked_state state = CHUNKED_MORE;
        struct chunked c;
        size_t left = 0;

        chunked_init(&c);
        buf_reset(out);
        for (size_t n = first; state == CHUNKED_MORE && input.n; n = step) {
                n = MIN(n, input.n);
                state = feed(&c, slice_head(input, n), out, &left);
                input = slice_skip(input, n);
        }
        assert_int_equal(state == CHUNKED_BAD, c.wrong != NULL);
        *ret_left = left + input.n;
        return state;
}

static void check(struct slice input, enum chunked_state want, struct slice data, size_t left)
{
        struct buf out = BUF_INIT(1000000);
        size_t rest;

        for (size_t cut = 0; cut <= input.n + 1; cut++) {
                size_t step = cut <= input.n ? input.n : 1;     /* the last round goes byte by byte */
                size_t first = cut <= input.n ? cut : 1;

                if (decode(input, step ? step : 1, first, &out, &rest) != want)
                        fail_msg("cut at %zu of %zu: %.*s", cut, input.n, SLICE_ARG(input));
                assert_true(slice_eq(buf_slice(&out), data));
                if (want == CHUNKED_END)
                        assert_int_equal(rest, left);
                if (input.n > 3000 && cut > 300 && cut < input.n - 300)
                        cut += 61;
        }
        buf_fini(&out);
}

static void test_good_bodies(void **state)
{
        (void)state;
        check(S("0\r\n\r\n"), CHUNKED_END, S(""), 0);
        check(S("5\r\nhello\r\n0\r\n\r\n"), CHUNKED_END, S("hello"), 0);
        check(S("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n"), CHUNKED_END, S("hello"), 16);
        check(S("5\r\nhello\r\n1\r\n \r\n00005\r\nworld\r\n0000\r\n\r\n"), CHUNKED_END, S("hello world"), 0);
        check(S("a\r\n0\r\n\r\n56789\r\n0\r\n\r\n"), CHUNKED_END, S("0\r\n\r\n56789"), 0);
        check(S("A\r\n0123456789\r\n0\r\n\r\n"), CHUNKED_END, S("0123456789"), 0);
        check(S("0000000000000001\r\nx\r\n0\r\n\r\n"), CHUNKED_END, S("x"), 0);
        check(S("1;a\r\nx\r\n0;b=\"c d;\"\r\n\r\n"), CHUNKED_END, S("x"), 0);
        check(S("1 \t;a=b\r\nx\r\n0\r\n\r\n"), CHUNKED_END, S("x"), 0);
        check(S("1\r\nx\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\nnext"), CHUNKED_END, S("x"), 4);
}

static void test_unfinished_bodies(void **state)
{
        (void)state;
        check(S("5\r\nhel"), CHUNKED_MORE, S("hel"), 0);
        check(S("5\r\nhello\r\n0\r\n\r"), CHUNKED_MORE, S("hello"), 0);
        check(S("5\r\nhello\r\n0\r\nA: b\r\n"), CHUNKED_MORE, S("hello"), 0);
        check(S("7fffffffffffffff\r\nx"), CHUNKED_MORE, S("x"), 0);
}

static void test_bad_bodies(void **state)
{
        static const struct slice rows[] = {
                S("\r\n"), S("x\r\n"), S("-1\r\nx\r\n"), S("+1\r\nx\r\n"), S(" 1\r\nx\r\n"), S(";a\r\n"),
                S("0x1\r\nx"), S("1g\r\nx\r\n"), S("1\x00\r\nx\r\n"), S("1,\r\nx"),
                S("1\nx\r\n0\r\n\r\n"),                         /* bare LF behind the size */
                S("1\r\rx"), S("1\rx"),                         /* bare CR */
                S("0\r\n\n"), S("0\n\r\n"), S("0\r\n\r\r"),
                S("1 \r\nx\r\n"), S("1\t\r\n"), S("1 x\r\n"),   /* blanks that are no extension */
                S("1;a\nx"), S("1;a\x00\r\nx"), S("1;a\x7f\r\nx"), S("1;a\r\rx"),
                S("8000000000000000\r\n"), S("ffffffffffffffff\r\n"), S("10000000000000000\r\n"), S("00000000000000001\r\n"),
                S("0\r\nA\x00: b\r\n"), S("0\r\nA: b\n\r\n"), S("0\r\nA: b\r\r\n"), S("0\r\nA: \x01\r\n"),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                check(rows[i], CHUNKED_BAD, S(""), 0);
        /* the data and its line end */
        check(S("1\r\nxy\r\n0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
        check(S("1\r\nx\n0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
        check(S("1\r\nx\r0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
        check(S("1\r\nx\n\n0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
        check(S("1\r\nx\r\r0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
        check(S("1\r\nx\r\n\r\n0\r\n\r\n"), CHUNKED_BAD, S("x"), 0);
}

static void test_bad_stays_bad(void **state)
{
        struct slice in = S("x"), data;
        struct chunked c;

        (void)state;
        chunked_init(&c);
        assert_int_equal(chunked_feed(&c, &in, &data), CHUNKED_BAD);
        in = S("5\r\nhello\r\n");
        assert_int_equal(chunked_feed(&c, &in, &data), CHUNKED_BAD);
        assert_int_equal(in.n, 10);
}

static void put_times(struct buf *b, struct slice s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                buf_put(b, s);
}

static void test_extensions_are_bounded(void **state)
{
        struct buf text = BUF_INIT(1000000), data = BUF_INIT(1000000);

        (void)state;
        for (size_t n = CHUNKED_EXTENSION_BYTES_MAX - 1; n <= CHUNKED_EXTENSION_BYTES_MAX + 2; n++) {
                buf_reset(&text);
                buf_put(&text, S("1;"));                        /* this semicolon is free */
                put_times(&text, S("a"), n);
                buf_put(&text, S("\r\nx\r\n0\r\n\r\n"));
                if (n <= CHUNKED_EXTENSION_BYTES_MAX)
                        check(buf_slice(&text), CHUNKED_END, S("x"), 0);
                else
                        check(buf_slice(&text), CHUNKED_BAD, S(""), 0);
        }
        /* many small ones add up */
        buf_reset(&text);
        put_times(&text, S("1;abcdefgh\r\nx\r\n"), 10000);
        put_times(&data, S("x"), 585);                          /* each chunk pays for one of its eight bytes */
        check(buf_slice(&text), CHUNKED_BAD, buf_slice(&data), 0);
        /* those of large chunks do not */
        buf_reset(&text);
        buf_reset(&data);
        put_times(&text, S("10;signature\r\n0123456789abcdef\r\n"), 2000);
        put_times(&data, S("0123456789abcdef"), 2000);
        check(buf_slice(&text), CHUNKED_MORE, buf_slice(&data), 0);
        buf_fini(&text);
        buf_fini(&data);
}

static void test_trailers_are_bounded(void **state)
{
        struct buf text = BUF_INIT(1000000);

        (void)state;
        for (size_t n = CHUNKED_TRAILER_BYTES_MAX / 8 - 1; n <= CHUNKED_TRAILER_BYTES_MAX / 8 + 1; n++) {
                buf_reset(&text);
                buf_put(&text, S("0\r\n"));
                put_times(&text, S("A: 45678\r\n"), n);
                buf_put(&text, S("\r\n"));
                check(buf_slice(&text), n <= CHUNKED_TRAILER_BYTES_MAX / 8 ? CHUNKED_END : CHUNKED_BAD, S(""), 0);
        }
        buf_fini(&text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good_bodies),
                cmocka_unit_test(test_unfinished_bodies),
                cmocka_unit_test(test_bad_bodies),
                cmocka_unit_test(test_bad_stays_bad),
                cmocka_unit_test(test_extensions_are_bounded),
                cmocka_unit_test(test_trailers_are_bounded),
        };

        return cmocka_run_group_tests_name("http/chunked", tests, NULL, NULL);
}
