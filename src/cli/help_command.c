/* orlop help, orlop version. */
#include "cli/command.h"
#include "cli/nearest.h"

#include <openssl/crypto.h>
#include <sqlite3.h>

enum { TEXT_MAX = 256 * 1024 };

static RESULT find_topic(const char *word, const struct command **ret_command, struct err *e)
{
        struct nearest near = NEAREST_INIT(slice_from(word));

        *ret_command = commands_find(slice_from(word));
        if (*ret_command)
                return OK;
        for (const struct command *const *at = commands; *at; at++)
                nearest_offer(&near, (*at)->name);
        return FAIL(e, ERR_INVALID, 0, "there is no command \"%s\"; the nearest is \"%s\"", word, near.best);
}

static RESULT run_help(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(TEXT_MAX);
        const struct command *topic;

        *ret_status = 0;
        if (command_option(in, "man")) {
                help_man_page(&b);
        } else if (command_option(in, "sample")) {
                help_sample(&b);
        } else if (in->argument_count) {
                TRY(find_topic(in->arguments[0], &topic, e));
                help_command(topic, &b);
        } else {
                help_overview(&b);
        }
        return command_print(&b, e);
}

static RESULT run_version(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(1024);

        (void)in;
        buf_printf(&b, "orlop %s (%s, SQLite %s)\n", ORLOP_VERSION, OpenSSL_version(OPENSSL_VERSION), sqlite3_libversion());
        *ret_status = 0;
        return command_print(&b, e);
}

const struct command command_help = {
        .name = "help",
        .arguments = "[COMMAND]",
        .sentence = "Tell about the commands, or about one.",
        .text = "Tells what commands there are, or all about one of them.",
        .options = {
                { "man", NULL, "Print the man page, orlop(1)." },
                { "sample", NULL, "Print a configuration file that holds every setting with its default." },
        },
        .arguments_max = 1,
        .run = run_help,
};

const struct command command_version = {
        .name = "version",
        .arguments = "",
        .sentence = "Print the version.",
        .text = "Prints the version of Orlop and of the libraries that it runs with.",
        .run = run_version,
};
