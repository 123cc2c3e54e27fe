#include "base/clock.h"

#include <time.h>

static int64_t now_us(clockid_t clock)
{
        struct timespec t;

        clock_gettime(clock, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
        return now_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
        return now_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
        return now_us(CLOCK_MONOTONIC) / 1000;
}
