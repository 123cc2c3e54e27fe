/* Date as HTTP writes it: "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate; RFC 9110, section 5.6.7). Pure, any thread. Seconds since
 * 1970 UTC, of the years 0 to 9999. A caller that needs it often keeps it for the second. */
#pragma once

#include <stdint.h>

#define HTTP_DATE_LENGTH 29

void http_date_format(int64_t seconds, char ret_date[static HTTP_DATE_LENGTH + 1]);
