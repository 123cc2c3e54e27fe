/* orlop export, orlop import. */
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "transfer/export.h"
#include "transfer/import.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { NAMES_MAX = 1000 };

static RESULT refuse_terminal(const char *path, int fd, const char *what, struct err *e)
{
        if (strcmp(path, "-") == 0 && isatty(fd))
                return FAIL(e, ERR_INVALID, 0, "an archive is not %s a terminal: give a file", what);
        return OK;
}

/* --- Export ----------------------------------------------------------------------------------------------------------- */

static void tell_export(const struct export *export, const struct export_report *report)
{
        bool to_output = strcmp(export->path, "-") == 0;

        fprintf(to_output ? stderr : stdout, "%s: %llu %s, %llu %s, %llu blobs (%s)\n", to_output ? "exported" : export->path,
                (unsigned long long)report->images, report->images == 1 ? "image" : "images", (unsigned long long)report->referrers,
                report->referrers == 1 ? "referrer" : "referrers", (unsigned long long)report->blobs, size_text(report->bytes).s);
}

static RESULT run_export(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        _cleanup_(session_freep) struct session *session = NULL;
        struct progress_line line = PROGRESS_LINE_INIT;
        struct export export = { .progress = progress_line(&line) };
        struct export_report report;
        struct result result;

        if (in->argument_count < 2)
                return FAIL(e, ERR_INVALID, 0, "what, and where to? The usage is: orlop export NAME:TAG... FILE");
        TRY(settings_load(&in->settings, &settings, e));
        export.names = in->arguments;
        export.name_count = in->argument_count - 1;
        export.path = in->arguments[export.name_count];
        export.without_referrers = command_option(in, "no-referrers");
        export.manifest_bytes_max = (size_t)settings->max_manifest_bytes;
        TRY(refuse_terminal(export.path, STDOUT_FILENO, "written to", e));
        signal(SIGPIPE, SIG_IGN);
        TRY(session_open(in, settings, true, &session, e));
        export.client = session_client(session);
        result = export_run(&export, &report, e);
        progress_line_end(&line);
        TRY(result);
        tell_export(&export, &report);
        *ret_status = 0;
        return session_close(session, e);
}

/* --- Import ----------------------------------------------------------------------------------------------------------- */

static void arrived(void *arg, struct slice repository, struct slice tag, const struct digest *digest)
{
        progress_line_end(arg);
        printf("%.*s%s%.*s %s\n", SLICE_ARG(repository), tag.n ? ":" : "", SLICE_ARG(tag), digest_format(digest).s);
}

static void tell_import(const struct import_report *report)
{
        printf("%llu %s, %llu %s; %llu blobs stored (%s), %llu were there\n", (unsigned long long)report->images,
               report->images == 1 ? "image" : "images", (unsigned long long)report->referrers,
               report->referrers == 1 ? "referrer" : "referrers", (unsigned long long)report->blobs, size_text(report->blob_bytes).s,
               (unsigned long long)report->blobs_there);
}

static RESULT run_import(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        _cleanup_(session_freep) struct session *session = NULL;
        struct progress_line line = PROGRESS_LINE_INIT;
        struct import import = { .progress = progress_line(&line), .arrived = arrived, .arg = &line };
        struct import_report report;
        struct result result;

        if (in->argument_count < 1)
                return FAIL(e, ERR_INVALID, 0, "from where? The usage is: orlop import FILE [NAME[:TAG]]");
        TRY(settings_load(&in->settings, &settings, e));
        import.path = in->arguments[0];
        import.name = in->argument_count > 1 ? in->arguments[1] : NULL;
        import.manifest_bytes_max = (size_t)settings->max_manifest_bytes;
        TRY(refuse_terminal(import.path, STDIN_FILENO, "read from", e));
        signal(SIGPIPE, SIG_IGN);
        TRY(session_open(in, settings, false, &session, e));
        import.client = session_client(session);
        result = import_run(&import, &report, e);
        progress_line_end(&line);
        TRY(result);
        tell_import(&report);
        *ret_status = 0;
        return session_close(session, e);
}

const struct command command_export = {
        .name = "export",
        .arguments = "NAME[:TAG]... FILE",
        .sentence = "Write images to one file, for machines without a network.",
        .text = "Writes images, with what refers to them (signatures, SBOMs), to FILE: a tar file that holds an OCI image layout. A FILE "
                "that is a folder, or ends with a slash, becomes the layout itself; - is standard output. NAME without a tag stands for "
                "all its tags; NAME@DIGEST for one image without a tag.\n\n"
                "skopeo copy oci-archive:FILE:NAME:TAG, docker load and orlop import read what is written. The registry may run or not.",
        .options = {
                { "no-referrers", NULL, "Leave out what refers to the images." },
        },
        .arguments_max = NAMES_MAX,
        .takes_settings = true,
        .run = run_export,
};

const struct command command_import = {
        .name = "import",
        .arguments = "FILE [NAME[:TAG]]",
        .sentence = "Store the images of a file.",
        .text = "Stores the images that FILE holds: an OCI image layout (orlop export, skopeo, buildah, docker save) or what older "
                "versions of docker save and podman save write, as a tar file (plain, or compressed with gzip or zstd) or a "
                "folder; - is standard input. They get the names that they have in the file, without a host. NAME gives another, "
                "NAME:TAG another tag too, where there is one image.\n\n"
                "What the registry has already is not stored again, so an import that broke is simply run again. The registry may run "
                "or not.",
        .arguments_max = 2,
        .takes_settings = true,
        .run = run_import,
};
