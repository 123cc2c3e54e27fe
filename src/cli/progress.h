/* What a long command shows on a terminal: one line on standard error that is written over again and again. Without a terminal
 * nothing is shown but complaints.
 *
 *      struct progress_line line = PROGRESS_LINE_INIT;
 *      struct backup backup = { .progress = progress_line(&line), ... };
 *      ... run ...
 *      progress_line_end(&line);
 *
 * One thread. */
#pragma once

#include "transfer/progress.h"

struct progress_line {
        int64_t shown_ms;               /* when; 0: nothing is shown */
        const char *what;               /* borrowed */
        bool counts;                    /* of things, not of bytes */
};
#define PROGRESS_LINE_INIT ((struct progress_line){ 0 })

struct progress progress_line(struct progress_line *line);
void progress_line_end(struct progress_line *line);     /* the line goes */

struct size_text {
        char s[32];
};
/* "17 bytes", "3.4 GiB" */
struct size_text size_text(uint64_t bytes);
