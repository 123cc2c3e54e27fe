/* Time: microseconds since 1970 UTC for what is stored and shown, monotonic milliseconds for time limits. */
#pragma once

#include <stdint.h>

int64_t clock_now_us(void);
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
