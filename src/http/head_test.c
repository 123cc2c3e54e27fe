/* Unit tests of the request head: what is understood, and every door to request smuggling that must be shut. Each input is also
 * fed to the scanner split at every byte. */
#include "base/buf.h"
#include "http/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct head_limits limits = { .line_bytes_max = 8192, .head_bytes_max = 32768, .fields_max = 100 };

struct outcome {
        int status;                     /* 0: parsed */
        struct http_request rq;
        struct head head;
        struct arena arena;
        struct err e;
        size_t used;                    /* bytes of the input that the head and what stands before it took */
};

static enum head_state scan_bytewise(struct slice input, const struct head_limits *l, size_t *skip, size_t *n, int *status, struct err *e)
{
        struct head_scan scan = { 0 };
        enum head_state state = HEAD_MORE;

        for (size_t i = 1; i <= input.n && state == HEAD_MORE; i++) {
                char *copy = malloc(i);         /* so that a read past what has come is seen by the sanitizer */

                assert_non_null(copy);
                memcpy(copy, input.p, i);
                state = head_scan(&scan, (struct slice){ copy, i }, l, skip, n, status, e);
                free(copy);
        }
        return state;
}

/* Scans whole, in two parts at each place for short inputs, and byte by byte: all must agree. */
static enum head_state scan_all_ways(struct slice input, const struct head_limits *l, size_t *ret_skip, size_t *ret_n, int *ret_status,
                                     struct err *e)
{
        struct head_scan scan = { 0 };
        enum head_state state = head_scan(&scan, input, l, ret_skip, ret_n, ret_status, e), other;
        size_t skip = 0, n = 0;
        struct err ignored;
        int status = 0;

        for (size_t cut = 0; cut <= input.n && input.n < 2000; cut++) {
                scan = (struct head_scan){ 0 };
                other = head_scan(&scan, slice_head(input, cut), l, &skip, &n, &status, &ignored);
                if (other == HEAD_MORE)
                        other = head_scan(&scan, input, l, &skip, &n, &status, &ignored);
                assert_int_equal(other, state);
        }
        other = scan_bytewise(input, l, &skip, &n, &status, &ignored);
        assert_int_equal(other, state);
        if (state == HEAD_COMPLETE)
                assert_true(skip == *ret_skip && n == *ret_n);
        if (state == HEAD_BAD)
                assert_int_equal(status, *ret_status);
        return state;
}

static void run(struct slice input, const struct head_limits *l, struct outcome *o)
{
        size_t skip = 0, n = 0;

        *o = (struct outcome){ .arena = ARENA_INIT(64 * 1024) };
        o->rq.arena = &o->arena;
        switch (scan_all_ways(input, l, &skip, &n, &o->status, &o->e)) {
        case HEAD_MORE:
                o->status = -1;
                return;
        case HEAD_BAD:
                return;
        case HEAD_COMPLETE:
                o->used = skip + n;
                if (head_parse(slice_head(slice_skip(input, skip), n), l, &o->rq, &o->head, &o->status, &o->e).ok)
                        o->status = 0;
                return;
        }
}

