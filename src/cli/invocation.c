/* From argv to a command that runs. */
#include "cli/command.h"

#include "cli/nearest.h"

#include <errno.h>
#include <stdio.h>

const struct command *commands_find(struct slice name)
{
        for (const struct command *const *at = commands; *at; at++)
                if (slice_eq(name, slice_from((*at)->name)))
                        return *at;
        return NULL;
}

/* The index of one of the command's own options; COMMAND_OPTIONS_MAX: it has no such. */
static size_t find_option(const struct command *command, struct slice name)
{
        for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name; i++)
                if (slice_eq(name, slice_from(command->options[i].name)))
                        return i;
        return COMMAND_OPTIONS_MAX;
}

const char *command_option(const struct invocation *in, const char *name)
{
        size_t at = find_option(in->command, slice_from(name));

        CHECK(at < COMMAND_OPTIONS_MAX);
        return in->values[at];
}

/* "--name=value"; without "=" the value is NULL. */
static struct slice split_option(const char *word, const char **ret_value)
{
        struct slice rest = slice_skip(slice_from(word), strspn(word, "-")), name = rest;

        *ret_value = slice_cut(&rest, '=', &name) ? rest.p : NULL;
        return name;
}

/* --- The command's name ----------------------------------------------------------------------------------------------- */

static RESULT refuse_leading_option(const char *word, struct err *e)
{
        const char *value;

        if (settings_find(split_option(word, &value)))
                return FAIL(e, ERR_INVALID, 0, "options stand after the command: orlop serve %s", word);
        return FAIL(e, ERR_INVALID, 0, "there is no option \"%s\" without a command; the nearest is \"--help\"", word);
}

static RESULT find_command(const char *word, const struct command **ret_command, struct err *e)
{
        struct nearest near = NEAREST_INIT(slice_from(word));

        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
                word = "help";
        if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
                word = "version";
        if (*word == '-')
                return refuse_leading_option(word, e);
        *ret_command = commands_find(slice_from(word));
        if (*ret_command)
                return OK;
        for (const struct command *const *at = commands; *at; at++)
                nearest_offer(&near, (*at)->name);
        return FAIL(e, ERR_INVALID, 0, "there is no command \"%s\"; the nearest is \"%s\" (see orlop help)", word, near.best);
}

/* --- Its options and arguments ---------------------------------------------------------------------------------------- */

static RESULT refuse_option(const struct command *command, struct slice name, struct err *e)
{
        struct nearest near = NEAREST_INIT(name);

        nearest_offer(&near, "help");
        for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name; i++)
                nearest_offer(&near, command->options[i].name);
        if (command->takes_settings)
                for (size_t i = 0; i < SETTING_COUNT; i++)
                        nearest_offer(&near, settings_table[i].name);
        return FAIL(e, ERR_INVALID, 0, "orlop %s has no option \"--%.*s\"; the nearest is \"--%s\"", command->name, SLICE_ARG(name),
                    near.best);
}

/* The value behind "=" or in the next word. */
static RESULT take_value(char *const **words, const char *name, const char *stands_for, const char **value, struct err *e)
{
        if (*value)
                return OK;
        if (!(*words)[1])
                return FAIL(e, ERR_INVALID, 0, "--%s needs a value: --%s %s", name, name, stands_for);
        *value = *++*words;
        return OK;
}

static RESULT take_own_option(struct invocation *in, char *const **words, size_t index, const char *value, struct err *e)
{
        const struct command_option *option = &in->command->options[index];

        if (option->value)
                TRY(take_value(words, option->name, option->value, &value, e));
        else if (value)
                return FAIL(e, ERR_INVALID, 0, "--%s takes no value", option->name);
        in->values[index] = value ? value : "";
        return OK;
}

