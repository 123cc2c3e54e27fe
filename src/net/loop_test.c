/* Messages from other threads: one that wakes the loop, and one that waits until the loop is awake. */
#include "net/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct err e;

struct fixture {
        struct loop *loop;
        struct loop_message first, second;
        int order, first_at, second_at;         /* when each was run; 0: not yet */
        pthread_t thread;
};

static void run_first(struct loop_message *message)
{
        struct fixture *f = CONTAINER_OF(message, struct fixture, first);

        f->first_at = ++f->order;
}

static void run_second(struct loop_message *message)
{
        struct fixture *f = CONTAINER_OF(message, struct fixture, second);

        f->second_at = ++f->order;
        loop_stop(f->loop);
}

static void *post_quietly(void *arg)
{
        struct fixture *f = arg;

        loop_post_quietly(f->loop, &f->second);
        return NULL;
}

static void *post_both(void *arg)
{
        struct fixture *f = arg;

        loop_post_quietly(f->loop, &f->first);
        loop_post(f->loop, &f->second);
        return NULL;
}

/* The loop runs until the second message stops it: one that is never run hangs the test. */
static void run(void *(*poster)(void *), bool expect_both, bool hurry, struct fixture *ret_f)
{
        struct fixture f = { .first.run = run_first, .second.run = run_second };

        assert_true(loop_new(&f.loop, &e).ok);
        if (expect_both)
                loop_expect(f.loop, &f.first);
        else
                loop_expect(f.loop, &f.second);
        if (hurry)
                loop_hurry(&f.second);
        assert_int_equal(pthread_create(&f.thread, NULL, poster, &f), 0);
        loop_run(f.loop);
        pthread_join(f.thread, NULL);
        loop_free(f.loop);
        *ret_f = f;
}

static void a_quiet_message_is_run_though_nothing_else_happens(void **state)
{
        struct fixture f;

        (void)state;
        run(post_quietly, false, false, &f);
        assert_int_equal(f.second_at, 1);
}

static void a_hurry_wakes_the_loop(void **state)
{
        struct fixture f;

        (void)state;
        run(post_quietly, false, true, &f);
        assert_int_equal(f.second_at, 1);
}

static void messages_keep_their_order(void **state)
{
        struct fixture f;

        (void)state;
        run(post_both, true, false, &f);
        assert_int_equal(f.first_at, 1);
        assert_int_equal(f.second_at, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_quiet_message_is_run_though_nothing_else_happens),
                cmocka_unit_test(a_hurry_wakes_the_loop),
                cmocka_unit_test(messages_keep_their_order),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
