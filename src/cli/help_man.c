/* The man page, orlop(1), in the man(7) macros. */
#include "cli/command.h"
#include "cli/setting_value.h"

/* roff reads a leading dot or apostrophe as a macro, a backslash as an escape, and a bare hyphen as one that may become
 * another letter when it is copied from the page. */
static void put_roff(struct buf *b, struct slice text)
{
        bool line_begins = true;

        for (size_t i = 0; i < text.n; i++) {
                char c = text.p[i];

                if (line_begins && (c == '.' || c == '\''))
                        buf_put(b, S("\\&"));
                if (c == '-')
                        buf_put(b, S("\\-"));
                else if (c == '\\')
                        buf_put(b, S("\\e"));
                else
                        buf_put_char(b, c);
                line_begins = c == '\n';
        }
}

static void put_line(struct buf *b, struct slice text)
{
        put_roff(b, text);
        buf_put_char(b, '\n');
}

static void put_paragraphs(struct buf *b, struct slice text)
{
        while (text.n) {
                const char *end = memmem(text.p, text.n, "\n\n", 2);
                struct slice paragraph = end ? slice_head(text, (size_t)(end - text.p)) : text;
                bool verbatim = slice_starts(paragraph, S(" "));

                buf_put(b, verbatim ? S(".PP\n.nf\n") : S(".PP\n"));
                put_line(b, paragraph);
                buf_put(b, verbatim ? S(".fi\n") : S(""));
                text = slice_skip(text, paragraph.n);
                while (slice_starts(text, S("\n")))
                        text = slice_skip(text, 1);
        }
}

static void put_option(struct buf *b, const char *name, const char *value)
{
        buf_put(b, S(".TP\n.B \\-\\-"));
        put_roff(b, slice_from(name));
        if (value && *value) {
                buf_put(b, S(" \\fI"));
                put_roff(b, slice_from(value));
                buf_put(b, S("\\fR"));
        }
        buf_put_char(b, '\n');
}

static void put_command(struct buf *b, const struct command *command)
{
        buf_printf(b, ".SS \"orlop %s%s%s%s\"\n", command->name,
                   command->takes_settings || command->options[0].name ? " [OPTION...]" : "", *command->arguments ? " " : "",
                   command->arguments);
        put_paragraphs(b, slice_from(command->text));
        for (size_t i = 0; i < COMMAND_OPTIONS_MAX && command->options[i].name; i++) {
                put_option(b, command->options[i].name, command->options[i].value);
                put_line(b, slice_from(command->options[i].sentence));
        }
}

static void put_setting(struct buf *b, const struct setting *row)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(1024);

        put_option(b, row->name, row->value);
        put_line(b, slice_from(row->sentence));
        buf_printf(&text, "Default: %s", *row->fallback ? row->fallback : "none");
        if (row->type != SETTING_STRING && row->type != SETTING_LIST && row->type != SETTING_BOOL && row->type != SETTING_ENUM) {
                buf_put(&text, S("; allowed: "));
                setting_value_range(row, &text);
        }
        buf_printf(&text, ". %s", row->live ? "SIGHUP applies a change." : "A change needs a restart.");
        put_line(b, buf_slice(&text));
}

static void put_settings(struct buf *b)
{
        buf_put(b, S(".SH SETTINGS\n"));
        put_paragraphs(b, S("Each setting is a flag, a variable and a key of the configuration file. The flag outweighs the variable, and "
                            "that the file. The variable of --max-page is ORLOP_MAX_PAGE; an empty variable counts as not set."));
        for (size_t section = 0; section < SECTION_COUNT; section++) {
                buf_printf(b, ".SS \"%s: [%s] in the file\"\n", settings_headings[section].title, settings_headings[section].key);
                for (size_t i = 0; i < SETTING_COUNT; i++)
                        if (settings_table[i].section == section)
                                put_setting(b, &settings_table[i]);
        }
}

static void put_tail(struct buf *b)
{
        static const struct { const char *title, *text; } sections[] = {
                { "SIGNALS", "SIGTERM and SIGINT: no new connections; transfers that run may finish within --stop-timeout; exit "
                             "status 0. A second one ends the registry at once.\n\n"
                             "SIGHUP: the configuration is read again; what a reload can change is applied (certificate, log, limits), "
                             "and no connection is dropped. The log names the changed settings that need a restart." },
                { "FILES", "DIR is the folder of --data.\n\n"
                           "  DIR/orlop.db     names and links (SQLite)\n"
                           "  DIR/blobs/       the bytes\n"
                           "  DIR/uploads/     uploads that are not finished\n"
                           "  DIR/tls/         the authority and the certificate of --tls auto, with their keys\n"
                           "  DIR/lock         held by the running registry: its process id and its addresses" },
                { "EXIT STATUS", "0: done. 1: failed, or something is wrong. 2: the command line or the configuration was not "
                                 "understood." },
                { "EXAMPLES", "  orlop serve --data /srv/registry --listen :5000 --name registry.example.org\n"
                              "  ORLOP_READ_ONLY=true orlop serve\n"
                              "  orlop help --sample >/etc/orlop/orlop.conf" },
                { "SEE ALSO", "docker(1), podman(1), skopeo(1), systemd.socket(5)" },
        };

        for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
                buf_printf(b, ".SH \"%s\"\n", sections[i].title);
                put_paragraphs(b, slice_from(sections[i].text));
        }
}

void help_man_page(struct buf *b)
{
        buf_put(b, S(".\\\" Made by `orlop help --man`; do not edit.\n"));
        buf_printf(b, ".TH ORLOP 1 \"\" \"Orlop %s\" \"User Commands\"\n", ORLOP_VERSION);
        buf_put(b, S(".SH NAME\norlop \\- private container registry\n"
                     ".SH SYNOPSIS\n.B orlop\n.I COMMAND\n[\\fIOPTION\\fR...]\n"
                     ".SH DESCRIPTION\n"));
        put_paragraphs(b, S("Orlop is a container registry: docker, podman, skopeo, buildah, containerd, helm and oras push to it and pull "
                            "from it. It speaks the OCI distribution protocol over TLS, with an authority of its own if it is given "
                            "nothing else, and keeps all its data in one folder."));
        buf_put(b, S(".SH COMMANDS\n"));
        for (const struct command *const *at = commands; *at; at++)
                put_command(b, *at);
        put_settings(b);
        put_tail(b);
}
