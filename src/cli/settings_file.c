#include "cli/settings_file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <ini.h>

/* libinih asks for a line at a time, which is how the line's number is known. */
struct parse {
        struct slice rest;              /* what libinih has not asked for yet */
        unsigned line;
        const char *path;
        settings_file_fn *fn;
        void *arg;
        struct err *e;
        unsigned failed_line;           /* 0: none so far */
};

static void fail_line(struct parse *parse, struct result failure)
{
        IGNORE(failure);                /* the message is in parse->e */
        parse->failed_line = parse->line;
}

/* Like fgets(): a line with its newline. A longer one would be cut in two and mean something else, so the reading ends there. */
static char *next_line(char *room, int size, void *stream)
{
        struct parse *parse = stream;
        struct slice line;

        if (parse->failed_line || parse->rest.n == 0)
                return NULL;
        parse->line++;
        if (!slice_cut(&parse->rest, '\n', &line)) {
                line = parse->rest;
                parse->rest = SLICE_NONE;
        }
        if (line.n + 2 > (size_t)size)
                fail_line(parse, FAIL(parse->e, ERR_INVALID, 0, "the line is longer than %d bytes; a list may go on in an indented line",
                                      size - 2));
        else if (!slice_to_cstr(line, room, (size_t)size))
                fail_line(parse, FAIL(parse->e, ERR_INVALID, 0, "the line holds a NUL byte"));
        return parse->failed_line ? NULL : room;
}

static int take_row(void *arg, const char *section, const char *key, const char *value)
{
        struct parse *parse = arg;
        struct settings_file_row row = { slice_from(section), slice_from(key), slice_from(value), parse->line };

        if (!parse->fn(parse->arg, &row, parse->e).ok)
                parse->failed_line = parse->line;
        return !parse->failed_line;
}

RESULT settings_file_parse(struct slice text, const char *path, settings_file_fn *fn, void *arg, struct err *e)
{
        struct parse parse = { .rest = text, .path = path, .fn = fn, .arg = arg, .e = e };
        int line = ini_parse_stream(next_line, &parse, take_row, &parse);

        if (line > 0 && (!parse.failed_line || (unsigned)line < parse.failed_line))
                return FAIL(e, ERR_INVALID, 0, "%s:%d: this is no [heading], no \"key = value\" and no comment", path, line);
        if (parse.failed_line)
                return err_context(e, "%s:%u", path, parse.failed_line);
        if (line < 0)
                return FAIL(e, ERR_NOMEM, 0, "%s: too little memory to read it", path);
        return OK;
}

RESULT settings_file_read(const char *path, settings_file_fn *fn, void *arg, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(SETTINGS_FILE_MAX);

        TRY(fs_read_file(path, &text, e));
        return settings_file_parse(buf_slice(&text), path, fn, arg, e);
}
