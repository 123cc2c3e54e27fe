#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 128 * 1024, LINE_USUAL_BYTES = 512, CUT_LENGTH = 3, LOG_KEEP_BYTES = 32 * 1024 };
/* LINE_MAX_BYTES: some twenty values of which every byte is escaped */

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

void log_format_line(struct buf *b, enum log_format format, enum log_level level, const char *message,
                     const struct log_field *fields)
{
        if (format == LOG_JSON)
                put_json_line(b, level, message, fields);
        else
                put_text_line(b, level, message, fields);
}

/* --- Standard error --------------------------------------------------------------------------------------------------- */

/* What it is, and so how lines get there without waiting for whoever reads them. That poll() says there is room is not enough:
 * another thread, or another program that has the same pipe, may be quicker, and write(2) waits. */
static struct output {
        pthread_once_t once;
        enum { OUTPUT_FILE, OUTPUT_SOCKET, OUTPUT_OWN, OUTPUT_SHARED } kind;
        int fd;                                 /* OUTPUT_OWN: the same pipe or terminal, opened once more as one that never waits */
        pthread_mutex_t lock;                   /* OUTPUT_SHARED: it could not be opened. Only other programs may be quicker, then */
} output = { .once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER };

static void look_at_output(void)
{
        struct stat st;

        if (fstat(STDERR_FILENO, &st) < 0 || !(S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO)))
                return;
        output.kind = OUTPUT_SOCKET;
        if (S_ISSOCK(st.st_mode))
                return;
        /* O_NONBLOCK on number 2 itself would hold for all programs that share it. */
        output.fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        output.kind = output.fd >= 0 ? OUTPUT_OWN : OUTPUT_SHARED;
}

void log_prepare(void)
{
        pthread_once(&output.once, look_at_output);
}

/* One write(2) a line, so that lines of several threads never mix. A log that cannot be written is nobody's failure. */
static void write_line(struct slice line)
{
        bool locked = output.kind == OUTPUT_SHARED && pthread_mutex_lock(&output.lock) == 0;

        while (line.n) {
                ssize_t n = write(STDERR_FILENO, line.p, line.n);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                line = slice_skip(line, (size_t)n);
        }
        if (locked)
                pthread_mutex_unlock(&output.lock);
}

/* A pipe that says it is writable takes PIPE_BUF bytes at once (POSIX, write()). */
static ssize_t write_shared(struct slice bytes)
{
        struct pollfd ask = { .fd = STDERR_FILENO, .events = POLLOUT };
        ssize_t n = -1;

        errno = EAGAIN;
        if (pthread_mutex_trylock(&output.lock) != 0)
                return -1;
        if (poll(&ask, 1, 0) == 1 && (ask.revents & POLLOUT))
                n = write(STDERR_FILENO, bytes.p, bytes.n);
        else
                errno = EAGAIN;
        pthread_mutex_unlock(&output.lock);
        return n;
}

/* Like write(2), with EAGAIN where it would have to wait. */
static ssize_t write_now(struct slice bytes)
{
        switch (output.kind) {
        case OUTPUT_FILE:
                return write(STDERR_FILENO, bytes.p, bytes.n);
        case OUTPUT_SOCKET:
                return send(STDERR_FILENO, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        case OUTPUT_OWN:
                return write(output.fd, bytes.p, bytes.n);
        case OUTPUT_SHARED:
                return write_shared(bytes);
        }
        return -1;
}

/* --- Gathering -------------------------------------------------------------------------------------------------------- */

static _Thread_local struct gathered {
        bool on;
        struct buf lines;
        uint64_t lost;
} gathered;

/* Whole lines, as many as fit into `max`; one that is longer goes alone. */
static size_t lines_within(struct slice lines, size_t max)
{
        const char *end = lines.n <= max ? lines.p + lines.n - 1 : memrchr(lines.p, '\n', max);

        if (!end)
                end = memchr(lines.p, '\n', lines.n);
        return (size_t)(end - lines.p) + 1;
}

/* Half of a line is out, and other threads' lines may come before the rest: what a client wrote must not begin a line there. */
static void cut_line(void)
{
        static const char end[] = "...\n";
        struct slice lines = buf_slice(&gathered.lines);
        size_t rest = lines_within(lines, 1);

        if (rest < sizeof end - 1)
                return;
        buf_consume(&gathered.lines, rest - (sizeof end - 1));
        memcpy(gathered.lines.p, end, sizeof end - 1);
}

static void note_lost(void)
{
        uint64_t lost = gathered.lost;

        if (lost == 0 || gathered.lines.n > 0)
                return;
        gathered.lost = 0;
        log_event(LOG_WARN, "log lines were lost: their reader does not keep up", LOG_U("lines", lost));
}

void log_flush(void)
{
        while (gathered.lines.n) {
                struct slice lines = buf_slice(&gathered.lines);
                ssize_t n;
                bool cut_off;

                if (output.kind != OUTPUT_FILE)
                        lines.n = lines_within(lines, PIPE_BUF);        /* a pipe takes them whole, or not at all */
                n = write_now(lines);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                cut_off = n > 0 && lines.p[n - 1] != '\n';
                buf_consume(&gathered.lines, n > 0 ? (size_t)n : lines.n);
                if (cut_off)
                        cut_line();
        }
        if (gathered.lines.capacity > LOG_KEEP_BYTES)
                buf_fini(&gathered.lines);
        note_lost();
}

void log_gather(void)
{
        log_prepare();
        gathered.on = true;
        gathered.lines = BUF_INIT(LOG_GATHER_MAX);
}

void log_gather_end(void)
{
        log_flush();
        buf_fini(&gathered.lines);
        gathered.on = false;
}

static void put_out(struct slice line)
{
        if (!gathered.on) {
                write_line(line);
                return;
        }
        if (line.n > LOG_GATHER_MAX - gathered.lines.n) {
                gathered.lost++;
                return;
        }
        buf_put(&gathered.lines, line);
        if (!buf_ok(&gathered.lines)) {         /* no memory */
                gathered.lost++;
                gathered.lines.failed = false;
        }
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
        put_out(buf_slice(&b));
        buf_fini(&b);
}
