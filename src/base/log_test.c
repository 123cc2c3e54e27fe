/* The log of threads that must not wait: here standard error is a pipe of one page, whose reader is slow. */
#include "base/log.h"

#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096, LOOPS = 2, FLUSHES = 64, ROUNDS = 800, STUCK_MS = 5000 };

static int reader = -1, terminal = -1;
static char thousand[1000];

static int set_up(void **state)
{
        int ends[2];

        (void)state;
        memset(thousand, 'x', sizeof thousand);
        signal(SIGPIPE, SIG_IGN);
        terminal = dup(STDERR_FILENO);
        assert_int_equal(pipe(ends), 0);
        reader = ends[0];
        assert_true(fcntl(ends[1], F_SETPIPE_SZ, PAGE) >= 0);
        assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        close(ends[1]);
        log_prepare();
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        dup2(terminal, STDERR_FILENO);
        close(terminal);
        close(reader);
        return 0;
}

/* `count` values of a thousand characters. */
static void log_long(int count)
{
        struct log_field fields[8] = { { .name = NULL } };

        for (int i = 0; i < count; i++)
                fields[i] = LOG_S("a", ((struct slice){ thousand, sizeof thousand }));
        log_fields(LOG_INFO, "long", fields);
}

static size_t read_page(char page[static PAGE])
{
        ssize_t n = read(reader, page, PAGE);

        return n > 0 ? (size_t)n : 0;
}

/* A line that a pipe cannot take whole may be parted by those of others. What comes later then is not what a client wrote. */
static void half_a_line_is_ended(void **state)
{
        char page[PAGE];

        (void)state;
        log_gather();
        log_long(6);
        log_flush();
        assert_int_equal(read_page(page), PAGE);
        log_gather_end();
        assert_true(slice_eq((struct slice){ page, read_page(page) }, S("...\n")));
}

static _Atomic unsigned turns[LOOPS];
static _Atomic bool ended;

static void *run_loop(void *arg)
{
        _Atomic unsigned *turn = arg;

        log_gather();
        while (!ended) {
                log_long(3);
                for (int i = 0; i < FLUSHES; i++)
                        log_flush();
                (*turn)++;
        }
        log_gather_end();
        return NULL;
}

/* Does the loop go on, though nobody reads? */
static bool moves(const _Atomic unsigned *turn)
{
        int64_t until_ms = clock_mono_ms() + STUCK_MS;
        unsigned before = *turn;

        while (*turn == before && clock_mono_ms() < until_ms)
                usleep(100);
        return *turn != before;
}

/* The reader takes a page, and all loops want it. */
static void no_loop_waits_for_the_reader(void **state)
{
        pthread_t threads[LOOPS];
        char page[PAGE];
        bool all_move = true, whole = true;

        (void)state;
        for (int i = 0; i < LOOPS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, run_loop, &turns[i]), 0);
        for (int round = 0; round < ROUNDS && all_move; round++) {
                struct slice got = { page, read_page(page) };

                whole = whole && got.n > 0 && got.p[0] == '2' && got.p[got.n - 1] == '\n';
                for (int i = 0; i < LOOPS; i++)
                        all_move = all_move && moves(&turns[i]);
        }
        ended = true;
        close(reader);                  /* wakes who is stuck */
        for (int i = 0; i < LOOPS; i++)
                pthread_join(threads[i], NULL);
        assert_true(all_move);
        assert_true(whole);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(half_a_line_is_ended),
                cmocka_unit_test(no_loop_waits_for_the_reader),
        };

        return cmocka_run_group_tests_name("log", tests, set_up, tear_down);
}