static void test_a_whole_head(void **state)
{
        static const char text[] = "\r\nPUT /v2/a/blobs/uploads/7?digest=sha256:x HTTP/1.1\r\nHost: localhost:5000\r\n"
                                   "X-Empty:\r\nContent-Length: \t 17 \r\nAccept: a\r\naccept: b\r\nX-Text: a \xc3\xa9\tb\r\n\r\nbody";
        struct outcome o;

        (void)state;
        run(slice_from(text), &limits, &o);
        assert_int_equal(o.status, 0);
        assert_int_equal(o.used, sizeof text - 1 - 4);
        assert_int_equal(o.rq.method, HTTP_PUT);
        assert_true(slice_eq(o.rq.method_text, S("PUT")));
        assert_true(slice_eq(o.rq.target, S("/v2/a/blobs/uploads/7?digest=sha256:x")));
        assert_true(slice_eq(o.rq.path, S("/v2/a/blobs/uploads/7")));
        assert_true(slice_eq(o.rq.query, S("digest=sha256:x")));
        assert_int_equal(o.rq.header_count, 6);
        assert_true(slice_eq(http_request_header(&o.rq, S("host")), S("localhost:5000")));
        assert_true(slice_eq(http_request_header(&o.rq, S("ACCEPT")), S("a")));
        assert_true(slice_eq(o.rq.headers[5].value, S("a \xc3\xa9\tb")));
        assert_non_null(http_request_header(&o.rq, S("x-empty")).p);
        assert_null(http_request_header(&o.rq, S("x-none")).p);
        assert_true(o.rq.has_length && o.rq.length == 17 && o.head.has_length && o.head.length == 17);
        assert_true(o.head.keep_alive && !o.head.chunked && !o.head.expect_continue && o.head.version_minor == 1);
        arena_fini(&o.arena);
}

