/* orlop check: what is wrong with configuration and store, and the mend, before a user finds it. */
#include "base/fs.h"
#include "cli/command.h"
#include "cli/process.h"
#include "cli/running.h"
#include "cli/store.h"
#include "net/authority.h"
#include "net/certificate.h"
#include "net/socket.h"
#include "net/tls.h"
#include "store/meta/meta.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

enum { STRINGS_MAX = 64 * 1024 };
#define DAY_S ((int64_t)24 * 3600)
#define FREE_BYTES_MIN (64 * MIB)

struct report {
        const struct invocation *in;
        const struct settings *settings;
        bool folder_exists, running;
        int lock_fd;                    /* ours while we look, where no registry runs; -1 */
        unsigned wrong;
};

/* --- Lines ------------------------------------------------------------------------------------------------------------ */

/* With --json standard output has the store's findings alone. */
static FILE *lines;

static void good(const char *what, const char *detail)
{
        fprintf(lines, "good   %s%s%s\n", what, *detail ? ": " : "", detail);
}

static void wrong(struct report *report, const char *what, const char *detail, const char *mend)
{
        report->wrong++;
        fprintf(lines, "wrong  %s: %s\n       mend: %s\n", what, detail, mend);
}

/* --- Folder and lock -------------------------------------------------------------------------------------------------- */

static void check_space(struct report *report)
{
        struct statvfs fs;
        char text[64];

        if (statvfs(report->settings->data, &fs) < 0)
                return;
        snprintf(text, sizeof text, "%llu MiB free", (unsigned long long)fs.f_bavail * fs.f_frsize / MIB);
        if ((unsigned long long)fs.f_bavail * fs.f_frsize < FREE_BYTES_MIN)
                wrong(report, "space", text, "delete what is not needed, or move the data folder to a larger disk");
        else
                good("space", text);
}

static void check_folder(struct report *report)
{
        const char *path = report->settings->data;
        struct stat st;
        struct err unused;
        bool changed;

        if (stat(path, &st) < 0 && errno == ENOENT) {
                good("data folder", "is not there yet; the first start makes it");
                return;
        }
        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
                wrong(report, path, "is no folder that can be read", "give another folder: --data DIR");
                return;
        }
        report->folder_exists = true;
        IGNORE(process_become_owner_of(path, &changed, &unused));      /* the registry would; if not, what follows tells */
        if (access(path, R_OK | W_OK | X_OK) < 0)
                wrong(report, path, "cannot be written by this user", "run orlop as the user who owns it, or change its owner (chown)");
        else
                good("data folder", path);
        check_space(report);
}

/* Without a running registry the lock is held while we look, so that none starts meanwhile. */
static void check_running(struct report *report)
{
        struct err e = ERR_INIT;

        if (!report->folder_exists)
                return;
        if (running_lock(report->settings->data, &report->lock_fd, &e).ok) {
                good("registry", "does not run");
                return;
        }
        report->running = e.code == ERR_BUSY;
        if (report->running)
                good("registry", "runs; what it uses is not tried");
        else
                wrong(report, "lock", e.message, "run orlop as the user who owns the data folder");
}

/* --- Network ---------------------------------------------------------------------------------------------------------- */

static void check_one_address(struct report *report, const char *address)
{
        bool chosen = report->settings->sources[SETTING_ID_listen] != SOURCE_DEFAULT;
        int fds[SOCKET_LISTENERS_MAX];
        struct err e = ERR_INIT;
        size_t count = 0;

        if (socket_listen(slice_from(address), fds, ARRAY_LEN(fds), &count, &e).ok)
                good("address", address);
        else if (!chosen && (e.sys_errno == EADDRNOTAVAIL || e.sys_errno == EAFNOSUPPORT))
                good(address, "this machine does not have it; it is passed over");
        else
                wrong(report, "address", e.message, "choose another with --listen, or end what uses it");
        while (count)
                close(fds[--count]);
        if (slice_starts(slice_from(address), S("unix:")) && e.code == ERR_NONE)
                unlink(address + strlen("unix:"));
}

static void check_addresses(struct report *report)
{
        for (size_t i = 0; !report->running && i < report->settings->listen.count; i++)
                check_one_address(report, report->settings->listen.items[i]);
}

static void check_descriptors(struct report *report)
{
        struct rlimit limit;
        char text[100];

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        snprintf(text, sizeof text, "%llu are allowed, %llu connections may come", (unsigned long long)limit.rlim_max,
                 (unsigned long long)report->settings->max_connections);
        if (limit.rlim_max / 2 < report->settings->max_connections)
                wrong(report, "open files", text, "raise the limit (ulimit -Hn, LimitNOFILE=), or lower --max-connections");
        else
                good("open files", text);
}

/* --- Certificate ------------------------------------------------------------------------------------------------------ */

static void check_end(struct report *report, const X509 *certificate, const char *mend)
{
        int64_t left_days = (certificate_until(certificate) - (int64_t)time(NULL)) / DAY_S;
        char text[64];

        snprintf(text, sizeof text, "ends in %lld days", (long long)left_days);
        if (left_days < 14)
                wrong(report, "certificate", text, mend);
        else
                good("certificate", text);
}

static RESULT load_files(const struct settings *settings, X509 **ret_certificate, struct err *e)
{
        _cleanup_(buf_fini) struct buf chain = BUF_INIT(AUTHORITY_PEM_MAX), key = BUF_INIT(AUTHORITY_PEM_MAX);
        _cleanup_(tls_freep) struct tls *tls = NULL;

        TRY(fs_read_file(settings->tls_cert, &chain, e));
        TRY(fs_read_file(settings->tls_key, &key, e));
        TRY(tls_new(&tls, e));
        TRY(tls_set_certificate(tls, buf_slice(&chain), buf_slice(&key), e));
        return certificate_read(buf_slice(&chain), ret_certificate, e);
}

