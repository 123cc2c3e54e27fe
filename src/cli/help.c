/* All that people read about commands and settings, made from the two tables: help, man page, sample file. */
#include "cli/command.h"
#include "cli/setting_value.h"

enum { WIDTH = 100, COLUMN = 26, TEXT_MAX = 256 * 1024 };

/* --- Plain text ------------------------------------------------------------------------------------------------------- */

static void put_spaces(struct buf *b, size_t n)
{
        while (n--)
                buf_put_char(b, ' ');
}

/* Fills lines up to `width`, each begun with `prefix` and `indent` spaces; the first line already has `used` columns. */
static void put_filled(struct buf *b, struct slice text, const char *prefix, size_t indent, size_t used, size_t width)
{
        struct slice word;

        for (bool first = true; slice_next(&text, ' ', &word); first = false) {
                if (!first && used + 1 + word.n > width) {
                        buf_printf(b, "\n%s", prefix);
                        put_spaces(b, indent);
                        used = strlen(prefix) + indent;
                } else if (!first) {
                        buf_put_char(b, ' ');
                        used++;
                }
                buf_put(b, word);
                used += word.n;
        }
        buf_put_char(b, '\n');
}

/* "  --option VALUE      sentence", the sentence in a column of its own. */
static void put_row(struct buf *b, struct slice left, struct slice sentence)
{
        put_spaces(b, 2);
        buf_put(b, left);
        if (left.n + 2 < COLUMN) {
                put_spaces(b, COLUMN - left.n - 2);
        } else {
                buf_put_char(b, '\n');
                put_spaces(b, COLUMN);
        }
        put_filled(b, sentence, "", COLUMN, COLUMN, WIDTH);
}

/* Takes the next paragraph of a command's text; an indented one is to stay as it is. */
static bool next_paragraph(struct slice *text, struct slice *ret_paragraph, bool *ret_verbatim)
{
        const char *end;

        while (slice_starts(*text, S("\n")))
                *text = slice_skip(*text, 1);
        if (text->n == 0)
                return false;
        end = memmem(text->p, text->n, "\n\n", 2);
        *ret_paragraph = end ? slice_head(*text, (size_t)(end - text->p)) : *text;
        *ret_verbatim = text->p[0] == ' ';
        *text = slice_skip(*text, ret_paragraph->n);
        return true;
}

static void put_text(struct buf *b, const char *text)
{
        struct slice rest = slice_from(text), paragraph;
        bool verbatim;

        while (next_paragraph(&rest, &paragraph, &verbatim)) {
                buf_put_char(b, '\n');
                if (verbatim) {
                        buf_put(b, paragraph);
                        buf_put_char(b, '\n');
                } else {
                        put_filled(b, paragraph, "", 0, 0, WIDTH);
                }
        }
}

static void put_usage(struct buf *b, const struct command *command)
{
        bool options = command->takes_settings || command->options[0].name;

        buf_printf(b, "orlop %s%s%s%s", command->name, options ? " [OPTION...]" : "", *command->arguments ? " " : "",
                   command->arguments);
}

/* --- Settings --------------------------------------------------------------------------------------------------------- */

static bool has_range(const struct setting *row)
{
        switch (row->type) {
        case SETTING_INTEGER:
        case SETTING_BYTES:
        case SETTING_RATE:
        case SETTING_DURATION:
                return true;
        case SETTING_STRING:
        case SETTING_LIST:
        case SETTING_ENUM:
        case SETTING_BOOL:
                return false;
        }
        return false;
}

/* "Default: 4MiB (4KiB to 64MiB)." */
static void put_facts(struct buf *b, const struct setting *row)
{
        buf_printf(b, "Default: %s", *row->fallback ? row->fallback : "none");
        if (has_range(row)) {
                buf_put(b, S(" ("));
                setting_value_range(row, b);
                buf_put_char(b, ')');
        }
        buf_put_char(b, '.');
}

static void put_flag(struct buf *b, const struct setting *row)
{
        buf_printf(b, "--%s%s%s", row->name, *row->value ? " " : "", row->value);
}

static void put_setting(struct buf *b, const struct setting *row)
{
        _cleanup_(buf_fini) struct buf flag = BUF_INIT(256), sentence = BUF_INIT(2048);

        put_flag(&flag, row);
        buf_printf(&sentence, "%s ", row->sentence);
        put_facts(&sentence, row);
        put_row(b, buf_slice(&flag), buf_slice(&sentence));
}

static void put_settings(struct buf *b)
{
        for (size_t section = 0; section < SECTION_COUNT; section++) {
                buf_printf(b, "\n%s:\n", settings_headings[section].title);
                for (size_t i = 0; i < SETTING_COUNT; i++)
                        if (settings_table[i].section == section)
                                put_setting(b, &settings_table[i]);
        }
}

/* --- Help ------------------------------------------------------------------------------------------------------------- */

void help_overview(struct buf *b)
{
        buf_put(b, S("Orlop is a private container registry.\n\nusage: orlop COMMAND [OPTION...]\n\n"));
        for (const struct command *const *at = commands; *at; at++)
                put_row(b, slice_from((*at)->name), slice_from((*at)->sentence));
        buf_put(b, S("\norlop help COMMAND tells more; orlop serve is all that it takes to begin.\n"));
}

void help_command(const struct command *command, struct buf *b)
{
        buf_put(b, S("usage: "));
        put_usage(b, command);
        buf_put_char(b, '\n');
        put_text(b, command->text);
        if (command->options[0].name)
                buf_put(b, S("\nOptions:\n"));
        for (const struct command_option *option = command->options; option < command->options + COMMAND_OPTIONS_MAX && option->name;
             option++) {
                _cleanup_(buf_fini) struct buf left = BUF_INIT(256);

                buf_printf(&left, "--%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
                put_row(b, buf_slice(&left), slice_from(option->sentence));
        }
        if (command->lists_settings)
                put_settings(b);
        else if (command->takes_settings)
                buf_put(b, S("\nThe settings of the registry are options too: see orlop help serve.\n"));
}

/* --- Sample file ------------------------------------------------------------------------------------------------------ */

static void put_comment(struct buf *b, struct slice text)
{
        buf_put(b, S("# "));
        put_filled(b, text, "# ", 0, 2, WIDTH);
}

static void put_sample_row(struct buf *b, const struct setting *row)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(2048);

        buf_put_char(b, '\n');
        put_comment(b, slice_from(row->sentence));
        if (row->type == SETTING_ENUM || has_range(row)) {
                setting_value_range(row, &text);
                buf_put(&text, S(". "));
        }
        buf_put(&text, row->live ? S("SIGHUP applies a change.") : S("A change needs a restart."));
        put_comment(b, buf_slice(&text));
        buf_printf(b, "#%s =%s%s\n", row->name, *row->fallback ? " " : "", row->fallback);
}

void help_sample(struct buf *b)
{
        put_comment(b, S("Orlop's settings, each with its default; remove the # in front of what you change, and start the registry with "
                         "`orlop serve --config FILE`. A flag (--max-page) outweighs a variable (ORLOP_MAX_PAGE), and that the file. "
                         "`orlop check --config FILE` tells what is wrong. A list has commas, or goes on in an indented line; `;` "
                         "after a space begins a comment."));
        for (size_t section = 0; section < SECTION_COUNT; section++) {
                buf_printf(b, "\n[%s]\n", settings_headings[section].key);
                for (size_t i = 0; i < SETTING_COUNT; i++)
                        if (settings_table[i].section == section && i != SETTING_ID_config)
                                put_sample_row(b, &settings_table[i]);
        }
}
