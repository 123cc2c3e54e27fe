/* Unit tests of base/: slices, buffers, arenas, hex and the hash whose state can be saved. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/sha.h"
#include "base/testing.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

static void test_slice_numbers(void **state)
{
        static const struct { const char *text; bool good; uint64_t value; } rows[] = {
                { "0", true, 0 }, { "18446744073709551615", true, UINT64_MAX }, { "18446744073709551616", false, 0 },
                { "", false, 0 }, { "-1", false, 0 }, { "+1", false, 0 }, { " 1", false, 0 }, { "1x", false, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                uint64_t value = 0;

                assert_int_equal(slice_to_u64(slice_from(rows[i].text), &value), rows[i].good);
                assert_true(value == rows[i].value);
        }
}

static void test_slice_lists(void **state)
{
        struct slice list = S("a,,b"), part;
        struct buf parts = BUF_INIT(100);

        (void)state;
        while (slice_next(&list, ',', &part))
                buf_printf(&parts, "%.*s|", SLICE_ARG(part));
        assert_string_equal(buf_cstr(&parts), "a||b|");
        buf_fini(&parts);
        assert_true(slice_eq(slice_trim(S(" \tx y\t ")), S("x y")));
        assert_true(slice_eq_nocase(S("Content-LENGTH"), S("content-length")));
        assert_true(slice_compare(S("a"), S("ab")) < 0 && slice_compare(S("b"), S("ab")) > 0);
        assert_true(slice_starts(S("abc"), S("ab")) && slice_ends(S("abc"), S("bc")) && !slice_ends(S("c"), S("bc")));
}

static void test_buf_limit_is_sticky(void **state)
{
        struct buf b = BUF_INIT(8);

        (void)state;
        buf_put(&b, S("12345678"));
        assert_true(buf_ok(&b));
        buf_put_char(&b, '9');
        assert_false(buf_ok(&b));
        buf_consume(&b, 4);
        buf_put_char(&b, 'x');
        assert_true(slice_eq(buf_slice(&b), S("5678")));
        buf_reset(&b);
        buf_put_u64(&b, 1200);
        assert_true(buf_ok(&b) && slice_eq(buf_slice(&b), S("1200")));
        buf_fini(&b);
}

static void test_json_string_is_always_valid(void **state)
{
        static const struct { struct slice in, out; } rows[] = {
                { { "a\"b\\\n", 5 }, { "\"a\\\"b\\\\\\n\"", 0 } },
                { { "\x01\x7f\0", 3 }, { "\"\\u0001\\u007f\\u0000\"", 0 } },
                { { "\xc3\xa9\xf0\x9f\x98\x80", 6 }, { "\"\xc3\xa9\xf0\x9f\x98\x80\"", 0 } },
                { { "\xc0\xaf", 2 }, { "\"\\ufffd\\ufffd\"", 0 } },          /* overlong */
                { { "\xed\xa0\x80", 3 }, { "\"\\ufffd\\ufffd\\ufffd\"", 0 } }, /* surrogate */
                { { "\xf5", 1 }, { "\"\\ufffd\"", 0 } },
                { { "\xe2\x82", 2 }, { "\"\\ufffd\\ufffd\"", 0 } },          /* cut short */
        };
        struct buf b = BUF_INIT(1000);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                buf_reset(&b);
                buf_put_json_string(&b, rows[i].in);
                assert_true(slice_eq(buf_slice(&b), slice_from(rows[i].out.p)));
        }
        buf_fini(&b);
}

static void test_arena_goes_back(void **state)
{
        struct arena a = ARENA_INIT(10000);
        struct arena_mark empty = arena_mark(&a), mark;
        struct slice kept = arena_copy(&a, S("kept"));

        (void)state;
        mark = arena_mark(&a);
        for (int i = 0; i < 100; i++) {         /* more than the bound, all together */
                assert_non_null(arena_alloc(&a, 100));
                assert_non_null(arena_alloc(&a, 5000));
                arena_rewind(&a, &mark);
        }
        assert_true(slice_eq(kept, S("kept")));
        arena_rewind(&a, &empty);
        assert_null(a.blocks);
        assert_int_equal(a.used, 0);
}

static void test_arena_is_bounded(void **state)
{
        struct arena a = ARENA_INIT(10000);
        size_t n = 0;

        (void)state;
        while (arena_alloc(&a, 100))
                n++;
        assert_in_range(n, 80, 100);
        assert_null(arena_alloc(&a, SIZE_MAX));
        arena_fini(&a);
        assert_true(slice_eq(arena_printf(&a, "%d-%s", 7, "x"), S("7-x")));
        arena_fini(&a);
}

