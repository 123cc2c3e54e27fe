/* Lower-case hexadecimal. */
#pragma once

#include "base/slice.h"

void hex_encode(const void *bytes, size_t n, char *ret_hex);              /* writes 2 * n characters, no NUL */
bool hex_decode(struct slice hex, void *ret_bytes, size_t n);             /* exactly n bytes; lower case only */
