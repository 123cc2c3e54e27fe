/* Sleeping until a word changes (futex(2)), for one sleeper at a time.
 *
 *      sleeper                                         waker
 *      while (atomic_load(&word) == ASLEEP)            atomic_store(&word, AWAKE);
 *              futex_wait(&word, ASLEEP, -1);          futex_wake(&word);
 *
 * Needs no lock, and a wake that comes when the word is gone, because its owner saw the change by itself, does no harm: so the word
 * may stand in the sleeper's stack frame. That of a condition variable would do harm. */
#pragma once

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Returns when the word is not `value`, when it was woken, after the time (ms; negative: none), or for no reason. */
static inline void futex_wait(atomic_int *word, int value, int64_t timeout_ms)
{
        struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000 };

        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

static inline void futex_wake(atomic_int *word)
{
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