static void test_errors_carry_cause_and_context(void **state)
{
        struct err e = ERR_INIT;

        (void)state;
        IGNORE(FAIL(&e, ERR_IO, ENOSPC, "write %s", "f"));
        assert_int_equal(e.code, ERR_FULL);
        assert_string_equal(e.message, "write f: No space left on device");
        IGNORE(err_context(&e, "publish"));
        assert_string_equal(e.message, "publish: write f: No space left on device");
}

static void test_sha_state_survives_saving_at_every_byte(void **state)
{
        unsigned char text[300], saved[SHA_STATE_MAX], whole[SHA_HASH_MAX], parts[SHA_HASH_MAX];

        (void)state;
        for (size_t i = 0; i < sizeof text; i++)
                text[i] = (unsigned char)(i * 7);
        for (enum sha_algorithm algorithm = SHA_256; algorithm <= SHA_512; algorithm++) {
                struct sha h;

                sha_init(&h, algorithm);
                sha_update(&h, text, sizeof text);
                sha_final(&h, whole);
                for (size_t cut = 0; cut <= sizeof text; cut++) {
                        size_t n;

                        sha_init(&h, algorithm);
                        sha_update(&h, text, cut);
                        n = sha_save(&h, saved);
                        memset(&h, 0xff, sizeof h);
                        assert_true(sha_load(&h, (struct slice){ (char *)saved, n }));
                        assert_true(sha_length(&h) == cut);
                        sha_update(&h, text + cut, sizeof text - cut);
                        sha_final(&h, parts);
                        assert_memory_equal(whole, parts, sha_hash_size(algorithm));
                        assert_false(sha_load(&h, (struct slice){ (char *)saved, n - 1 }));
                }
        }
}