static void check_files(struct report *report)
{
        _cleanup_(X509_freep) X509 *certificate = NULL;
        struct err e = ERR_INIT;

        if (load_files(report->settings, &certificate, &e).ok)
                check_end(report, certificate, "renew it; the running registry takes the new files by itself");
        else
                wrong(report, "certificate", e.message,
                      "--tls-cert is a PEM certificate with its chain, --tls-key its key without a password");
}

static void check_authority(struct report *report)
{
        char folder[PATH_MAX];
        struct err e = ERR_INIT;

        if (!report->folder_exists)
                return;
        snprintf(folder, sizeof folder, "%s/tls", report->settings->data);
        if (authority_check(folder, &e).ok)
                good("authority", folder);
        else if (e.code == ERR_NOT_FOUND)
                good("authority", "is not there yet; the first start makes it");
        else
                wrong(report, "authority", e.message, "bring its files back from a copy, or let a new one be made as said");
}

static void check_certificate(struct report *report)
{
        switch ((enum tls_source)report->settings->tls) {
        case TLS_SOURCE_AUTO:
                check_authority(report);
                return;
        case TLS_SOURCE_FILES:
                check_files(report);
                return;
        case TLS_SOURCE_OFF:
                good("certificate", "none (--tls off)");
                return;
        }
}

/* --- Store ------------------------------------------------------------------------------------------------------------ */

static RESULT print_finding(void *arg, const char *kind, const json_t *line, struct err *e)
{
        struct report *report = arg;
        const char *repository = store_text(line, "repository");
        char name[512], text[160];

        (void)e;
        snprintf(name, sizeof name, "%s %s%s%s", store_text(line, "what"), repository, *repository ? " " : "", store_text(line, "name"));
        if (strcmp(kind, "finding") == 0 && json_is_true(json_object_get(line, "mended")))
                fprintf(lines, "mended %s: %s: %s\n", name, store_text(line, "wrong"), store_text(line, "mend"));
        else if (strcmp(kind, "finding") == 0)
                wrong(report, name, store_text(line, "wrong"), store_text(line, "mend"));
        if (strcmp(kind, "total") != 0)
                return OK;
        snprintf(text, sizeof text, "%llu blobs, %llu files, %llu manifests were looked at",
                 (unsigned long long)store_number(line, "blobs"),
                 (unsigned long long)store_number(line, "files"), (unsigned long long)store_number(line, "manifests"));
        good("store", text);
        return OK;
}

/* By the registry that runs, or here: then without the lock that was held so far. */
static void check_content(struct report *report)
{
        struct operation_request request = OPERATION_REQUEST_INIT;
        struct err e = ERR_INIT;
        int status = 0;

        good("database", "is whole");
        cleanup_fd(&report->lock_fd);
        report->lock_fd = -1;
        request.name = S("check");
        request.repair = command_option(report->in, "repair");
        request.bytes = command_option(report->in, "bytes");
        if (!store_ask(report->in, &request, print_finding, report, &status, &e).ok)
                wrong(report, "store", e.message, "look at the registry's log; with the registry stopped, run orlop check again");
        else if (status && !report->wrong)
                report->wrong = 1;      /* with --json the findings were printed, not counted */
}

static void check_store(struct report *report)
{
        struct err e = ERR_INIT;

        if (!report->folder_exists)
                return;
        if (meta_sqlite_check(report->settings->data, &e).ok)
                check_content(report);
        else if (e.code == ERR_NOT_FOUND)
                good("database", "is not there yet; the first start makes it");
        else
                wrong(report, "database", e.message,
                      e.code == ERR_UNSUPPORTED ? "use the newer program" : "stop the registry, then: orlop rebuild");
}

/* --- Command ---------------------------------------------------------------------------------------------------------- */

static void check_all(struct report *report)
{
        good("settings", *report->settings->config ? report->settings->config : "no file");
        check_folder(report);
        check_running(report);
        check_descriptors(report);
        check_addresses(report);
        check_certificate(report);
        check_store(report);
        cleanup_fd(&report->lock_fd);
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        struct report report = { .in = in, .lock_fd = -1 };

        lines = command_option(in, "json") ? stderr : stdout;
        if (settings_load(&in->settings, &settings, e).ok) {
                report.settings = settings;
                check_all(&report);
        } else {
                wrong(&report, "settings", e->message, "correct it there; orlop help serve tells what is allowed");
        }
        if (report.wrong)
                fprintf(lines, "%u %s wrong\n", report.wrong, report.wrong == 1 ? "thing is" : "things are");
        *ret_status = report.wrong ? 1 : 0;
        return OK;
}

const struct command command_check = {
        .name = "check",
        .arguments = "",
        .sentence = "Tell what is wrong with configuration and store, and the mend.",
        .text = "Reads the configuration as orlop serve would, and looks at all that it needs: the data folder, the addresses, the "
                "certificate, the limit on open files, the store: the database's own consistency, rows without files, files without "
                "rows, sizes, manifests whose parts are missing. A line for what was looked at, and for what is wrong the mend. The "
                "registry may run meanwhile. Exit status 0: all is good. 1: something is wrong.\n\n"
                "It changes nothing, unless --repair wants it to. Nothing is deleted then: files that nobody knows move to "
                "lost+found/ in the data folder.",
        .options = {
                { "bytes", NULL, "Read all that is stored, and compare it with its digest." },
                { "repair", NULL, "Mend what can be mended." },
                { "json", NULL, "What the store's check finds as a JSON object on each line, for scripts." },
        },
        .takes_settings = true,
        .run = run,
};
