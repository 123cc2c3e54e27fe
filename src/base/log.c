#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 16 * 1024 };

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_TEXT;

static const char *level_name(enum log_level level)
{
        switch (level) {
        case LOG_ERROR:
                return "error";
        case LOG_WARN:
                return "warn";
        case LOG_INFO:
                return "info";
        case LOG_DEBUG:
                return "debug";
        }
        return "?";
}

void log_configure(enum log_level level, enum log_format format)
{
        log_level = (int)level;
        log_format = (int)format;
}

bool log_enabled(enum log_level level)
{
        return (int)level <= log_level;
}

static void put_time(struct buf *b)
{
        int64_t now = clock_now_us();
        time_t seconds = (time_t)(now / 1000000);
        struct tm tm;

        gmtime_r(&seconds, &tm);
        buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                   tm.tm_min, tm.tm_sec, (int)(now / 1000 % 1000));
}

static bool plain(struct slice s)
{
        for (size_t i = 0; i < s.n; i++)
                if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
                        return false;
        return s.n > 0;
}

static void put_quoted(struct buf *b, struct slice s)
{
        buf_put_char(b, '"');
        for (size_t i = 0; i < s.n; i++) {
                unsigned char c = (unsigned char)s.p[i];

                if (c == '"' || c == '\\')
                        buf_printf(b, "\\%c", c);
                else if (c < ' ' || c > '~')
                        buf_printf(b, "\\x%02x", c);
                else
                        buf_put_char(b, (char)c);
        }
        buf_put_char(b, '"');
}

static void put_text_line(struct buf *b, enum log_level level, const char *message, const struct log_field *fields)
{
        put_time(b);
        buf_printf(b, " %s %s", level_name(level), message);
        for (; fields->name; fields++) {
                buf_printf(b, " %s=", fields->name);
                if (!fields->text.p)
                        buf_put_u64(b, fields->number);
                else if (plain(fields->text))
                        buf_put(b, fields->text);
                else
                        put_quoted(b, fields->text);
        }
}

static void put_json_line(struct buf *b, enum log_level level, const char *message, const struct log_field *fields)
{
        buf_put(b, S("{\"time\":\""));
        put_time(b);
        buf_printf(b, "\",\"level\":\"%s\",\"message\":", level_name(level));
        buf_put_json_string(b, slice_from(message));
        for (; fields->name; fields++) {
                buf_printf(b, ",\"%s\":", fields->name);
                if (fields->text.p)
                        buf_put_json_string(b, fields->text);
                else
                        buf_put_u64(b, fields->number);
        }
        buf_put_char(b, '}');
}

/* One write(2) a line, so that lines of several threads never mix. A log that cannot be written is nobody's failure. */
static void write_line(struct slice line)
{
        while (line.n) {
                ssize_t n = write(STDERR_FILENO, line.p, line.n);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                line = slice_skip(line, (size_t)n);
        }
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields)
{
        struct buf b = BUF_INIT(LINE_MAX_BYTES);

        if (!log_enabled(level))
                return;
        if (log_format == LOG_JSON)
                put_json_line(&b, level, message, fields);
        else
                put_text_line(&b, level, message, fields);
        if (!buf_ok(&b)) {      /* too long: say at least that it happened */
                buf_reset(&b);
                put_time(&b);
                buf_printf(&b, " %s %s (fields too long)", level_name(level), message);
        }
        buf_put_char(&b, '\n');
        write_line(buf_slice(&b));
        buf_fini(&b);
}
