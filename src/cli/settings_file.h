/* The configuration file: INI, read with libinih.
 *
 *      # comment                       ; too, also after a value
 *      [limits]
 *      max-page = 500
 *      [network]
 *      listen = 127.0.0.1:5000
 *              [::1]:5000              a further part of a list may stand on an indented line of its own
 *
 * The row function gets each key with its section and line. Its failure, and a line that is none of the above, end up in an
 * error that begins with "FILE:LINE: ". The first one counts.
 *
 * ERR_NOT_FOUND and ERR_IO (the file), ERR_LIMIT (larger than SETTINGS_FILE_MAX), ERR_INVALID. */
#pragma once

#include "base/err.h"

enum { SETTINGS_FILE_MAX = 256 * 1024 };

struct settings_file_row {
        struct slice section;           /* empty: before the first heading */
        struct slice key, value;
        unsigned line;
};

typedef struct result settings_file_fn(void *arg, const struct settings_file_row *row, struct err *e);

RESULT settings_file_read(const char *path, settings_file_fn *fn, void *arg, struct err *e);
/* The same from memory; `path` stands in messages. */
RESULT settings_file_parse(struct slice text, const char *path, settings_file_fn *fn, void *arg, struct err *e);
