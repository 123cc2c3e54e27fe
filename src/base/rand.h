/* Random bytes from the kernel, for ids that nobody may guess. Any thread. */
#pragma once

#include <stddef.h>

void rand_bytes(void *ret_bytes, size_t n);
void rand_hex(char *ret_hex, size_t bytes);     /* 2 * bytes characters and a NUL */
