/* See timer.h. A timer lies in the slot of its time, or in the last one that the wheel reaches, from where it is moved on. */
#include "net/timer.h"

#include "base/check.h"

#include <stddef.h>
#include <string.h>

static int64_t slot_start(int64_t ms)
{
        return ms - ms % TIMER_SLOT_MS;
}

static struct timer **slot_of(struct timer_wheel *wheel, int64_t slot_ms)
{
        return &wheel->slots[(slot_ms / TIMER_SLOT_MS) % TIMER_SLOTS];
}

static void insert(struct timer_wheel *wheel, struct timer *timer)
{
        int64_t first = wheel->now_ms + TIMER_SLOT_MS, last = wheel->now_ms + (int64_t)TIMER_SLOT_MS * (TIMER_SLOTS - 1);
        struct timer **slot;

        timer->slot_ms = slot_start(MIN(MAX(timer->at_ms + TIMER_SLOT_MS - 1, first), last));
        slot = slot_of(wheel, timer->slot_ms);
        timer->next = *slot;
        timer->link = slot;
        if (timer->next)
                timer->next->link = &timer->next;
        *slot = timer;
        wheel->count++;
}

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_ms)
{
        memset(wheel, 0, sizeof *wheel);
        wheel->now_ms = slot_start(now_ms);
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, int64_t at_ms)
{
        timer->at_ms = at_ms;
        if (timer->link && timer->slot_ms <= at_ms)
                return;
        timer_cancel(wheel, timer);
        insert(wheel, timer);
}

void timer_cancel(struct timer_wheel *wheel, struct timer *timer)
{
        if (!timer->link)
                return;
        *timer->link = timer->next;
        if (timer->next)
                timer->next->link = timer->link;
        timer->link = NULL;
        timer->next = NULL;
        wheel->count--;
}

/* The slot's list is taken off first: what fires may set and cancel timers, these among them. */
static void run_slot(struct timer_wheel *wheel, int64_t now_ms)
{
        struct timer *due = *slot_of(wheel, wheel->now_ms);

        *slot_of(wheel, wheel->now_ms) = NULL;
        if (due)
                due->link = &due;
        while (due) {
                struct timer *timer = due;

                timer_cancel(wheel, timer);
                if (timer->at_ms <= now_ms)
                        timer->fire(timer);
                else
                        insert(wheel, timer);
        }
}

void timer_wheel_run(struct timer_wheel *wheel, int64_t now_ms)
{
        int64_t end = slot_start(now_ms);

        if (end - wheel->now_ms > (int64_t)TIMER_SLOT_MS * TIMER_SLOTS)       /* slept long: each slot once is enough */
                wheel->now_ms = end - (int64_t)TIMER_SLOT_MS * TIMER_SLOTS;
        while (wheel->now_ms < end) {
                wheel->now_ms += TIMER_SLOT_MS;
                run_slot(wheel, now_ms);
        }
}

int timer_wheel_wait_ms(const struct timer_wheel *wheel, int64_t now_ms)
{
        if (wheel->count == 0)
                return -1;
        for (int64_t slot = wheel->now_ms + TIMER_SLOT_MS;; slot += TIMER_SLOT_MS)
                if (wheel->slots[(slot / TIMER_SLOT_MS) % TIMER_SLOTS])
                        return (int)MAX(slot - now_ms, (int64_t)0);
}
