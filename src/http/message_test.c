/* Unit tests of the answer's head, of what is selected to be sent, of the response's setters and of the date. */
#include "http/date.h"
#include "http/message.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"

static void test_dates(void **state)
{
        static const struct { int64_t seconds; const char *want; } rows[] = {
                { 784111777, DATE },
                { 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
                { 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
                { 4102444799, "Thu, 31 Dec 2099 23:59:59 GMT" },
                { -1, "Wed, 31 Dec 1969 23:59:59 GMT" },
                { INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT" },
                { INT64_MIN, "Sat, 01 Jan 0000 00:00:00 GMT" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char date[HTTP_DATE_LENGTH + 1];

                http_date_format(rows[i].seconds, date);
                assert_string_equal(date, rows[i].want);
        }
}

static void head_of(struct http_request *rq, const struct http_response *rs, bool keep_alive, struct buf *out)
{
        struct message_facts facts = { .date = S(DATE), .version_minor = 1, .keep_alive = keep_alive };
        struct message_selection selection;

        memcpy(rq->id, "0123456789abcdef", sizeof rq->id);
        message_select(rq, rs, &selection);
        buf_reset(out);
        message_head(out, rq, rs, &selection, &facts);
        assert_true(buf_ok(out));
}

static void test_whole_head(void **state)
{
        struct http_request rq = { .method = HTTP_GET };
        struct http_response rs = { .fd = -1 };
        struct buf out = BUF_INIT(10000);

        (void)state;
        http_response_header(&rs, S("Location"), S("/v2/a"));
        http_response_bytes(&rs, 201, S("text/plain"), S("hello"));
        rs.etag = S("\"x\"");
        rs.ranges = true;
        head_of(&rq, &rs, true, &out);
        assert_string_equal(buf_cstr(&out),
                            "HTTP/1.1 201 Created\r\nDate: " DATE "\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
                            "Accept-Ranges: bytes\r\nETag: \"x\"\r\nX-Request-Id: 0123456789abcdef\r\nLocation: /v2/a\r\n\r\n");
        http_response_empty(&rs, 204);
        rs.etag = SLICE_NONE;
        head_of(&rq, &rs, false, &out);
        assert_string_equal(buf_cstr(&out), "HTTP/1.1 204 No Content\r\nDate: " DATE "\r\nX-Request-Id: 0123456789abcdef\r\n"
                                            "Location: /v2/a\r\nConnection: close\r\n\r\n");
        buf_fini(&out);
}

static void test_connection(void **state)
{
        static const struct { unsigned minor; bool keep_alive; const char *want; } rows[] = {
                { 1, true, NULL }, { 1, false, "Connection: close\r\n" }, { 0, true, "Connection: keep-alive\r\n" },
                { 0, false, "Connection: close\r\n" },
        };
        struct http_request rq = { .method = HTTP_GET };
        struct http_response rs = { .fd = -1 };

        (void)state;
        http_response_empty(&rs, 200);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct message_facts facts = { S(DATE), rows[i].minor, rows[i].keep_alive };
                struct message_selection selection;
                struct buf out = BUF_INIT(10000);

                message_select(&rq, &rs, &selection);
                message_head(&out, &rq, &rs, &selection, &facts);
                assert_non_null(strstr(buf_cstr(&out), rows[i].want ? rows[i].want : "\r\n\r\n"));
                assert_int_equal(strstr(buf_cstr(&out), "Connection:") != NULL, rows[i].want != NULL);
                buf_fini(&out);
        }
}

/* Nothing that a handler puts into a value can begin another line. */
static void test_values_cannot_split_the_answer(void **state)
{
        static const struct slice evil = S("a\r\nSet-Cookie: x\r\n\r\nHTTP/1.1 200 OK\n\0\x7f\x01z");
        struct http_request rq = { .method = HTTP_GET };
        struct http_response rs = { .fd = -1 };
        struct buf out = BUF_INIT(10000);
        struct slice rest, line;
        size_t lines = 0;

        (void)state;
        http_response_bytes(&rs, 200, evil, S("x"));
        rs.etag = evil;
        http_response_header(&rs, S("Location"), evil);
        head_of(&rq, &rs, true, &out);
        for (rest = buf_slice(&out); slice_cut(&rest, '\n', &line); lines++) {
                assert_true(slice_ends(line, S("\r")));
                for (size_t i = 0; i + 1 < line.n; i++)
                        assert_true((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f);
        }
        assert_int_equal(rest.n, 0);
        assert_int_equal(lines, 8);
        assert_non_null(strstr(buf_cstr(&out), "Location: a  Set-Cookie: x    HTTP/1.1 200 OK    z\r\n"));
        buf_fini(&out);
}

static void test_head_is_bounded(void **state)
{
        struct http_request rq = { .method = HTTP_GET };
        struct http_response rs = { .fd = -1 };
        struct message_selection selection;
        struct message_facts facts = { .date = S(DATE) };
        struct buf out = BUF_INIT(600);
        static const char zeros[1000] = { 0 };

        (void)state;
        http_response_empty(&rs, 200);
        http_response_header(&rs, S("X"), (struct slice){ zeros, sizeof zeros });
        message_select(&rq, &rs, &selection);
        message_head(&out, &rq, &rs, &selection, &facts);
        assert_false(buf_ok(&out));
        buf_fini(&out);
}

static void test_etag_lists(void **state)
{
        static const struct { const char *list; bool want; } rows[] = {
                { "\"sha256:1\"", true }, { "W/\"sha256:1\"", true }, { "*", true }, { " * ", true }, { "sha256:1", true },
                { "\"x\", \"sha256:1\"", true }, { "\"x\",W/\"sha256:1\",", true }, { "\"a,b\", \"sha256:1\"", true },
                { "x,sha256:1", true },
                { "", false }, { "\"x\"", false }, { "\"sha256:1", false }, { "sha256:1\"", false }, { "\"*\"", false }, { ",,", false },
                { "\"\"", false }, { "w/\"sha256:1\"", false }, { "\"a, \"sha256:1\"", false }, { "SHA256:1", false },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                if (message_etag_listed(slice_from(rows[i].list), S("\"sha256:1\"")) != rows[i].want)
                        fail_msg("%s", rows[i].list);
}

/* --- Selection -------------------------------------------------------------------------------------------------------- */

struct given {
        enum http_method method;
        int status;
        const char *headers[3][2];
        int want;
        uint64_t length;
        bool has_body;
        size_t ranges;
};

static void check_selection(const struct given *g)
{
        struct arena arena = ARENA_INIT(10000);
        struct http_header headers[3];
        struct http_request rq = { .method = g->method, .headers = headers, .arena = &arena };
        struct http_response rs = { .fd = -1 };
        struct message_selection s;

        for (; rq.header_count < 3 && g->headers[rq.header_count][0]; rq.header_count++)
                headers[rq.header_count] = (struct http_header){ slice_from(g->headers[rq.header_count][0]),
                                                                 slice_from(g->headers[rq.header_count][1]) };
        http_response_file(&rs, g->status, S("a/b"), -1, 100);
        rs.etag = S("\"e\"");
        rs.ranges = true;
        message_select(&rq, &rs, &s);
        assert_int_equal(s.status, g->want);
        assert_int_equal(s.has_body, g->has_body);
        assert_int_equal(s.range_count, g->ranges);
        assert_int_equal(s.has_length, g->want != 204 && g->want != 304);
        if (g->length)
                assert_true(s.length == g->length);
        arena_fini(&arena);
}

static void test_selection(void **state)
{
        static const struct given rows[] = {
                { HTTP_GET, 200, { { NULL } }, 200, 100, true, 0 },
                { HTTP_HEAD, 200, { { NULL } }, 200, 100, false, 0 },
                { HTTP_GET, 204, { { NULL } }, 204, 0, false, 0 },
                { HTTP_GET, 200, { { "if-none-match", "\"e\"" } }, 304, 0, false, 0 },
                { HTTP_HEAD, 200, { { "If-None-Match", "*" } }, 304, 0, false, 0 },
                { HTTP_GET, 200, { { "If-None-Match", "\"x\"" }, { "If-None-Match", "\"e\"" } }, 304, 0, false, 0 },
                { HTTP_GET, 200, { { "If-None-Match", "\"x\"" } }, 200, 100, true, 0 },
                { HTTP_PUT, 200, { { "If-None-Match", "*" } }, 200, 100, true, 0 },
                { HTTP_GET, 404, { { "If-None-Match", "*" } }, 404, 100, true, 0 },
                { HTTP_GET, 200, { { "Range", "bytes=10-19" } }, 206, 10, true, 1 },
                { HTTP_GET, 200, { { "Range", "bytes=-1" } }, 206, 1, true, 1 },
                { HTTP_HEAD, 200, { { "Range", "bytes=10-19" } }, 200, 100, false, 0 },
                { HTTP_GET, 404, { { "Range", "bytes=10-19" } }, 404, 100, true, 0 },
                { HTTP_GET, 200, { { "Range", "bytes=100-" } }, 416, 0, true, 0 },
                { HTTP_GET, 200, { { "Range", "bytes=0-0,2-2" } }, 206, 0, true, 2 },
                { HTTP_GET, 200, { { "Range", "bytes=0-0,200-" } }, 206, 1, true, 1 },
                { HTTP_GET, 200, { { "Range", "bytes=0-0" }, { "If-Range", "\"e\"" } }, 206, 1, true, 1 },
                { HTTP_GET, 200, { { "Range", "bytes=0-0" }, { "If-Range", "\"x\"" } }, 200, 100, true, 0 },
                { HTTP_GET, 200, { { "Range", "bytes=100-" }, { "If-Range", DATE } }, 200, 100, true, 0 },
                { HTTP_GET, 200, { { "Range", "bytes=0-0" }, { "If-None-Match", "\"e\"" } }, 304, 0, false, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                check_selection(&rows[i]);
}

static void test_range_heads(void **state)
{
        struct arena arena = ARENA_INIT(10000);
        struct http_header range = { S("Range"), S("bytes=10-19") };
        struct http_request rq = { .method = HTTP_GET, .headers = &range, .header_count = 1, .arena = &arena };
        struct http_response rs = { .fd = -1 };
        struct buf out = BUF_INIT(10000);

        (void)state;
        http_response_file(&rs, 200, S("a/b"), -1, 100);
        rs.ranges = true;
        head_of(&rq, &rs, true, &out);
        assert_non_null(strstr(buf_cstr(&out), "HTTP/1.1 206 Partial Content\r\n"));
        assert_non_null(strstr(buf_cstr(&out), "\r\nContent-Length: 10\r\nContent-Range: bytes 10-19/100\r\n"));
        assert_non_null(strstr(buf_cstr(&out), "\r\nContent-Type: a/b\r\n"));
        range.value = S("bytes=0-0,5-6");
        head_of(&rq, &rs, true, &out);
        assert_non_null(strstr(buf_cstr(&out), "\r\nContent-Type: multipart/byteranges; boundary="));
        assert_null(strstr(buf_cstr(&out), "\r\nContent-Range:"));
        assert_true(slice_eq(message_unsatisfied_range(100, &arena), S("bytes */100")));
        arena_fini(&arena);
        buf_fini(&out);
}

/* --- Setters ---------------------------------------------------------------------------------------------------------- */

static void test_setters_release_what_they_replace(void **state)
{
        struct http_response rs = { .fd = -1 };
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        assert_true(fd > 0);
        http_response_header(&rs, S("A"), S("b"));
        http_response_file(&rs, 200, S("a/b"), fd, 7);
        assert_true(rs.kind == HTTP_BODY_FILE && rs.size == 7);
        http_response_bytes(&rs, 200, S("a/b"), S("xyz"));
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_true(rs.kind == HTTP_BODY_BYTES && rs.size == 3 && rs.fd == -1 && rs.header_count == 1);
        rs.release_arg = malloc(10);
        rs.release = free;                      /* the sanitizer would see a leak */
        http_response_empty(&rs, 404);
        assert_true(rs.kind == HTTP_BODY_EMPTY && rs.size == 0 && !rs.release && rs.content_type.n == 0 && rs.status == 404);
        message_drop_body(&rs);
        assert_true(fcntl(0, F_GETFD) >= 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_dates),
                cmocka_unit_test(test_whole_head),
                cmocka_unit_test(test_connection),
                cmocka_unit_test(test_values_cannot_split_the_answer),
                cmocka_unit_test(test_head_is_bounded),
                cmocka_unit_test(test_etag_lists),
                cmocka_unit_test(test_selection),
                cmocka_unit_test(test_range_heads),
                cmocka_unit_test(test_setters_release_what_they_replace),
        };

        return cmocka_run_group_tests_name("http/message", tests, NULL, NULL);
}
