#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 128 * 1024, LINE_USUAL_BYTES = 512, CUT_LENGTH = 3 };  /* some twenty values of which every byte is escaped */

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

/* A line is written for each request, so the text of a second is kept for the lines that follow in it. */
static void put_time(struct buf *b)
{
        static _Thread_local int64_t kept_second = -1;
        static _Thread_local char kept[sizeof "2026-11-24T09:30:00."];
        int64_t now = clock_now_us();
        time_t seconds = (time_t)(now / 1000000);
        unsigned milliseconds = (unsigned)(now / 1000 % 1000);
        char end[] = { (char)('0' + milliseconds / 100), (char)('0' + milliseconds / 10 % 10), (char)('0' + milliseconds % 10), 'Z' };
        struct tm tm;

        if (seconds != kept_second) {
                gmtime_r(&seconds, &tm);
                strftime(kept, sizeof kept, "%Y-%m-%dT%H:%M:%S.", &tm);
                kept_second = seconds;
        }
        buf_put(b, (struct slice){ kept, sizeof kept - 1 });
        buf_put(b, (struct slice){ end, sizeof end });
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

/* What is shown of a text, and whether it was cut. */
static bool cut(struct slice text, struct slice *ret_shown)
{
        *ret_shown = slice_head(text, LOG_TEXT_MAX - CUT_LENGTH);
        if (text.n <= LOG_TEXT_MAX)
                *ret_shown = text;
        return ret_shown->n < text.n;
}

static void put_text(struct buf *b, struct slice text)
{
        struct slice shown;
        bool was_cut = cut(text, &shown);

        if (plain(shown))
                buf_put(b, shown);
        else
                put_quoted(b, shown);
        if (was_cut)
                buf_put(b, S("..."));
}

static void put_json_text(struct buf *b, struct slice text)
{
        struct slice shown;
        bool was_cut = cut(text, &shown);

        buf_put_json_string(b, shown);
        if (was_cut && b->n) {
                b->n--;                 /* the closing quote */
                buf_put(b, S("...\""));
        }
}

static void put_text_line(struct buf *b, enum log_level level, const char *message, const struct log_field *fields)
{
        put_time(b);
        buf_put_char(b, ' ');
        buf_put(b, slice_from(level_name(level)));
        buf_put_char(b, ' ');
        buf_put(b, slice_from(message));
        for (; fields->name; fields++) {
                buf_put_char(b, ' ');
                buf_put(b, slice_from(fields->name));
                buf_put_char(b, '=');
                if (!fields->text.p)
                        buf_put_u64(b, fields->number);
                else
                        put_text(b, fields->text);
        }
}

static void put_json_line(struct buf *b, enum log_level level, const char *message, const struct log_field *fields)
{
        buf_put(b, S("{\"time\":\""));
        put_time(b);
        buf_put(b, S("\",\"level\":\""));
        buf_put(b, slice_from(level_name(level)));
        buf_put(b, S("\",\"message\":"));
        buf_put_json_string(b, slice_from(message));
        for (; fields->name; fields++) {
                buf_put(b, S(",\""));
                buf_put(b, slice_from(fields->name));
                buf_put(b, S("\":"));
                if (fields->text.p)
                        put_json_text(b, fields->text);
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

void log_format_line(struct buf *b, enum log_format format, enum log_level level, const char *message,
                     const struct log_field *fields)
{
        if (format == LOG_JSON)
                put_json_line(b, level, message, fields);
        else
                put_text_line(b, level, message, fields);
}

void log_fields(enum log_level level, const char *message, const struct log_field *fields)
{
        struct buf b = BUF_INIT(LINE_MAX_BYTES);

        if (!log_enabled(level))
                return;
        log_format_line(&b, (enum log_format)log_format, level, message, fields);
        if (!buf_ok(&b)) {      /* no memory: say at least that it happened */
                buf_reset(&b);
                log_format_line(&b, (enum log_format)log_format, level, message, &(struct log_field){ .name = NULL });
        }
        buf_put_char(&b, '\n');
        write_line(buf_slice(&b));
        buf_fini(&b);
}
