/* Unit tests of ranges and of multipart/byteranges. */
#include "http/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

/* The result as text: "whole", "416", or the ranges. */
static void describe(struct slice value, uint64_t size, struct buf *out)
{
        struct arena arena = ARENA_INIT(1024 * 1024);
        struct range *ranges;
        size_t count;

        buf_reset(out);
        switch (range_parse(value, size, &arena, &ranges, &count)) {
        case RANGE_WHOLE:
                buf_put(out, S("whole"));
                break;
        case RANGE_UNSATISFIABLE:
                buf_put(out, S("416"));
                break;
        case RANGE_PARTS:
                for (size_t i = 0; i < count; i++)
                        buf_printf(out, "%s%llu-%llu", i ? " " : "", (unsigned long long)ranges[i].first,
                                   (unsigned long long)ranges[i].last);
                break;
        }
        arena_fini(&arena);
}

static void test_ranges(void **state)
{
        static const struct { const char *value; uint64_t size; const char *want; } rows[] = {
                { "bytes=0-0", 10, "0-0" },
                { "bytes=0-", 10, "0-9" },
                { "bytes=9-", 10, "9-9" },
                { "bytes=2-5", 10, "2-5" },
                { "bytes=2-99", 10, "2-9" },
                { "bytes=2-99999999999999999999999999", 10, "2-9" },
                { "bytes=-1", 10, "9-9" },
                { "bytes=-10", 10, "0-9" },
                { "bytes=-99", 10, "0-9" },
                { "bytes=-99999999999999999999999999", 10, "0-9" },
                { "BYTES=1-1", 10, "1-1" },
                { " bytes=1-1 ", 10, "1-1" },
                { "bytes= 1-1 ,\t3-3 ", 10, "1-1 3-3" },
                { "bytes=1-1,,3-3,", 10, "1-1 3-3" },
                { "bytes=5-6,0-1,-2", 10, "5-6 0-1 8-9" },              /* the client's order stays */
                { "bytes=0-1,2-3", 10, "0-1 2-3" },                     /* neighbours are not joined */
                { "bytes=0-1,20-30", 10, "0-1" },
                { "bytes=0-18446744073709551615", UINT64_MAX, "0-18446744073709551614" },
                { "bytes=18446744073709551614-", UINT64_MAX, "18446744073709551614-18446744073709551614" },
                /* not satisfiable */
                { "bytes=10-", 10, "416" },
                { "bytes=10-20", 10, "416" },
                { "bytes=99999999999999999999999999-", 10, "416" },
                { "bytes=500-0", 1000, "416" },
                { "bytes=5000-10000", 1000, "416" },
                { "bytes=-0", 10, "416" },
                { "bytes=-0,10-", 10, "416" },
                /* passed over */
                { "bytes=0-", 0, "whole" },
                { "bytes=-1", 0, "whole" },
                { "", 10, "whole" },
                { "bytes", 10, "whole" },
                { "bytes=", 10, "whole" },
                { "bytes=,", 10, "whole" },
                { "bytes=-", 10, "whole" },
                { "bytes=--1", 10, "whole" },
                { "bytes=1", 10, "whole" },
                { "bytes=a-b", 10, "whole" },
                { "bytes=1-2x", 10, "whole" },
                { "bytes=1 - 2", 10, "whole" },
                { "bytes=0x1-2", 10, "whole" },
                { "bytes=1-2-3", 10, "whole" },
                { "bytes=1-2;3-4", 10, "whole" },
                { "bytes =1-2", 10, "whole" },
                { "items=0-1", 10, "whole" },
                { "bytes=0-1,x", 10, "whole" },
                { "bytes=20-30,x", 10, "whole" },
                /* more than the body has */
                { "bytes=0-,0-", 10, "whole" },
                { "bytes=0-8,8-9", 10, "whole" },
                { "bytes=0-8,9-9", 10, "0-8 9-9" },
                { "bytes=0-18446744073709551614,0-18446744073709551614", UINT64_MAX, "whole" },
        };
        struct buf out = BUF_INIT(10000);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                describe(slice_from(rows[i].value), rows[i].size, &out);
                if (!slice_eq(buf_slice(&out), slice_from(rows[i].want)))
                        fail_msg("%s of %llu: %s instead of %s", rows[i].value, (unsigned long long)rows[i].size, buf_cstr(&out),
                                 rows[i].want);
        }
        buf_fini(&out);
}

static void test_number_of_ranges_is_bounded(void **state)
{
        struct buf value = BUF_INIT(1024 * 1024);
        struct arena arena = ARENA_INIT(1024 * 1024);
        struct range *ranges;
        size_t count = 0;

        (void)state;
        buf_put(&value, S("bytes=0-0"));
        for (unsigned i = 1; i < RANGE_PARTS_MAX; i++)
                buf_printf(&value, ",%u-%u", i * 2, i * 2);
        assert_int_equal(range_parse(buf_slice(&value), 1000000, &arena, &ranges, &count), RANGE_PARTS);
        assert_int_equal(count, RANGE_PARTS_MAX);
        buf_put(&value, S(",9000-9000"));
        assert_int_equal(range_parse(buf_slice(&value), 1000000, &arena, &ranges, &count), RANGE_WHOLE);
        arena_fini(&arena);

        arena = ARENA_INIT(8);          /* no memory: the whole body is always right */
        assert_int_equal(range_parse(S("bytes=0-0"), 10, &arena, &ranges, &count), RANGE_WHOLE);
        arena_fini(&arena);
        buf_fini(&value);
}