static void test_sha_known_value(void **state)
{
        unsigned char hash[SHA_HASH_MAX], want[SHA_HASH_MAX];
        struct sha h;

        (void)state;
        sha_init(&h, SHA_256);
        sha_update(&h, "abc", 3);
        sha_final(&h, hash);
        assert_true(hex_decode(S("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), want, 32));
        assert_memory_equal(hash, want, 32);
        assert_false(hex_decode(S("BA"), want, 1));
}

/* Behind the time, which is 24 characters and a blank. */
static void check_text_line(struct slice value, const char *want)
{
        const struct log_field fields[] = { LOG_S("a", value), LOG_U("n", 7), { .name = NULL } };
        struct buf b = BUF_INIT(100000);

        log_format_line(&b, LOG_TEXT, LOG_INFO, "it happened", fields);
        assert_true(buf_ok(&b) && b.n > 25);
        assert_string_equal(buf_cstr(&b) + 25, want);
        buf_fini(&b);
}

static void test_log_values_cannot_forge_a_line(void **state)
{
        (void)state;
        check_text_line(S("plain/1.0"), "info it happened a=plain/1.0 n=7");
        check_text_line(S(""), "info it happened a=\"\" n=7");
        check_text_line(S("x n=8"), "info it happened a=\"x n=8\" n=7");
        check_text_line(S("x\" y=\\"), "info it happened a=\"x\\\" y=\\\\\" n=7");
        check_text_line(S("x\n2026 info\r\0\x1b[1m\xc3\xa9"), "info it happened a=\"x\\x0a2026 info\\x0d\\x00\\x1b[1m\\xc3\\xa9\" n=7");
}

/* However long a client's values are, the line is written with all its fields. */
static void test_log_values_are_cut(void **state)
{
        static char quotes[40000];
        struct log_field fields[9] = { { .name = NULL } };
        enum log_format formats[] = { LOG_TEXT, LOG_JSON };

        (void)state;
        for (int fill = 0; fill < 2; fill++) {
                memset(quotes, fill ? '\x01' : '"', sizeof quotes);
                for (size_t i = 0; i < 8; i++)
                        fields[i] = LOG_S("client", ((struct slice){ quotes, i == 7 ? 3 : sizeof quotes }));
                for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
                        struct buf b = BUF_INIT(128 * 1024);
                        const char *p;
                        size_t n = 0;

                        log_format_line(&b, formats[f], LOG_INFO, "x", fields);
                        assert_true(buf_ok(&b));
                        for (p = buf_cstr(&b); (p = strstr(p, "client")); p++)
                                n++;
                        assert_int_equal(n, 8);
                        for (n = 0, p = buf_cstr(&b); (p = strstr(p, "...")); p++)
                                n++;
                        assert_int_equal(n, 7);
                        buf_fini(&b);
                }
        }
}

static void test_folders(void **state)
{
        char root[] = "/tmp/orlop-base-test-XXXXXX", path[200];
        static const char *const rows[] = { "a", "a", "a/b/c", "a/b//d/", "a/b/../e" };
        struct stat st;
        struct err e;

        (void)state;
        assert_non_null(mkdtemp(root));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                snprintf(path, sizeof path, "%s/%s", root, rows[i]);
                if (!fs_mkdir(path, 0750, &e).ok)
                        fail_msg("%s", e.message);
                assert_true(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
        }
        snprintf(path, sizeof path, "%s/f", root);
        assert_true(fs_publish_file(path, S("x"), 0600, &e).ok);
        assert_false(fs_mkdir(path, 0750, &e).ok);              /* a file is no folder */
        snprintf(path, sizeof path, "%s/f/g", root);
        assert_false(fs_mkdir(path, 0750, &e).ok);
        snprintf(path, sizeof path, "%s/none/x", root);
        assert_false(fs_mkdir_one(path, 0750, &e).ok);          /* one level */
        assert_false(fs_mkdir("", 0750, &e).ok);
        assert_int_equal(remove_tree(root), 0);
}

struct counted_task {
        struct pool_task task;
        unsigned *next, order;
};

static void run_counted(struct pool_task *task)
{
        struct counted_task *counted = CONTAINER_OF(task, struct counted_task, task);

        counted->order = (*counted->next)++;
}

static void test_one_worker_keeps_the_order(void **state)
{
        struct counted_task tasks[100];
        unsigned next = 0;
        struct pool *pool;
        struct err e;

        (void)state;
        assert_true(pool_new(1, &pool, &e).ok);
        for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
                tasks[i] = (struct counted_task){ .task.run = run_counted, .next = &next };
                pool_submit(pool, &tasks[i].task);
        }
        pool_free(pool);
        for (unsigned i = 0; i < ARRAY_LEN(tasks); i++)
                assert_int_equal(tasks[i].order, i);
}

enum { POOL_MAX = 4, SUBMITTERS = 4, TASKS_EACH = 2000 };

struct tally {
        struct pool *pool;
        atomic_uint running, most, done;
};
struct tallied_task {
        struct pool_task task;
        struct tally *tally;
        unsigned again;                 /* submits itself so often */
};

static void run_tallied(struct pool_task *task)
{
        struct tallied_task *tallied = CONTAINER_OF(task, struct tallied_task, task);
        struct tally *tally = tallied->tally;
        unsigned running = atomic_fetch_add(&tally->running, 1) + 1, most = tally->most;

        while (running > most && !atomic_compare_exchange_weak(&tally->most, &most, running))
                ;
        if (tallied->again % 16 == 0)
                sched_yield();
        atomic_fetch_sub(&tally->running, 1);
        atomic_fetch_add(&tally->done, 1);
        if (tallied->again-- > 0)
                pool_submit(tally->pool, task);
}

static void *submit_some(void *arg)
{
        struct tallied_task *tasks = arg;

        for (size_t i = 0; i < TASKS_EACH; i++)
                pool_submit(tasks[i].tally->pool, &tasks[i].task);
        return NULL;
}

/* From many threads at once, and from tasks themselves: each is run once, by at most as many threads as were allowed. */
static void test_pool_runs_all(void **state)
{
        struct tallied_task *tasks = calloc(SUBMITTERS * TASKS_EACH, sizeof *tasks);
        pthread_t submitters[SUBMITTERS];
        struct tally tally = { 0 };
        unsigned want = 0;
        struct err e;

        (void)state;
        assert_true(pool_new(POOL_MAX, &tally.pool, &e).ok);
        for (unsigned i = 0; i < SUBMITTERS * TASKS_EACH; i++) {
                tasks[i] = (struct tallied_task){ .task.run = run_tallied, .tally = &tally, .again = i % 4 };
                want += 1 + i % 4;
        }
        for (size_t i = 0; i < SUBMITTERS; i++)
                assert_int_equal(pthread_create(&submitters[i], NULL, submit_some, tasks + i * TASKS_EACH), 0);
        for (size_t i = 0; i < SUBMITTERS; i++)
                pthread_join(submitters[i], NULL);
        while (tally.done < want)
                sched_yield();
        pool_free(tally.pool);
        assert_int_equal(tally.done, want);
        assert_in_range(tally.most, 1, POOL_MAX);
        free(tasks);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_slice_numbers),
                cmocka_unit_test(test_slice_lists),
                cmocka_unit_test(test_buf_limit_is_sticky),
                cmocka_unit_test(test_json_string_is_always_valid),
                cmocka_unit_test(test_arena_is_bounded),
                cmocka_unit_test(test_arena_goes_back),
                cmocka_unit_test(test_errors_carry_cause_and_context),
                cmocka_unit_test(test_sha_state_survives_saving_at_every_byte),
                cmocka_unit_test(test_sha_known_value),
                cmocka_unit_test(test_log_values_cannot_forge_a_line),
                cmocka_unit_test(test_log_values_are_cut),
                cmocka_unit_test(test_folders),
                cmocka_unit_test(test_one_worker_keeps_the_order),
                cmocka_unit_test(test_pool_runs_all),
        };

        return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
