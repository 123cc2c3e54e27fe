/* Commands: `orlop serve`, `orlop check`, … A command is one struct in its own file and one row in commands.c; its help, its place
 * in the man page and the parsing of its options come from the struct.
 *
 *      static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
 *      {
 *              if (command_option(in, "dry-run")) ...
 *              TRY(settings_load(&in->settings, &settings, e));
 *              ...
 *              *ret_status = 0;
 *              return OK;
 *      }
 *      const struct command command_gc = { .name = "gc", .run = run, ... };
 *
 * A failure is printed by the caller as one line, "orlop: message", and the exit status is 2 for
 * ERR_INVALID (what the user wrote was not understood), else 1. *ret_status counts with OK. */
#pragma once

#include "cli/settings.h"

enum { COMMAND_OPTIONS_MAX = 8 };

struct command_option {
        const char *name;               /* without "--" */
        const char *value;              /* what stands for its value in the help; NULL: it has none */
        const char *sentence;
};

struct command;

/* What stood on the command line. */
struct invocation {
        const struct command *command;
        struct settings_input settings;         /* the flags that are settings, and the environment */
        struct settings_flag *flags;            /* owned: settings.flags */
        const char **arguments;                 /* owned, the words borrowed: those that are no options */
        size_t argument_count;
        const char *values[COMMAND_OPTIONS_MAX];/* of command->options, in their order; NULL: not given */
};

struct command {
        const char *name;
        const char *arguments;                  /* for the usage line: "[COMMAND]"; "": none */
        const char *sentence;                   /* for the list of commands */
        const char *text;                       /* paragraphs, separated by empty lines; indented lines stay as they are */
        struct command_option options[COMMAND_OPTIONS_MAX];     /* up to the first without a name */
        unsigned arguments_max;
        bool takes_settings;                    /* every setting is an option of it too */
        bool lists_settings;                    /* its help lists them */
        RESULT_FN(run, (const struct invocation *in, int *ret_status, struct err *e));
};

/* All, in the order of the help. NULL ends it. */
extern const struct command *const commands[];

const struct command *commands_find(struct slice name);
/* The value of one of the command's own options: NULL where it was not given, "" where it has none. */
const char *command_option(const struct invocation *in, const char *name);

/* --- Command line ----------------------------------------------------------------------------------------------------- */

/* Takes argv apart. ERR_INVALID: a word or an option that does not exist (the message names the nearest), a missing value, an
 * argument too many. invocation_fini() frees what belongs to it; argv must live as long. */
RESULT invocation_parse(char *const *argv, char *const *environment, struct invocation *ret_in, struct err *e);
void invocation_fini(struct invocation *in);

/* Parses, runs, prints a failure. The process's exit status. */
int cli_main(char *const *argv, char *const *environment);

/* --- Help ------------------------------------------------------------------------------------------------------------- */

void help_overview(struct buf *b);
void help_command(const struct command *command, struct buf *b);
void help_man_page(struct buf *b);              /* orlop(1), for man(1) */
void help_sample(struct buf *b);                /* a configuration file with every setting and its default */

/* Writes all to standard output. ERR_IO. */
RESULT command_print(struct buf *b, struct err *e);
