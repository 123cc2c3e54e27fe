#include "transfer/backup.h"

#include "base/fs.h"
#include "store/blob/hold.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MARKER_MAX = 4096, TLS_FILE_MAX = 256 * 1024 };

#define MARKER_TEXT "This folder is a backup of an Orlop registry. The next backup replaces what is in it.\n"
#define MARKER_KEY "changed_us "

struct job {
        const struct backup *backup;
        struct backup_report report;
        struct copy *copy;              /* owned, like all below */
        struct snapshot *snapshot;
        uint64_t done_bytes;
        int lock_fd, hold_fd;
        bool replaces;                  /* there is an older state */
};

struct name {
        char s[PATH_MAX];
};

static struct name name_in(const char *folder, const char *name)
{
        struct name path;

        CHECK(snprintf(path.s, sizeof path.s, "%s/%s", folder, name) < (int)sizeof path.s);      /* check_paths() */
        return path;
}

static struct name target(const struct job *job, const char *name)
{
        return name_in(job->backup->to, name);
}

/* --- May it be done? -------------------------------------------------------------------------------------------------- */

static RESULT check_paths(const struct backup *backup, struct err *e)
{
        struct stat from, to;

        if (strlen(backup->from) > PATH_MAX - 512 || strlen(backup->to) > PATH_MAX - 512)
                return FAIL(e, ERR_INVALID, 0, "the path of a folder is too long");
        if (access(name_in(backup->from, "orlop.db").s, F_OK) < 0) {
                if (errno != ENOENT && errno != ENOTDIR)
                        return FAIL(e, ERR_IO, errno, "look at %s/orlop.db", backup->from);
                if (access(name_in(backup->from, "orlop.db.partial").s, F_OK) == 0)
                        return FAIL(e, ERR_NOT_FOUND, 0, "the backup in %s was never finished", backup->from);
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no registry in the folder %s", backup->from);
        }
        if (stat(backup->from, &from) == 0 && stat(backup->to, &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
                return FAIL(e, ERR_INVALID, 0, "source and target are the same folder");
        return OK;
}

/* What an interrupted run leaves, and what a mounted file system has. */
static bool is_known(const char *name)
{
        static const char *const names[] = { ".", "..", "lock", "orlop.db.partial", "orlop.db.partial-journal", "orlop.db.partial-wal",
                                             "orlop.db.partial-shm", "blobs", "uploads", "tls", "backup", "lost+found" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return false;
}

struct content {
        bool database, partial, marker;
        char stranger[NAME_MAX + 1], any[NAME_MAX + 1];
};

static RESULT look_into(const char *path, struct content *ret_content, struct err *e)
{
        struct content content = { .database = false };
        DIR *dir = opendir(path);
        struct dirent *entry;

        if (!dir)
                return FAIL(e, ERR_IO, errno, "read folder %s", path);
        while ((entry = readdir(dir))) {
                const char *name = entry->d_name;

                content.database = content.database || strcmp(name, "orlop.db") == 0;
                content.partial = content.partial || strcmp(name, "orlop.db.partial") == 0;
                content.marker = content.marker || strcmp(name, "backup") == 0;
                if (!is_known(name))
                        snprintf(content.stranger, sizeof content.stranger, "%s", name);
                if (name[0] != '.' && strcmp(name, "lost+found") != 0)
                        snprintf(content.any, sizeof content.any, "%s", name);
        }
        closedir(dir);
        *ret_content = content;
        return OK;
}

static RESULT check_target(struct job *job, struct err *e)
{
        const char *to = job->backup->to;
        struct content content;

        TRY(look_into(to, &content, e));
        if (job->backup->kind == BACKUP_RESTORE) {
                if (content.database || (*content.any && !content.partial) || content.marker)
                        return FAIL(e, ERR_EXISTS, 0, "the folder %s is not empty (it holds %s): restore into a new one", to,
                                    content.database ? "orlop.db" : content.any);
                return OK;
        }
        if (content.database && !content.marker)
                return FAIL(e, ERR_EXISTS, 0, "the folder %s holds a registry of its own, no backup: give another folder", to);
        if (!content.database && *content.stranger)
                return FAIL(e, ERR_EXISTS, 0, "the folder %s holds something else (%s): give a folder that is new or empty", to,
                            content.stranger);
        job->replaces = content.database;
        return OK;
}

/* --- The older state -------------------------------------------------------------------------------------------------- */

static RESULT read_marker(const char *path, int64_t *ret_changed_us, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(MARKER_MAX);
        struct slice rest, line;
        uint64_t number;

        TRY(fs_read_file(path, &text, e));
        rest = buf_slice(&text);
        while (slice_cut(&rest, '\n', &line)) {
                if (!slice_starts(line, S(MARKER_KEY)) || !slice_to_u64(slice_skip(line, strlen(MARKER_KEY)), &number))
                        continue;
                *ret_changed_us = (int64_t)number;
                return OK;
        }
        return FAIL(e, ERR_CORRUPT, 0, "%s is not what a backup wrote there", path);
}

static RESULT write_marker(struct job *job, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(MARKER_MAX);
        int64_t changed_us;

        TRY(snapshot_changed_us(job->snapshot, &changed_us, e));
        buf_printf(&text, MARKER_TEXT MARKER_KEY "%lld\n", (long long)changed_us);
        return fs_publish_file(target(job, "backup").s, buf_slice(&text), 0644, e);
}

/* Somebody may have served the backup. What was pushed there would be lost now. */
static RESULT check_older_state(struct job *job, struct err *e)
{
        _cleanup_(snapshot_closep) struct snapshot *older = NULL;
        struct name database = target(job, "orlop.db");
        int64_t now_us, then_us;

        if (!job->replaces || job->backup->force)
                return OK;
        TRY(read_marker(target(job, "backup").s, &then_us, e));
        TRY(snapshot_open(database.s, &older, e));
        TRY(snapshot_changed_us(older, &now_us, e));
        if (now_us > then_us)
                return FAIL(e, ERR_EXISTS, 0, "something was pushed to the registry in %s since it was a backup: give another folder, or "
                                              "--force to replace it", job->backup->to);
        return OK;
}

/* The log of a database must not meet another database under its name. */
static RESULT settle_older_state(struct job *job, struct err *e)
{
        struct name log = target(job, "orlop.db-wal");

        if (!job->replaces || access(log.s, F_OK) < 0)
                return OK;
        if (!snapshot_settle(target(job, "orlop.db").s, e).ok && !job->backup->force)
                return FAILED;
        TRY(fs_remove(log.s, e));
        return fs_remove(target(job, "orlop.db-shm").s, e);
}

/* --- The new state ---------------------------------------------------------------------------------------------------- */

static void tell_database(void *arg, uint64_t done, uint64_t total)
{
        struct job *job = arg;

        progress_tell(&job->backup->progress, "database", done * 4096, total * 4096);
}

static RESULT take_database(struct job *job, struct err *e)
{
        struct name partial = target(job, "orlop.db.partial");

        TRY(snapshot_take(name_in(job->backup->from, "orlop.db").s, partial.s, tell_database, job, e));
        TRY(fs_sync_dir(job->backup->to, e));
        TRY(snapshot_open(partial.s, &job->snapshot, e));
        if (job->backup->verify)
                TRY(snapshot_verify(job->snapshot, e));
        return snapshot_totals(job->snapshot, &job->report.totals, e);
}

/* A file that is missing or damaged in the source is told; what else there is counts the more. */
static RESULT take_object(void *arg, const struct digest *digest, const struct upload_id *id, uint64_t size, struct err *e)
{
        struct job *job = arg;
        struct copy_item item = { .digest = *digest, .id = *id, .size = size };
        enum copy_way way;

        if (copy_object(job->copy, &item, job->backup->verify, &way, e).ok) {
                job->report.ways[way].files++;
                job->report.ways[way].bytes += size;
        } else if (e->code == ERR_NOT_FOUND || e->code == ERR_CORRUPT) {
                job->report.damaged++;
                progress_complain(&job->backup->progress, e->message);
        } else {
                return FAILED;
        }
        job->done_bytes += size;
        progress_tell(&job->backup->progress, "blobs", job->done_bytes, job->report.totals.object_bytes);
        return OK;
}

static RESULT take_objects(struct job *job, struct err *e)
{
        TRY(copy_open(job->backup->from, job->backup->to, &job->copy, e));
        TRY(snapshot_objects(job->snapshot, take_object, job, e));
        return copy_sync(job->copy, e);
}

static RESULT take_tls_file(struct job *job, const char *name, struct err *e)
{
        _cleanup_(buf_fini) struct buf bytes = BUF_INIT(TLS_FILE_MAX);
        struct name from_folder = name_in(job->backup->from, "tls"), to_folder = target(job, "tls");
        char from[PATH_MAX + NAME_MAX + 2], to[PATH_MAX + NAME_MAX + 2];
        struct stat st;

        snprintf(from, sizeof from, "%s/%s", from_folder.s, name);
        snprintf(to, sizeof to, "%s/%s", to_folder.s, name);
        if (lstat(from, &st) < 0 || !S_ISREG(st.st_mode))
                return OK;
        TRY(fs_read_file(from, &bytes, e));
        return fs_publish_file(to, buf_slice(&bytes), st.st_mode & 0777, e);
}

/* Clients trust the authority: a registry that comes back has the same. */
static RESULT take_tls(struct job *job, struct err *e)
{
        struct name from = name_in(job->backup->from, "tls");
        DIR *dir = opendir(from.s);
        struct result result;
        struct dirent *entry;

        if (!dir)
                return errno == ENOENT ? OK : FAIL(e, ERR_IO, errno, "read folder %s", from.s);
        result = fs_mkdir(target(job, "tls").s, 0700, e);
        while (result.ok && (entry = readdir(dir)))
                if (!slice_ends(slice_from(entry->d_name), S(".tmp")))
                        result = take_tls_file(job, entry->d_name, e);
        closedir(dir);
        return result;
}

/* All that the new database names is on stable storage: it takes its place. */
static RESULT publish(struct job *job, struct err *e)
{
        if (job->backup->kind == BACKUP_TAKE)
                TRY(write_marker(job, e));
        TRY(settle_older_state(job, e));
        TRY(fs_rename(target(job, "orlop.db.partial").s, target(job, "orlop.db").s, e));
        return fs_sync_dir(job->backup->to, e);
}

static RESULT is_wanted(void *arg, const struct copy_item *item, bool *ret_wanted, struct err *e)
{
        struct job *job = arg;

        return snapshot_has(job->snapshot, &item->digest, &item->id, ret_wanted, e);
}

/* Of what interrupted runs and the older state have left. Somebody may be restoring the older state right now: then another time. */
static RESULT clean(struct job *job, struct err *e)
{
        _cleanup_fd_ int fd = -1;

        if (!hold_begin_removal(job->backup->to, &fd, e).ok)
                return e->code == ERR_BUSY ? OK : FAILED;
        return copy_sweep(job->backup->to, is_wanted, job, &job->report.swept, e);
}

/* --- All of it -------------------------------------------------------------------------------------------------------- */

static void job_fini(struct job *job)
{
        copy_free(job->copy);
        snapshot_close(job->snapshot);
        cleanup_fd(&job->hold_fd);
        cleanup_fd(&job->lock_fd);
}

RESULT backup_run(const struct backup *backup, struct backup_report *ret_report, struct err *e)
{
        _cleanup_(job_fini) struct job job = { .backup = backup, .lock_fd = -1, .hold_fd = -1 };

        TRY(check_paths(backup, e));
        TRY(fs_mkdir(backup->to, 0700, e));
        TRY(check_target(&job, e));
        TRY(fs_lock(target(&job, "lock").s, &job.lock_fd, e));
        TRY(check_older_state(&job, e));
        TRY(hold_objects(backup->from, &job.hold_fd, e));
        TRY(take_database(&job, e));
        TRY(take_objects(&job, e));
        TRY(take_tls(&job, e));
        TRY(publish(&job, e));
        TRY(clean(&job, e));
        *ret_report = job.report;
        return OK;
}
