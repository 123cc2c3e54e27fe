/* orlop backup, orlop restore. */
#include "transfer/backup.h"

#include "base/fs.h"
#include "cli/command.h"
#include "cli/process.h"
#include "cli/progress.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* --- Whose it is ------------------------------------------------------------------------------------------------------ */

static bool is_empty(const char *path)
{
        DIR *dir = opendir(path);
        struct dirent *entry;
        bool empty = dir;

        while (dir && (entry = readdir(dir)))
                empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                                  strcmp(entry->d_name, "lost+found") == 0);
        if (dir)
                closedir(dir);
        return empty;
}

/* The copy belongs to whom the store belongs to: root makes the folder for that user, and goes on as that user. */
static RESULT become_owner(const char *from, const char *to, struct err *e)
{
        struct stat st;
        bool changed;

        umask(077);
        if (stat(from, &st) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open folder %s", from);
        TRY(fs_mkdir(to, 0700, e));
        if (geteuid() == 0 && is_empty(to) && chown(to, st.st_uid, st.st_gid) < 0)
                return FAIL(e, ERR_IO, errno, "give %s to the owner of %s", to, from);
        return process_become_owner_of(from, &changed, e);
}

/* --- What was done ---------------------------------------------------------------------------------------------------- */

static void put_count(struct buf *b, const struct backup_count *count, const char *how)
{
        if (count->files)
                buf_printf(b, "%s%llu %s (%s)", b->n ? ", " : "", (unsigned long long)count->files, how, size_text(count->bytes).s);
}

static RESULT print_report(const struct backup *backup, const struct backup_report *report, struct err *e)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(16 * 1024), files = BUF_INIT(1024);
        struct backup_count swept = { report->swept.files, report->swept.bytes };

        put_count(&files, &report->ways[COPY_KEPT], "were there");
        put_count(&files, &report->ways[COPY_CLONED], "shared");
        put_count(&files, &report->ways[COPY_LINKED], "linked");
        put_count(&files, &report->ways[COPY_WRITTEN], "copied");
        put_count(&files, &swept, "removed");
        buf_printf(&b, "%s%s: %llu repositories, %llu manifests, %llu files (%s)\n", backup->to,
                   backup->kind == BACKUP_RESTORE ? " is restored" : "", (unsigned long long)report->totals.repositories,
                   (unsigned long long)report->totals.manifests, (unsigned long long)report->totals.objects,
                   size_text(report->totals.object_bytes).s);
        if (files.n)
                buf_printf(&b, "files: %s\n", buf_cstr(&files));
        if (backup->verify)
                buf_put(&b, report->damaged ? S("all bytes were read; the damaged blobs were named\n")
                                            : S("all bytes were read and are those of their digests\n"));
        return command_print(&b, e);
}

static RESULT run_job(struct backup *backup, int *ret_status, struct err *e)
{
        struct progress_line line = PROGRESS_LINE_INIT;
        struct backup_report report;
        struct result result;

        TRY(become_owner(backup->from, backup->to, e));
        backup->progress = progress_line(&line);
        result = backup_run(backup, &report, e);
        progress_line_end(&line);
        TRY(result);
        TRY(print_report(backup, &report, e));
        if (report.damaged)
                return FAIL(e, ERR_CORRUPT, 0, "%llu %s damaged in %s and could not be copied", (unsigned long long)report.damaged,
                            report.damaged == 1 ? "blob is" : "blobs are", backup->from);
        *ret_status = 0;
        return OK;
}

static RESULT run_backup(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        struct backup backup = { .kind = BACKUP_TAKE };

        if (in->argument_count != 1)
                return FAIL(e, ERR_INVALID, 0, "where to? The usage is: orlop backup DIR");
        TRY(settings_load(&in->settings, &settings, e));
        backup.from = settings->data;
        backup.to = in->arguments[0];
        backup.verify = command_option(in, "verify");
        backup.force = command_option(in, "force");
        return run_job(&backup, ret_status, e);
}

static RESULT run_restore(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        struct backup backup = { .kind = BACKUP_RESTORE, .verify = true };

        if (in->argument_count != 1)
                return FAIL(e, ERR_INVALID, 0, "from where? The usage is: orlop restore DIR --data NEW");
        TRY(settings_load(&in->settings, &settings, e));
        backup.from = in->arguments[0];
        backup.to = settings->data;
        return run_job(&backup, ret_status, e);
}

const struct command command_backup = {
        .name = "backup",
        .arguments = "DIR",
        .sentence = "Copy the registry, running or not, to a folder.",
        .text = "Copies all that the registry keeps, as of one moment, to the folder DIR, which is made where it is missing. The "
                "registry may run, and nobody waits for the backup. DIR becomes a data folder like any other: orlop serve --data DIR "
                "serves what is in it.\n\n"
                "Run again with the same DIR, only what is new is copied, and what is gone is removed once the new state is complete. "
                "Until then DIR is the older backup. A backup that was interrupted goes on where it was.\n\n"
                "Where DIR is on the same file system, files are shared (reflink) or get a second name (hard link), which costs no "
                "space and no time: that helps against mistakes, not against a broken disk.",
        .options = {
                { "verify", NULL, "Read every byte in DIR again and hold it against its digest; what is damaged is copied again." },
                { "force", NULL, "Replace the backup even if something was pushed to it meanwhile." },
        },
        .arguments_max = 1,
        .takes_settings = true,
        .run = run_backup,
};

const struct command command_restore = {
        .name = "restore",
        .arguments = "DIR",
        .sentence = "Make a data folder from a backup.",
        .text = "Copies the backup in DIR to a new data folder (--data), which must be missing or empty. Every byte is read and held "
                "against its digest on the way. A restore that was interrupted goes on when it is run again.",
        .arguments_max = 1,
        .takes_settings = true,
        .run = run_restore,
};