/* The status of a request, by its text. 0: accepted, -1: not the end yet. */
#define H "Host: h\r\n"
#define GET "GET / HTTP/1.1\r\n"
static const struct { struct slice text; int status; } status_rows[] = {
        { S(GET H "\r\n"), 0 },
        { S("get / HTTP/1.1\r\n" H "\r\n"), 0 },                /* another method than GET */
        { S("X-Y!z / HTTP/1.1\r\n" H "\r\n"), 0 },
        /* the request line */
        { S("GET  / HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /  HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/1.1 \r\n" H "\r\n"), 400 },
        { S(" GET / HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET\t/ HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("G(T / HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /\r\n" H "\r\n"), 400 },
        { S("GET\r\n\r\n"), 400 },
        { S("GET / http/1.1\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/1\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/11\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/1.11\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/1,1\r\n" H "\r\n"), 400 },
        { S("GET / HTTP/0.9\r\n" H "\r\n"), 505 },
        { S("GET / HTTP/3.0\r\n" H "\r\n"), 505 },
        { S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505 },
        { S("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400 },
        /* the target */
        { S("GET /a b HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /a#b HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /\x01 HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /\x00 HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET /\x7f HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET a HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET * HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 0 },
        { S("OPTIONS ** HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("CONNECT h:443 HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET http:///a HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET http://u@h/a HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET ftp://h/a HTTP/1.1\r\n" H "\r\n"), 400 },
        { S("GET HTTPS://h:5000/a HTTP/1.1\r\n" H "\r\n"), 0 },
        /* line ends */
        { S("GET / HTTP/1.1\n" H "\r\n"), 400 },
        { S(GET "Host: h\n\r\n"), 400 },
        { S(GET H "\n"), 400 },
        { S(GET H "X: a\rb\r\n\r\n"), 400 },
        { S(GET H "X: a\r\r\n\r\n"), 400 },
        { S("GET / HTTP/1.1\r\r\n" H "\r\n"), 400 },
        { S("\n" GET H "\r\n"), 400 },
        { S("\r" GET H "\r\n"), 400 },
        { S("\r\n\r\n" GET H "\r\n"), 0 },
        { S("\r\n\r\n\r\n" GET H "\r\n"), 400 },
        /* fields */
        { S(GET H "X : a\r\n\r\n"), 400 },
        { S(GET H "X\t: a\r\n\r\n"), 400 },
        { S(GET H " X: a\r\n\r\n"), 400 },
        { S(GET " X: a\r\n" H "\r\n"), 400 },
        { S(GET H "X: a\r\n b\r\n\r\n"), 400 },
        { S(GET H "X: a\r\n\tb\r\n\r\n"), 400 },
        { S(GET H ": a\r\n\r\n"), 400 },
        { S(GET H "X\r\n\r\n"), 400 },
        { S(GET H "X(y: a\r\n\r\n"), 400 },
        { S(GET H "X\x80: a\r\n\r\n"), 400 },
        { S(GET H "X\x00: a\r\n\r\n"), 400 },
        { S(GET H "X: \x00\r\n\r\n"), 400 },
        { S(GET H "X: \x01\r\n\r\n"), 400 },
        { S(GET H "X: \x7f\r\n\r\n"), 400 },
        { S(GET H "X: a\tb\r\n\r\n"), 0 },
        /* Host */
        { S(GET "\r\n"), 400 },
        { S("GET / HTTP/1.0\r\n\r\n"), 0 },
        { S(GET H H "\r\n"), 400 },
        { S(GET H "host: other\r\n\r\n"), 400 },
        { S("GET / HTTP/1.0\r\n" H H "\r\n"), 400 },
        { S(GET "Host:\r\n\r\n"), 0 },
        { S(GET "Host: [::1]:5000\r\n\r\n"), 0 },
        { S(GET "Host: [::1\r\n\r\n"), 400 },
        { S(GET "Host: []\r\n\r\n"), 400 },
        { S(GET "Host: [::1]x\r\n\r\n"), 400 },
        { S(GET "Host: h:50x\r\n\r\n"), 400 },
        { S(GET "Host: h:1:2\r\n\r\n"), 400 },
        { S(GET "Host: h/a\r\n\r\n"), 400 },
        { S(GET "Host: u@h\r\n\r\n"), 400 },
        { S(GET "Host: a b\r\n\r\n"), 400 },
        { S(GET "Host: a\\b\r\n\r\n"), 400 },
        /* Content-Length */
        { S(GET H "Content-Length: 0\r\n\r\n"), 0 },
        { S(GET H "Content-Length: 9223372036854775807\r\n\r\n"), 0 },
        { S(GET H "Content-Length: 9223372036854775808\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 18446744073709551616\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 18446744073709551621\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5, 5\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5,6\r\n\r\n"), 400 },
        { S(GET H "Content-Length:\r\n\r\n"), 400 },
        { S(GET H "Content-Length: -1\r\n\r\n"), 400 },
        { S(GET H "Content-Length: +1\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 0x5\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5 5\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5;\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 1e1\r\n\r\n"), 400 },
        { S(GET H "Content-Length: \"5\"\r\n\r\n"), 400 },
        /* Transfer-Encoding */
        { S(GET H "Transfer-Encoding: chunked\r\n\r\n"), 0 },
        { S(GET H "transfer-encoding: CHUNKED\r\n\r\n"), 0 },
        { S(GET H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
        { S(GET H "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: gzip, chunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunked, identity\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: identity\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: xchunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunkedx\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: \"chunked\"\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: chunked;q=1\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding: \x0b" "chunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding : chunked\r\n\r\n"), 400 },
        { S(GET H "Transfer-Encoding:\r\n\r\n"), 400 },
        { S("GET / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"), 400 },
        /* Expect */
        { S(GET H "Expect: 100-Continue\r\n\r\n"), 0 },
        { S(GET H "Expect: 100-continue, x\r\n\r\n"), 417 },
        { S(GET H "Expect: later\r\n\r\n"), 417 },
        /* not the end yet */
        { S("G"), -1 }, { S("\r\n"), -1 }, { S("\r"), -1 }, { S(""), -1 }, { S(GET H), -1 }, { S(GET H "\r"), -1 },
};

static void test_statuses(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(status_rows); i++) {
                struct slice text = status_rows[i].text;
                struct outcome o;

                run(text, &limits, &o);
                if (o.status != status_rows[i].status)
                        fail_msg("row %zu: %d instead of %d (%s)\n%.*s", i, o.status, status_rows[i].status, o.e.message, SLICE_ARG(text));
                if (o.status > 0)
                        assert_true(o.e.message[0] && o.e.code != ERR_NONE);
                arena_fini(&o.arena);
        }
}

static void test_targets(void **state)
{
        static const struct { struct slice line, path, query; } rows[] = {
                { S("GET / HTTP/1.1"), S("/"), SLICE_NONE },
                { S("GET /? HTTP/1.1"), S("/"), S("") },
                { S("GET /a?b?c=d&e HTTP/1.1"), S("/a"), S("b?c=d&e") },
                { S("GET http://h HTTP/1.1"), S("/"), SLICE_NONE },
                { S("GET http://h:1?x=1 HTTP/1.1"), S("/"), S("x=1") },
                { S("GET https://[::1]:5000/v2/?x HTTP/1.1"), S("/v2/"), S("x") },
                { S("OPTIONS * HTTP/1.1"), S("*"), SLICE_NONE },
                { S("GET //a HTTP/1.1"), S("//a"), SLICE_NONE },
                { S("GET /a%2Fb HTTP/1.1"), S("/a%2Fb"), SLICE_NONE },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct buf text = BUF_INIT(1000);
                struct outcome o;

                buf_put(&text, rows[i].line);
                buf_put(&text, S("\r\nHost: h\r\n\r\n"));
                run(buf_slice(&text), &limits, &o);
                assert_int_equal(o.status, 0);
                assert_true(slice_eq(o.rq.path, rows[i].path));
                assert_true(slice_eq(o.rq.query, rows[i].query));
                assert_true((o.rq.query.p == NULL) == (rows[i].query.p == NULL));
                arena_fini(&o.arena);
                buf_fini(&text);
        }
}

static void test_connection_and_expect(void **state)
{
        static const struct { struct slice text; bool keep_alive, expect_continue; } rows[] = {
                { S(GET H "\r\n"), true, false },
                { S(GET H "Connection: close\r\n\r\n"), false, false },
                { S(GET H "Connection: Keep-Alive, CLOSE\r\n\r\n"), false, false },
                { S(GET H "Connection: te,close\r\n\r\n"), false, false },
                { S(GET H "Connection: closed\r\n\r\n"), true, false },
                { S(GET H "Connection: keep-alive\r\nConnection: close\r\n\r\n"), false, false },
                { S("GET / HTTP/1.0\r\n\r\n"), false, false },
                { S("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), true, false },
                { S("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), false, false },
                { S(GET H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"), true, true },
                { S(GET H "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"), true, true },
                { S(GET H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), true, false },
                { S(GET H "Expect: 100-continue\r\n\r\n"), true, false },
                { S("GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"), false, false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct outcome o;

                run(rows[i].text, &limits, &o);
                assert_int_equal(o.status, 0);
                assert_int_equal(o.head.keep_alive, rows[i].keep_alive);
                assert_int_equal(o.head.expect_continue, rows[i].expect_continue);
                arena_fini(&o.arena);
        }
}

/* --- Limits ----------------------------------------------------------------------------------------------------------- */

static int status_of(const struct buf *text, const struct head_limits *l)
{
        struct outcome o;

        assert_true(buf_ok(text));
        run(buf_slice(text), l, &o);
        arena_fini(&o.arena);
        return o.status;
}

static void put_times(struct buf *b, struct slice s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                buf_put(b, s);
}

static void test_line_limit(void **state)
{
        static const struct head_limits small = { .line_bytes_max = 100, .head_bytes_max = 1000, .fields_max = 10 };
        struct buf text = BUF_INIT(100000);

        (void)state;
        for (size_t line = 95; line <= 105; line++) {
                buf_reset(&text);
                buf_put(&text, S("GET /"));
                put_times(&text, S("a"), line - 14);
                buf_put(&text, S(" HTTP/1.1\r\n" H "\r\n"));
                assert_int_equal(status_of(&text, &small), line <= 100 ? 0 : 414);
        }
        /* refused while it comes: no line end is needed */
        buf_reset(&text);
        put_times(&text, S("a"), 101);
        assert_int_equal(status_of(&text, &small), -1);
        buf_put_char(&text, 'a');
        assert_int_equal(status_of(&text, &small), 414);
        buf_reset(&text);
        put_times(&text, S("a"), 50000);
        assert_int_equal(status_of(&text, &limits), 414);
        buf_fini(&text);
}

static void test_head_limit(void **state)
{
        static const struct head_limits small = { .line_bytes_max = 100, .head_bytes_max = 200, .fields_max = 10 };
        struct buf text = BUF_INIT(100000);

        (void)state;
        for (size_t n = 190; n <= 210; n++) {
                buf_reset(&text);
                buf_put(&text, S(GET H "X: "));
                put_times(&text, S("a"), n - text.n - 4);
                buf_put(&text, S("\r\n\r\n"));
                assert_int_equal(text.n, n);
                assert_int_equal(status_of(&text, &small), n <= 200 ? 0 : 431);
        }
        buf_reset(&text);
        buf_put(&text, S(GET H "X: "));
        put_times(&text, S("a"), 199 - text.n);
        assert_int_equal(status_of(&text, &small), -1);
        buf_put_char(&text, 'a');
        assert_int_equal(status_of(&text, &small), 431);
        buf_fini(&text);
}

static void test_field_limit(void **state)
{
        struct buf text = BUF_INIT(100000);

        (void)state;
        for (size_t n = 98; n <= 102; n++) {
                buf_reset(&text);
                buf_put(&text, S(GET H));
                put_times(&text, S("X: a\r\n"), n - 1);
                assert_int_equal(status_of(&text, &limits), n <= 100 ? -1 : 431);
                buf_put(&text, S("\r\n"));
                assert_int_equal(status_of(&text, &limits), n <= 100 ? 0 : 431);
        }
        buf_fini(&text);
}

/* head_parse() relies on nothing that head_scan() found. */
static void test_parse_without_scan(void **state)
{
        static const struct head_limits small = { .line_bytes_max = 20, .head_bytes_max = 60, .fields_max = 2 };
        static const struct { struct slice text; int status; } rows[] = {
                { S(""), 400 },
                { S("GET / HTTP/1.1"), 400 },
                { S(GET), 400 },
                { S(GET H), 400 },
                { S(GET H "\r\nmore"), 400 },
                { S(GET H "\r\nA: b\r\n"), 400 },
                { S(GET H "\r\n\r\n"), 400 },
                { S(GET H "A: b\n\r\n"), 400 },
                { S(GET H "A: b\r\n\n"), 400 },
                { S("GET /234567890 HTTP/1.1\r\n" H "\r\n"), 414 },
                { S(GET H "A: b\r\nA: b\r\n\r\n"), 431 },
                { S(GET H "A: 12345678901234567890123456789012345678901\r\n\r\n"), 431 },
                { S(GET H "\r\n"), 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct arena arena = ARENA_INIT(10000);
                struct http_request rq = { .arena = &arena };
                struct head head;
                struct err e;
                int status = 0;

                assert_int_equal(head_parse(rows[i].text, &small, &rq, &head, &status, &e).ok, rows[i].status == 0);
                assert_int_equal(status, rows[i].status);
                arena_fini(&arena);
        }
}

static void test_no_memory(void **state)
{
        struct arena arena = ARENA_INIT(10);
        struct http_request rq = { .arena = &arena };
        struct head head;
        struct err e;
        int status = 0;

        (void)state;
        assert_false(head_parse(S(GET H "\r\n"), &limits, &rq, &head, &status, &e).ok);
        assert_int_equal(status, 503);
        assert_int_equal(e.code, ERR_NOMEM);
        arena_fini(&arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_whole_head),
                cmocka_unit_test(test_statuses),
                cmocka_unit_test(test_targets),
                cmocka_unit_test(test_connection_and_expect),
                cmocka_unit_test(test_line_limit),
                cmocka_unit_test(test_head_limit),
                cmocka_unit_test(test_field_limit),
                cmocka_unit_test(test_parse_without_scan),
                cmocka_unit_test(test_no_memory),
        };

        return cmocka_run_group_tests_name("http/head", tests, NULL, NULL);
}