static void test_if_range(void **state)
{
        (void)state;
        assert_true(range_if_range(S("\"a\""), S("\"a\"")));
        assert_true(range_if_range(S(" \"a\""), S("\"a\"")));
        assert_false(range_if_range(S("\"b\""), S("\"a\"")));
        assert_false(range_if_range(S("W/\"a\""), S("\"a\"")));
        assert_false(range_if_range(S("W/\"a\""), S("W/\"a\"")));
        assert_false(range_if_range(S("a"), S("\"a\"")));
        assert_false(range_if_range(S("*"), S("\"a\"")));
        assert_false(range_if_range(S("Sun, 06 Nov 1994 08:49:37 GMT"), S("\"a\"")));
        assert_false(range_if_range(S(""), S("")));
}

static void test_chunks(void **state)
{
        static const struct { const char *value; bool good; uint64_t first, last; } rows[] = {
                { "0-0", true, 0, 0 }, { "5-99", true, 5, 99 }, { " 5-99 ", true, 5, 99 }, { "bytes 5-99/100", true, 5, 99 },
                { "Bytes 5-99/*", true, 5, 99 }, { "5-99/100", true, 5, 99 }, { "bytes 5-99", true, 5, 99 },
                { "0-9223372036854775806", true, 0, INT64_MAX - 1 },
                { "0-9223372036854775807", false, 0, 0 }, { "0-18446744073709551615", false, 0, 0 }, { "9-5", false, 0, 0 },
                { "", false, 0, 0 }, { "-", false, 0, 0 }, { "5", false, 0, 0 }, { "5-", false, 0, 0 }, { "-5", false, 0, 0 },
                { "5-9-", false, 0, 0 }, { "5-9/", false, 0, 0 }, { "5-9/x", false, 0, 0 }, { "5-9/1/2", false, 0, 0 },
                { "a-b", false, 0, 0 }, { "5 - 9", false, 0, 0 }, { "bytes=5-9", false, 0, 0 }, { "bytes */100", false, 0, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                uint64_t first = 0, last = 0;

                if (range_parse_chunk(slice_from(rows[i].value), &first, &last) != rows[i].good)
                        fail_msg("%s", rows[i].value);
                assert_true(!rows[i].good || (first == rows[i].first && last == rows[i].last));
        }
}

static void test_multipart_has_the_length_that_is_told(void **state)
{
        static const struct range ranges[] = { { 0, 0 }, { 9, 10 }, { 99, 1234 }, { 18446744073709551613u, 18446744073709551614u } };
        static const struct slice types[] = { S("application/octet-stream"), S(""), S("a\r\nb") };

        (void)state;
        for (size_t t = 0; t < ARRAY_LEN(types); t++) {
                for (size_t count = 1; count <= ARRAY_LEN(ranges); count++) {
                        struct buf b = BUF_INIT(10000);
                        struct multipart m;
                        uint64_t length = 0;

                        multipart_init(&m, ranges, count, UINT64_MAX, types[t]);
                        for (size_t i = 0; i < count; i++) {
                                size_t before = b.n;

                                multipart_put_head(&m, i, &b);
                                assert_true(b.n - before <= MULTIPART_HEAD_BYTES_MAX);
                                length += ranges[i].last - ranges[i].first + 1;
                        }
                        multipart_put_end(&m, &b);
                        assert_true(buf_ok(&b));
                        assert_true(multipart_length(&m) == length + b.n);
                        buf_fini(&b);
                }
        }
}

static void test_multipart_form(void **state)
{
        static const struct range ranges[] = { { 0, 1 }, { 5, 9 } };
        struct buf got = BUF_INIT(10000), want = BUF_INIT(10000);
        struct multipart m, other;

        (void)state;
        multipart_init(&m, ranges, 2, 10, S("text/plain"));
        multipart_init(&other, ranges, 2, 10, S("text/plain"));
        assert_int_equal(strlen(m.boundary), MULTIPART_BOUNDARY_LENGTH);
        assert_string_not_equal(m.boundary, other.boundary);
        multipart_put_head(&m, 0, &got);
        multipart_put_head(&m, 1, &got);
        multipart_put_end(&m, &got);
        buf_printf(&want, "--%s\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n"
                   "\r\n--%s\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-9/10\r\n\r\n\r\n--%s--\r\n",
                   m.boundary, m.boundary, m.boundary);
        assert_string_equal(buf_cstr(&got), buf_cstr(&want));
        buf_fini(&got);
        buf_fini(&want);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_number_of_ranges_is_bounded),
                cmocka_unit_test(test_if_range),
                cmocka_unit_test(test_chunks),
                cmocka_unit_test(test_multipart_has_the_length_that_is_told),
                cmocka_unit_test(test_multipart_form),
        };

        return cmocka_run_group_tests_name("http/range", tests, NULL, NULL);
}
