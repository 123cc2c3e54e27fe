/* Time limits of many connections: a wheel of slots, each some milliseconds wide. Setting a limit later than it was, which is
 * what nearly every request does, only writes a number; a timer is moved when its slot comes.
 *
 * One loop's timers belong to its thread. Milliseconds of the monotonic clock; a limit fires up to TIMER_SLOT_MS late. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { TIMER_SLOT_MS = 64, TIMER_SLOTS = 256 };

struct timer {
        int64_t at_ms;                  /* when it is due */
        void (*fire)(struct timer *timer);
        int64_t slot_ms;                /* which slot holds it */
        struct timer *next, **link;     /* link NULL: not set */
};

struct timer_wheel {
        struct timer *slots[TIMER_SLOTS];
        int64_t now_ms;                 /* all slots before it were looked at */
        unsigned count;
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms);
void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t at_ms);
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);
/* Fires what is due. A timer that fires is not set any more. */
void timer_wheel_run(struct timer_wheel *wheel, int64_t now_ms);
/* How long nothing can be due; -1: no timer is set. */
int timer_wheel_wait_ms(const struct timer_wheel *wheel, int64_t now_ms);
