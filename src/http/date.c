#include "http/date.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define YEAR_0 (-62167219200)
#define YEAR_9999_END 253402300799

void http_date_format(int64_t seconds, char ret_date[static HTTP_DATE_LENGTH + 1])
{
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        int64_t bounded = MIN(seconds, (int64_t)YEAR_9999_END);
        time_t time = MAX(bounded, (int64_t)YEAR_0);
        char text[128];
        struct tm t;
        int n;

        CHECK(gmtime_r(&time, &t));
        /* not strftime(): its names depend on the locale */
        n = snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + t.tm_wday * 3, t.tm_mday,
                     months + t.tm_mon * 3, t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
        CHECK(n == HTTP_DATE_LENGTH);
        memcpy(ret_date, text, HTTP_DATE_LENGTH + 1);
}