static RESULT take_option(struct invocation *in, char *const **words, struct err *e)
{
        const char *value;
        struct slice name = split_option(**words, &value);
        size_t own = find_option(in->command, name);
        const struct setting *row = in->command->takes_settings ? settings_find(name) : NULL;

        if (!slice_starts(slice_from(**words), S("--")))
                return refuse_option(in->command, name, e);
        if (own < COMMAND_OPTIONS_MAX)
                return take_own_option(in, words, own, value, e);
        if (!row)
                return refuse_option(in->command, name, e);
        if (row->type == SETTING_BOOL)
                value = value ? value : "true";
        else
                TRY(take_value(words, row->name, row->value, &value, e));
        in->flags[in->settings.flag_count++] = (struct settings_flag){ (enum setting_id)(row - settings_table), value };
        return OK;
}

static RESULT take_argument(struct invocation *in, const char *word, struct err *e)
{
        if (in->argument_count == in->command->arguments_max)
                return FAIL(e, ERR_INVALID, 0, "orlop %s does not take the word \"%s\"; its usage is: orlop %s%s%s", in->command->name,
                            word, in->command->name, *in->command->arguments ? " " : "", in->command->arguments);
        in->arguments[in->argument_count++] = word;
        return OK;
}

/* --help anywhere becomes "help COMMAND". */
static void turn_into_help(struct invocation *in)
{
        in->arguments[0] = in->command->name;
        in->argument_count = 1;
        in->command = commands_find(S("help"));
        memset(in->values, 0, sizeof in->values);
}

static RESULT take_words(struct invocation *in, char *const *words, struct err *e)
{
        bool options = true;

        for (; *words; words++) {
                const char *word = *words;

                if (options && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
                        turn_into_help(in);
                        return OK;
                }
                if (options && strcmp(word, "--") == 0)
                        options = false;
                else if (options && word[0] == '-' && word[1])
                        TRY(take_option(in, &words, e));
                else
                        TRY(take_argument(in, word, e));
        }
        return OK;
}

static size_t count(char *const *words)
{
        size_t n = 0;

        while (words[n])
                n++;
        return n;
}

RESULT invocation_parse(char *const *argv, char *const *environment, struct invocation *ret_in, struct err *e)
{
        struct invocation in = { .settings.environment = environment };
        size_t n = count(argv);

        if (n < 2)
                return FAIL(e, ERR_INVALID, 0, "a command is needed, such as: orlop serve (see orlop help)");
        TRY(find_command(argv[1], &in.command, e));
        in.settings.flags = in.flags = calloc(n, sizeof *in.flags);
        in.arguments = calloc(n, sizeof *in.arguments);
        if (!in.flags || !in.arguments) {
                invocation_fini(&in);
                return FAIL(e, ERR_NOMEM, 0, "too little memory for the command line");
        }
        if (!take_words(&in, argv + 2, e).ok) {
                invocation_fini(&in);
                return FAILED;
        }
        *ret_in = in;
        return OK;
}

void invocation_fini(struct invocation *in)
{
        free(in->flags);
        free(in->arguments);
        *in = (struct invocation){ .command = NULL };
}

int cli_main(char *const *argv, char *const *environment)
{
        _cleanup_(invocation_fini) struct invocation in = { .command = NULL };
        struct err e = ERR_INIT;
        int status = 0;

        if (!invocation_parse(argv, environment, &in, &e).ok) {
                fprintf(stderr, "orlop: %s\n", e.message);
                return 2;
        }
        CHECK(in.command);
        if (!in.command->run(&in, &status, &e).ok) {
                fprintf(stderr, "orlop: %s\n", e.message);
                return e.code == ERR_INVALID ? 2 : 1;
        }
        return status;
}

RESULT command_print(struct buf *b, struct err *e)
{
        if (!buf_ok(b))
                return FAIL(e, ERR_NOMEM, 0, "the text is too large");
        if (fwrite(b->p ? b->p : "", 1, b->n, stdout) != b->n || fflush(stdout) != 0)
                return FAIL(e, ERR_IO, errno, "write to standard output");
        return OK;
}
