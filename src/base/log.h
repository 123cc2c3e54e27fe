/* The log: one line an event to standard error, as text or JSON. Any thread; a line is written whole.
 *
 *      log_event(LOG_INFO, "certificate renewed", LOG_S("file", path), LOG_U("days", days));
 *
 * Text:  2026-11-24T09:30:00.123Z info certificate renewed file=/data/tls/server.crt days=398
 * Values that hold a space, a quote, "=" or anything but printable ASCII are quoted and escaped, so that nobody outside can
 * forge a line. Values longer than LOG_TEXT_MAX are cut and end with "...", so that nobody can make a line too long to be written.
 * The message is the program's own text. Rooms below the API never log failures; the top logs each once. */
#pragma once

#include "base/buf.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

#define LOG_TEXT_MAX 1024

struct log_field {
        const char *name;               /* NULL ends the list */
        struct slice text;              /* .p NULL: a number */
        uint64_t number;
};

#define LOG_S(name, slice) ((struct log_field){ (name), (slice).p ? (slice) : S(""), 0 })
#define LOG_C(name, cstr) ((struct log_field){ (name), slice_from((cstr) ? (cstr) : ""), 0 })
#define LOG_U(name, value) ((struct log_field){ (name), SLICE_NONE, (value) })

void log_configure(enum log_level level, enum log_format format);      /* at any time */
bool log_enabled(enum log_level level);

#define log_event(level, message, ...) \
        log_fields((level), (message), (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) { .name = NULL } })
void log_fields(enum log_level level, const char *message, const struct log_field *fields);

/* The line that is written, without its end. */
void log_format_line(struct buf *b, enum log_format format, enum log_level level, const char *message,
                     const struct log_field *fields);

/* Looks at standard error, once; before the process becomes a user who may not open it. */
void log_prepare(void);

/* Event loops come by often and must not wait for whoever reads the log: after log_gather() this thread's lines are kept until
 * log_flush(), which writes many with one call. Where standard error is a pipe, a socket or a terminal whose reader does not keep
 * up, lines wait, up to LOG_GATHER_MAX bytes, then they are dropped and counted. */
#define LOG_GATHER_MAX (256 * 1024)
void log_gather(void);
void log_flush(void);
void log_gather_end(void);              /* flushes; the thread ends */
