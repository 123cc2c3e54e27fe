/* http/head.h: however the bytes are split, the scanner says the same; what the parser accepts, written out again, is read as the
 * same; nothing that it accepts could be read in two ways. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/chars.h"
#include "http/head.h"

static const struct head_limits wide = { .line_bytes_max = 8192, .head_bytes_max = 32768, .fields_max = 100 };
static const struct head_limits narrow = { .line_bytes_max = 40, .head_bytes_max = 120, .fields_max = 3 };

struct scanned {
        enum head_state state;
        size_t skip, head_bytes;
        int status;
};

/* Scans in steps of `first`, then `step` bytes. */
static struct scanned scan(struct slice input, const struct head_limits *limits, size_t first, size_t step)
{
        struct head_scan state = { 0 };
        struct scanned s = { HEAD_MORE, 0, 0, 0 };
        struct err e = ERR_INIT;

        for (size_t n = first; s.state == HEAD_MORE; n += step) {
                s.state = head_scan(&state, slice_head(input, n), limits, &s.skip, &s.head_bytes, &s.status, &e);
                if (n >= input.n)
                        break;
        }
        CHECK(s.state != HEAD_BAD || s.status == 400 || s.status == 414 || s.status == 431);
        CHECK((s.state == HEAD_BAD) == (e.message[0] != 0));
        return s;
}

static void check_same(struct scanned a, struct scanned b)
{
        CHECK(a.state == b.state);
        CHECK(a.state != HEAD_COMPLETE || (a.skip == b.skip && a.head_bytes == b.head_bytes));
        CHECK(a.status == b.status);
}

static size_t count_fields(const struct http_request *rq, struct slice name)
{
        size_t n = 0;

        for (size_t i = 0; i < rq->header_count; i++)
                n += slice_eq_nocase(rq->headers[i].name, name);
        return n;
}

static void check_accepted(const struct http_request *rq, const struct head *head)
{
        CHECK(rq->method && char_all(rq->method_text, CHAR_TOKEN) && rq->method_text.n);
        CHECK(rq->path.n && (rq->path.p[0] == '/' || slice_eq(rq->path, S("*"))));
        CHECK(char_all(rq->path, CHAR_VISIBLE) && !memchr(rq->path.p, '?', rq->path.n) && !memchr(rq->path.p, '#', rq->path.n));
        CHECK(!head->chunked || (!head->has_length && head->length == 0 && head->version_minor == 1));
        CHECK(head->length <= INT64_MAX && (head->has_length || head->length == 0));
        CHECK(rq->has_length == head->has_length && rq->length == head->length);
        CHECK(!head->expect_continue || head->chunked || head->length);
        for (size_t i = 0; i < rq->header_count; i++) {
                CHECK(rq->headers[i].name.n && char_all(rq->headers[i].name, CHAR_TOKEN));
                CHECK(char_all(rq->headers[i].value, CHAR_VALUE));
                CHECK(slice_trim(rq->headers[i].value).n == rq->headers[i].value.n);
        }
        CHECK(count_fields(rq, S("Host")) <= 1 && (head->version_minor == 0 || count_fields(rq, S("Host")) == 1));
        CHECK(count_fields(rq, S("Content-Length")) == head->has_length);
        CHECK(count_fields(rq, S("Transfer-Encoding")) == head->chunked);
}

static void write_out(const struct http_request *rq, const struct head *head, struct buf *out)
{
        buf_put(out, rq->method_text);
        buf_put_char(out, ' ');
        buf_put(out, rq->target);
        buf_printf(out, " HTTP/1.%u\r\n", head->version_minor);
        for (size_t i = 0; i < rq->header_count; i++) {
                buf_put(out, rq->headers[i].name);
                buf_put_char(out, ':');
                buf_put(out, rq->headers[i].value);
                buf_put(out, S("\r\n"));
        }
        buf_put(out, S("\r\n"));
}

static void check_again(const struct http_request *rq, const struct head *head, const struct head_limits *limits)
{
        struct buf out = BUF_INIT(64 * 1024);
        struct arena arena = ARENA_INIT(64 * 1024);
        struct http_request again = { .arena = &arena };
        struct head again_head;
        struct err e;
        int status;

        write_out(rq, head, &out);
        CHECK(head_parse(buf_slice(&out), limits, &again, &again_head, &status, &e).ok);
        CHECK(again.method == rq->method && slice_eq(again.path, rq->path) && slice_eq(again.query, rq->query));
        CHECK(again.header_count == rq->header_count);
        CHECK(again_head.length == head->length && again_head.chunked == head->chunked);
        CHECK(again_head.keep_alive == head->keep_alive && again_head.expect_continue == head->expect_continue);
        arena_fini(&arena);
        buf_fini(&out);
}

static void parse(struct slice bytes, const struct head_limits *limits)
{
        struct arena arena = ARENA_INIT(64 * 1024);
        struct http_request rq = { .arena = &arena };
        struct err e = ERR_INIT;
        struct head head;
        int status = 0;

        if (head_parse(bytes, limits, &rq, &head, &status, &e).ok) {
                check_accepted(&rq, &head);
                check_again(&rq, &head, limits);
        } else {
                CHECK(status == 400 || status == 414 || status == 417 || status == 431 || status == 505);
                CHECK(e.message[0] && rq.method);
        }
        arena_fini(&arena);
}

static void run(struct slice input, const struct head_limits *limits)
{
        struct scanned whole = scan(input, limits, input.n, 1);

        check_same(whole, scan(input, limits, 0, 1));
        check_same(whole, scan(input, limits, fuzz_number(input, input.n + 1), input.n + 1));
        if (whole.state == HEAD_COMPLETE) {
                struct slice head = slice_head(slice_skip(input, whole.skip), whole.head_bytes);

                CHECK(head.n == whole.head_bytes && slice_ends(head, S("\r\n\r\n")));
                parse(head, limits);
        }
        parse(input, limits);           /* relies on nothing that the scanner found */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        run(fuzz_input(bytes, n), &wide);
        run(fuzz_input(bytes, n), &narrow);
        return 0;
}
