#include "cli/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

enum { INTERVAL_MS = 100 };

struct size_text size_text(uint64_t bytes)
{
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
        struct size_text text;
        double value = (double)bytes / 1024;
        size_t unit = 0;

        if (bytes < 1024) {
                snprintf(text.s, sizeof text.s, "%u bytes", (unsigned)bytes);
                return text;
        }
        for (; value >= 1000 && unit + 1 < ARRAY_LEN(units); unit++)
                value /= 1024;
        snprintf(text.s, sizeof text.s, value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return text;
}

static struct size_text amount_text(const struct progress_line *line, uint64_t amount)
{
        struct size_text text;

        if (!line->counts)
                return size_text(amount);
        snprintf(text.s, sizeof text.s, "%llu", (unsigned long long)amount);
        return text;
}

static void tell(void *arg, const char *what, uint64_t done, uint64_t total)
{
        struct progress_line *line = arg;
        int64_t now_ms = clock_mono_ms();

        if (line->shown_ms && now_ms - line->shown_ms < INTERVAL_MS && what == line->what)
                return;
        line->shown_ms = now_ms;
        line->what = what;
        fprintf(stderr, "\r%s", what);
        if (done || total)
                fprintf(stderr, ": %s", amount_text(line, done).s);
        if (total)
                fprintf(stderr, " of %s, %u %%", amount_text(line, total).s, (unsigned)(100 * ((double)done / (double)total)));
        fputs("\033[K", stderr);
}

static void complain(void *arg, const char *message)
{
        struct progress_line *line = arg;

        progress_line_end(line);
        fprintf(stderr, "orlop: %s\n", message);
}

struct progress progress_line(struct progress_line *line)
{
        return (struct progress){ .tell = isatty(STDERR_FILENO) ? tell : NULL, .complain = complain, .arg = line };
}

void progress_line_end(struct progress_line *line)
{
        if (line->shown_ms)
                fputs("\r\033[K", stderr);
        line->shown_ms = 0;
}
