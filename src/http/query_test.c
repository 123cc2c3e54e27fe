/* Unit tests of percent decoding and of query parameters. */
#include "http/handler.h"
#include "http/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_percent_decode(void **state)
{
        static const struct { struct slice in, out; } rows[] = {
                { S(""), S("") },
                { S("abc"), S("abc") },
                { S("a+b"), S("a+b") },
                { S("sha256%3Aab"), S("sha256:ab") },
                { S("%2f%2F"), S("//") },
                { S("%41%6a"), S("Aj") },
                { S("%2541"), S("%41") },                               /* once */
                { S("%c3%a9%FF"), S("\xc3\xa9\xff") },
                { S("%"), SLICE_NONE }, { S("%4"), SLICE_NONE }, { S("a%"), SLICE_NONE }, { S("%4g"), SLICE_NONE },
                { S("%g4"), SLICE_NONE }, { S("%%41"), SLICE_NONE }, { S("%+1"), SLICE_NONE }, { S("% 1"), SLICE_NONE },
                { S("a%00b"), SLICE_NONE },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct arena arena = ARENA_INIT(1000);
                struct slice out = percent_decode(rows[i].in, &arena);

                assert_true(slice_eq(out, rows[i].out));
                assert_true((out.p == NULL) == (rows[i].out.p == NULL));
                arena_fini(&arena);
        }
}

static void test_percent_decode_is_bounded(void **state)
{
        struct arena arena = ARENA_INIT(4);

        (void)state;
        assert_null(percent_decode(S("%41%41%41"), &arena).p);
        assert_non_null(percent_decode(S("no percent: no memory is needed"), &arena).p);
        arena_fini(&arena);
}

static void test_query(void **state)
{
        static const struct { struct slice query, name; size_t index; struct slice value; } rows[] = {
                { SLICE_NONE, S("a"), 0, SLICE_NONE },
                { S(""), S("a"), 0, SLICE_NONE },
                { S("a=1"), S("a"), 0, S("1") },
                { S("a=1"), S("a"), 1, SLICE_NONE },
                { S("a=1"), S("A"), 0, SLICE_NONE },
                { S("a=1"), S("aa"), 0, SLICE_NONE },
                { S("aa=1"), S("a"), 0, SLICE_NONE },
                { S("a"), S("a"), 0, S("") },
                { S("a="), S("a"), 0, S("") },
                { S("&&a=b=c&"), S("a"), 0, S("b=c") },
                { S("x=1&a=1&a=2&b=9&a=3"), S("a"), 0, S("1") },
                { S("x=1&a=1&a=2&b=9&a=3"), S("a"), 2, S("3") },
                { S("x=1&a=1&a=2&b=9&a=3"), S("a"), 3, SLICE_NONE },
                { S("digest=sha256%3aff"), S("digest"), 0, S("sha256:ff") },
                { S("t=a+b%20c%26"), S("t"), 0, S("a+b c&") },
                { S("%61=1"), S("a"), 0, S("1") },
                { S("%6=1&a=2"), S("a"), 0, S("2") },
                { S("a=%"), S("a"), 0, SLICE_NONE },
                { S("a=%00"), S("a"), 0, SLICE_NONE },
                { S("=x"), S(""), 0, S("x") },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct arena arena = ARENA_INIT(1000);
                struct http_request rq = { .query = rows[i].query, .arena = &arena };
                struct slice value = http_request_query(&rq, rows[i].name, rows[i].index);

                if (!slice_eq(value, rows[i].value) || (value.p == NULL) != (rows[i].value.p == NULL))
                        fail_msg("row %zu: \"%.*s\"", i, SLICE_ARG(value));
                arena_fini(&arena);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_percent_decode),
                cmocka_unit_test(test_percent_decode_is_bounded),
                cmocka_unit_test(test_query),
        };

        return cmocka_run_group_tests_name("http/query", tests, NULL, NULL);
}
