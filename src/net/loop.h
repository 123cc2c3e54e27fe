/* One thread's event loop: epoll, time limits, and messages from other threads.
 *
 *      TRY(loop_new(&loop, e));
 *      loop_watch(loop, &watch, fd, e);       watch.ready is called on the loop's thread when something happened
 *      loop_run(loop);                        until loop_stop()
 *      loop_free(loop);
 *
 * Watching is edge-triggered: ready() is called when the state of the descriptor changed, and whoever gets it must go on until
 * the descriptor would block, or remember that it did not. This way a connection is registered once and costs no further calls.
 *
 * Threads: loop_post() and loop_stop() may be called by any; all others by the loop's own, or before it runs. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "net/timer.h"

#include <stdatomic.h>
#include <sys/epoll.h>

struct loop;

struct loop_watch {
        void (*ready)(struct loop_watch *watch, uint32_t events);
};

/* A message belongs to the loop until run() is called. */
struct loop_message {
        void (*run)(struct loop_message *message);
        struct loop_message *next;
        bool expected;                          /* the loop's; see loop_expect() */
        atomic_bool hurry;
};

RESULT loop_new(struct loop **ret_loop, struct err *e);
void loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free)

RESULT loop_watch(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, struct err *e);
/* `late` is called after each round of events (to write out what was gathered in it). */
void loop_on_round(struct loop *loop, void (*late)(void *arg), void *arg);

void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);              /* after the messages that were posted before */
void loop_post(struct loop *loop, struct loop_message *message);
/* For work that is large and may wait: in each round one of those that were put off runs, behind all that was ready. So whoever has
 * little to do waits for one of them at most, however many there are. */
void loop_put_off(struct loop *loop, struct loop_message *message);

/* A message that only tidies up is not worth waking a sleeping loop for: it is run when the loop wakes for something else, after
 * LOOP_QUIET_MS at the latest, and at once where it is said that there is a hurry. The loop expects it first, then another thread
 * has it, and posts it in one way or the other. */
enum { LOOP_QUIET_MS = 100 };
void loop_expect(struct loop *loop, struct loop_message *message);
void loop_hurry(struct loop_message *message);
void loop_post_quietly(struct loop *loop, struct loop_message *message);

struct timer_wheel *loop_timers(struct loop *loop);
int64_t loop_now_ms(const struct loop *loop);   /* at the start of this round */
