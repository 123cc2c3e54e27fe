/* Percent encoding: RFC 3986, section 2.1. http_request_query() and http_request_header() (http/handler.h) are in query.c too.
 * Pure; any thread. */
#pragma once

#include "base/arena.h"

/* Decodes once. Text without "%" is returned as it is, other text in the arena. .p is NULL where "%" is not followed by two
 * hexadecimal digits, where a NUL would come out, and where the arena is full. "+" stays a plus sign. */
struct slice percent_decode(struct slice text, struct arena *arena);
