/* Messages from other threads: one that wakes the loop, and one that waits until the loop is awake. And what is put off. */
#include "net/loop.h"

#include "base/buf.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static struct err e;

struct fixture {
        struct loop *loop;
        struct loop_message first, second;
        int order, first_at, second_at;         /* when each was run; 0: not yet */
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

        usleep(50000);                  /* the loop sleeps by now */
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

static void begin(struct fixture *f)
{
        *f = (struct fixture){ .first.run = run_first, .second.run = run_second };
        assert_true(loop_new(&f->loop, &e).ok);
}

/* The loop runs until the second message stops it: one that is never run hangs the test. */
static void run(struct fixture *f, void *(*poster)(void *))
{
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, poster, f), 0);
        loop_run(f->loop);
        pthread_join(thread, NULL);
        loop_free(f->loop);
}

static void a_quiet_message_is_run_though_nothing_else_happens(void **state)
{
        struct fixture f;

        (void)state;
        begin(&f);
        loop_expect(f.loop, &f.second);
        run(&f, post_quietly);
        assert_int_equal(f.second_at, 1);
}

/* A loop that expects nothing sleeps without an end. */
static void a_hurry_wakes_the_loop(void **state)
{
        struct fixture f;

        (void)state;
        begin(&f);
        loop_hurry(&f.second);
        run(&f, post_quietly);
        assert_int_equal(f.second_at, 1);
}

static void messages_keep_their_order(void **state)
{
        struct fixture f;

        (void)state;
        begin(&f);
        loop_expect(f.loop, &f.first);
        run(&f, post_both);
        assert_int_equal(f.first_at, 1);
        assert_int_equal(f.second_at, 2);
}

/* --- What is put off --------------------------------------------------------------------------------------------------- */

/* A message that writes its letter down and does what it is told to. */
struct letter {
        struct loop_message message;
        struct loop *loop;
        char letter;
        struct letter *posts, *puts_off;        /* what it sends, or NULL */
        bool stops;
};

static struct buf written = BUF_INIT(64);

static void run_letter(struct loop_message *message)
{
        struct letter *letter = CONTAINER_OF(message, struct letter, message);

        buf_put_char(&written, letter->letter);
        if (letter->posts)
                loop_post(letter->loop, &letter->posts->message);
        if (letter->puts_off)
                loop_put_off(letter->loop, &letter->puts_off->message);
        if (letter->stops)
                loop_stop(letter->loop);
}

static struct letter letter_of(struct loop *loop, char name)
{
        return (struct letter){ .message.run = run_letter, .loop = loop, .letter = name };
}

static struct loop *new_loop(void)
{
        struct loop *loop = NULL;

        assert_true(loop_new(&loop, &e).ok);
        return loop;
}

static void run_and_expect(struct loop *loop, const char *want)
{
        loop_run(loop);
        assert_string_equal(buf_cstr(&written), want);
        buf_fini(&written);
        loop_free(loop);
}

static void one_that_is_put_off_runs_in_a_round(void **state)
{
        struct loop *loop = new_loop();
        struct letter a = letter_of(loop, 'a'), b = letter_of(loop, 'b'), large = letter_of(loop, 'L'), larger = letter_of(loop, 'M');

        (void)state;
        large.posts = &b;               /* becomes ready meanwhile */
        larger.stops = true;
        loop_put_off(loop, &large.message);
        loop_put_off(loop, &larger.message);
        loop_post(loop, &a.message);
        run_and_expect(loop, "aLbM");
}

static void they_take_turns(void **state)
{
        struct loop *loop = new_loop();
        struct letter first = letter_of(loop, '1'), second = letter_of(loop, '2'), third = letter_of(loop, '3');

        (void)state;
        first.puts_off = &third;
        third.stops = true;
        loop_put_off(loop, &first.message);
        loop_put_off(loop, &second.message);
        run_and_expect(loop, "123");
}

/* A connection is freed when its message has run. */
static void all_that_was_put_off_runs_before_the_end(void **state)
{
        struct loop *loop = new_loop();
        struct letter a = letter_of(loop, 'a'), large = letter_of(loop, 'L'), larger = letter_of(loop, 'M');

        (void)state;
        a.stops = true;
        loop_put_off(loop, &large.message);
        loop_put_off(loop, &larger.message);
        loop_post(loop, &a.message);
        run_and_expect(loop, "aLM");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_quiet_message_is_run_though_nothing_else_happens),
                cmocka_unit_test(a_hurry_wakes_the_loop),
                cmocka_unit_test(messages_keep_their_order),
                cmocka_unit_test(one_that_is_put_off_runs_in_a_round),
                cmocka_unit_test(they_take_turns),
                cmocka_unit_test(all_that_was_put_off_runs_before_the_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
