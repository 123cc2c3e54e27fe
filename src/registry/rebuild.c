#include "registry/rebuild.h"

#include "base/clock.h"
#include "base/fs.h"
#include "registry/internal.h"
#include "store/blob/survey.h"
#include "store/meta/adopt.h"
#include "store/meta/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { ARENA_BYTES = 96 * 1024 * 1024, PIECE_BYTES = 256 * 1024 };
/* SQLite's file format, "The Write-Ahead Log". */
enum { LOG_HEADER_BYTES = 32, LOG_SUMMED_BYTES = 24, LOG_MAGIC = 0x377f0682, LOG_MAGIC_BIG_ENDIAN = 0x377f0683 };

struct file {
        char path[PATH_MAX];
};

struct work {
        const char *data_dir;
        struct rebuild *rebuild;
        struct registry *registry;      /* owned */
        struct arena arena;
        uint64_t unknown_files;
        bool log_is_spoiled;
        bool aside;                     /* a new database is made, beside the one that is there */
};

static struct file file_of(const char *data_dir, const char *name)
{
        struct file file;

        CHECK(snprintf(file.path, sizeof file.path, "%s/%s", data_dir, name) < (int)sizeof file.path);
        return file;
}

static bool is_there(const char *data_dir, const char *name)
{
        struct file file = file_of(data_dir, name);

        return access(file.path, F_OK) == 0;
}

/* --- How it was found --------------------------------------------------------------------------------------------------- */

static RESULT must_be_a_store(const char *data_dir, struct err *e)
{
        if (strlen(data_dir) > PATH_MAX - 256)
                return FAIL(e, ERR_INVALID, 0, "the path of the data folder is too long");
        if (is_there(data_dir, "orlop.db") || is_there(data_dir, "orlop.db.copy") || is_there(data_dir, "orlop.db.rebuilt"))
                return OK;
        if (is_there(data_dir, "orlop.db.partial"))
                return FAIL(e, ERR_EXISTS, 0, "%s is a backup or a restore that was not finished: run it again", data_dir);
        if (is_there(data_dir, "blobs"))
                return OK;
        return FAIL(e, ERR_NOT_FOUND, 0, "there is no store in %s (give its folder with --data)", data_dir);
}

static uint32_t word_at(const unsigned char *p, bool big_endian)
{
        return big_endian ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] :
                            (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* The magic tells in which order the bytes of the words are that are summed up. */
static bool is_log_header(const unsigned char header[static LOG_HEADER_BYTES])
{
        uint32_t magic = word_at(header, true), sum = 0, other_sum = 0;

        if (magic != LOG_MAGIC && magic != LOG_MAGIC_BIG_ENDIAN)
                return false;
        for (size_t i = 0; i < LOG_SUMMED_BYTES; i += 8) {
                sum += word_at(header + i, magic == LOG_MAGIC_BIG_ENDIAN) + other_sum;
                other_sum += word_at(header + i + 4, magic == LOG_MAGIC_BIG_ENDIAN) + sum;
        }
        return word_at(header + LOG_SUMMED_BYTES, true) == sum && word_at(header + LOG_SUMMED_BYTES + 4, true) == other_sum;
}

/* A log that SQLite would take for none and throw away. */
static bool log_is_spoiled(const char *data_dir)
{
        struct file log = file_of(data_dir, "orlop.db-wal");
        _cleanup_fd_ int fd = open(log.path, O_RDONLY | O_CLOEXEC);
        unsigned char header[LOG_HEADER_BYTES];
        struct err unused;
        size_t n = 0;

        return fd >= 0 && fs_read_at(fd, 0, header, sizeof header, &n, log.path, &unused).ok && n > 0 &&
               (n < sizeof header || !is_log_header(header));
}

static RESULT verify(const char *path, struct err *e)
{
        _cleanup_(snapshot_closep) struct snapshot *snapshot = NULL;

        TRY(snapshot_open(path, &snapshot, e));
        return snapshot_verify(snapshot, e);
}

static RESULT look_at_database(struct work *work, struct err *e)
{
        struct rebuild *rebuild = work->rebuild;
        struct file database = file_of(work->data_dir, "orlop.db"), copy = file_of(work->data_dir, "orlop.db.copy");
        struct stat st;

        TRY(rebuild->check.progress(rebuild->check.arg, "looking at the database", 0, 0, e));
        if (stat(copy.path, &st) == 0)
                rebuild->copied_us = (int64_t)st.st_mtim.tv_sec * 1000000;
        work->log_is_spoiled = log_is_spoiled(work->data_dir);
        if (work->log_is_spoiled) {
                snprintf(rebuild->damage, sizeof rebuild->damage, "the database's log is damaged");
                return OK;
        }
        rebuild->was_whole = verify(database.path, e).ok;
        if (rebuild->was_whole)
                return OK;
        if (e->code == ERR_UNSUPPORTED || e->code == ERR_NOMEM || e->code == ERR_TIMEOUT)
                return FAILED;
        snprintf(rebuild->damage, sizeof rebuild->damage, "%.199s", e->code == ERR_NOT_FOUND ? "the database is missing" : e->message);
        return OK;
}

/* --- 1. A new database ------------------------------------------------------------------------------------------------ */

static void tell_rows(void *arg, uint64_t done, uint64_t total)
{
        struct work *work = arg;
        struct err unused;

        IGNORE(work->rebuild->check.progress(work->rebuild->check.arg, "rows", done, total, &unused));  /* the next step's fails, too */
}

static RESULT tell_lost(void *arg, const struct salvage_lost *lost, struct err *e)
{
        struct work *work = arg;

        return work->rebuild->lost(work->rebuild->check.arg, lost, e);
}

static RESULT salvage(struct work *work, struct err *e)
{
        struct file from = file_of(work->data_dir, "orlop.db"), copy = file_of(work->data_dir, "orlop.db.copy");
        struct file to = file_of(work->data_dir, "orlop.db.rebuilding");
        struct file mending = file_of(work->data_dir, "orlop.db.mending"), copy_mending = file_of(work->data_dir, "orlop.db.copy.mending");
        struct salvage salvage = { .from = { from.path, copy.path }, .mending = { mending.path, copy_mending.path }, .to = to.path,
                                   .original_is_stale = work->log_is_spoiled, .lost = tell_lost, .progress = tell_rows, .arg = work };

        TRY(salvage_run(&salvage, e));
        memcpy(work->rebuild->sources, salvage.sources, sizeof salvage.sources);
        return OK;
}

/* --- 2. What names what ------------------------------------------------------------------------------------------------- */

static RESULT link_parts(struct work *work, const struct meta_manifest *manifest, struct slice repository, struct err *e)
{
        struct meta_part *parts;
        size_t count, absent;

        if (!registry_parts_of(manifest, &work->arena, &parts, &count, e).ok)
                return e->code == ERR_MANIFEST_INVALID ? OK : FAILED;   /* the check tells */
        return meta_parts_link(work->registry->meta, repository, &manifest->digest, parts, count, &absent, e);
}

static RESULT link_all(struct work *work, struct err *e)
{
        struct check *check = &work->rebuild->check;
        struct meta_manifest manifest;
        struct slice repository;
        int64_t last = 0;

        for (uint64_t count = 1;; count++) {
                arena_reset(&work->arena);
                if (!meta_manifest_next(work->registry->meta, last, &work->arena, &last, &repository, &manifest, e).ok)
                        return e->code == ERR_NOT_FOUND ? OK : FAILED;
                TRY(link_parts(work, &manifest, repository, e));
                TRY(check->progress(check->arg, "manifests' parts", count, 0, e));
        }
}

/* --- 3. Files that no row knows --------------------------------------------------------------------------------------- */

/* Would these bytes be of use, or has the digest good ones already? */
static RESULT is_wanted(struct work *work, const struct digest *digest, bool *ret_wanted, struct err *e)
{
        struct meta_blob blob;

        *ret_wanted = true;
        if (!meta_blob_find(work->registry->meta, digest, &blob, e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        *ret_wanted = blob.damaged || !registry_blob_has_file(work->registry, &blob);
        return OK;
}

static RESULT adopt(struct work *work, const struct survey_file *file, const struct digest *digest, struct err *e)
{
        bool is_new;

        TRY(meta_blob_adopt(work->registry->meta, digest, &file->id, file->size, &is_new, e));
        work->rebuild->mended += !is_new;
        work->rebuild->unnamed += is_new;
        work->rebuild->unnamed_bytes += is_new ? file->size : 0;
        return OK;
}

static RESULT look_at_object(struct work *work, const struct survey_file *file, struct err *e)
{
        struct meta_blob blob = { .digest = file->digest, .id = file->id, .size = file->size };
        struct scrub_found found;
        bool known, wanted;

        TRY(meta_object_known(work->registry->meta, &file->digest, &file->id, &known, e));
        if (known)
                return OK;
        TRY(is_wanted(work, &file->digest, &wanted, e));
        if (!wanted)
                return OK;
        TRY(registry_blob_read(work->registry, &blob, &work->rebuild->check.pace, &found, e));
        return found.verdict == SCRUB_GOOD ? adopt(work, file, &file->digest, e) : OK;
}

static RESULT hash_upload(struct work *work, struct blob_upload *upload, struct digest *ret_digest, struct err *e)
{
        const struct scrub_pace *pace = &work->rebuild->check.pace;
        _cleanup_free_ char *piece = malloc(PIECE_BYTES);
        uint64_t at = 0;
        struct sha sha;
        size_t n;

        if (!piece)
                return FAIL(e, ERR_NOMEM, ENOMEM, "read an upload again");
        sha_init(&sha, SHA_256);
        do {
                TRY(blob_upload_read(upload, at, piece, PIECE_BYTES, &n, e));
                sha_update(&sha, piece, n);
                at += n;
                if (!pace->go_on(pace->arg, n))
                        return FAIL(e, ERR_CLOSED, 0, "the reading was ended");
        } while (n);
        digest_of_sha(&sha, ret_digest);
        return OK;
}

/* A blob whose rename was not on the disk yet, or an upload that nobody will go on with: the digest tells. */
static RESULT look_at_upload(struct work *work, const struct survey_file *file, struct err *e)
{
        _cleanup_(blob_upload_freep) struct blob_upload *upload = NULL;
        struct digest digest;
        struct meta_blob blob;
        bool known, wanted;

        TRY(meta_upload_exists(work->registry->meta, &file->id, &known, e));
        if (known || meta_blob_of_upload(work->registry->meta, &file->id, &digest, e).ok)
                return OK;
        if (!blob_upload_open(work->registry->blobs, &file->id, &upload, e).ok || !hash_upload(work, upload, &digest, e).ok)
                return e->code == ERR_IO ? OK : FAILED;         /* the disk cannot read it */
        if (!meta_blob_find(work->registry->meta, &digest, &blob, e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        TRY(is_wanted(work, &digest, &wanted, e));
        if (!wanted)
                return OK;
        if (!work->rebuild->dry_run) {
                TRY(blob_upload_sync(upload, e));
                TRY(blob_upload_publish(upload, &digest, e));
        }
        return adopt(work, file, &digest, e);
}

static RESULT look_at_unknown(void *arg, const struct survey_file *file, struct err *e)
{
        struct work *work = arg;
        struct check *check = &work->rebuild->check;

        TRY(check->progress(check->arg, "unknown files", ++work->unknown_files, 0, e));
        if (file->is_object)
                return look_at_object(work, file, e);
        return file->is_upload ? look_at_upload(work, file, e) : OK;
}

static RESULT forget_unnamed(struct work *work, struct err *e)
{
        struct meta_stored stored = { 0 };
        bool ignored;

        for (;;) {
                arena_reset(&work->arena);
                if (!meta_stored_next(work->registry->meta, stored.id, &work->arena, &stored, e).ok)
                        return e->code == ERR_NOT_FOUND ? OK : FAILED;
                if (!registry_blob_has_file(work->registry, &stored.blob))
                        TRY(meta_blob_forget(work->registry->meta, &stored.blob.digest, &ignored, e));
        }
}

/* --- 4. and all before it, in one database ------------------------------------------------------------------------------ */

static RESULT mend(struct work *work, struct err *e)
{
        struct check *check = &work->rebuild->check;

        TRY(link_all(work, e));
        TRY(survey_each(work->registry->blobs, look_at_unknown, work, e));
        TRY(forget_unnamed(work, e));
        TRY(meta_blobs_queue(work->registry->meta, e));
        check->repair = check->images = true;
        check->keep_files = work->rebuild->dry_run;
        TRY(registry_check(work->registry, check, e));
        return meta_totals(work->registry->meta, &work->rebuild->totals, e);
}

static RESULT open_and_mend(struct work *work, struct err *e)
{
        struct file database = file_of(work->data_dir, work->aside ? "orlop.db.rebuilding" : "orlop.db");
        struct registry_config config = { .data_dir = work->data_dir, .database = database.path, .inspect = true };
        struct result result;

        TRY(registry_open(&config, &work->registry, e));
        result = mend(work, e);
        registry_free(TAKE_PTR(work->registry));
        return result;
}

/* --- 5. To its place -------------------------------------------------------------------------------------------------- */

static RESULT set_aside(struct work *work, struct blob_store *blobs, const char *name, const char *as, struct err *e)
{
        if (!survey_set_aside_as(blobs, slice_from(name), slice_from(as), e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        if (strcmp(name, "orlop.db") == 0)
                snprintf(work->rebuild->set_aside, sizeof work->rebuild->set_aside, "lost+found/%.50s", as);
        return OK;
}

/* Under one name, so that SQLite finds the log beside it. The new one comes last: before it nobody opens the store. */
static RESULT put_in_place(struct work *work, struct err *e)
{
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal", ".copy" };
        _cleanup_(blob_store_freep) struct blob_store *blobs = NULL;
        struct file from = file_of(work->data_dir, "orlop.db.rebuilt"), to = file_of(work->data_dir, "orlop.db");
        time_t now = time(NULL);
        char as[64], name[32];
        struct tm tm;

        gmtime_r(&now, &tm);
        TRY(blob_fs_open(work->data_dir, &blobs, e));
        for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
                snprintf(name, sizeof name, "orlop.db%s", suffixes[i]);
                strftime(as, sizeof as, "%Y%m%dT%H%M%SZ-orlop.db", &tm);
                snprintf(as + strlen(as), sizeof as - strlen(as), "%s", suffixes[i]);
                TRY(set_aside(work, blobs, name, as, e));
        }
        TRY(fs_sync_dir(work->data_dir, e));
        TRY(fs_rename(from.path, to.path, e));
        return fs_sync_dir(work->data_dir, e);
}

static RESULT finish(struct work *work, struct err *e)
{
        struct file rebuilding = file_of(work->data_dir, "orlop.db.rebuilding"), rebuilt = file_of(work->data_dir, "orlop.db.rebuilt");

        if (work->rebuild->dry_run)
                return snapshot_remove(rebuilding.path, e);
        TRY(snapshot_settle(rebuilding.path, e));
        TRY(verify(rebuilding.path, e));
        TRY(fs_rename(rebuilding.path, rebuilt.path, e));
        TRY(fs_sync_dir(work->data_dir, e));
        return put_in_place(work, e);
}

/* The old database is the first to go. While it is there nothing has gone, and it may have changed since: all begins anew. */
static RESULT finish_last_run(struct work *work, struct err *e)
{
        struct file rebuilt = file_of(work->data_dir, "orlop.db.rebuilt");

        if (!is_there(work->data_dir, "orlop.db.rebuilt"))
                return OK;
        if (work->rebuild->dry_run)
                return FAIL(e, ERR_EXISTS, 0, "the last rebuilding was interrupted near its end: run orlop rebuild without --dry-run");
        return is_there(work->data_dir, "orlop.db") ? snapshot_remove(rebuilt.path, e) : put_in_place(work, e);
}

/* Of this run or an older one. */
static RESULT remove_unfinished(const char *data_dir, struct err *e)
{
        static const char *const names[] = { "orlop.db.rebuilding", "orlop.db.mending", "orlop.db.copy.mending" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                struct file file = file_of(data_dir, names[i]);

                TRY(snapshot_remove(file.path, e));
        }
        return OK;
}

static RESULT run(struct work *work, struct err *e)
{
        TRY(must_be_a_store(work->data_dir, e));
        TRY(survey_may_set_aside(work->data_dir, e));
        TRY(remove_unfinished(work->data_dir, e));
        TRY(finish_last_run(work, e));
        TRY(look_at_database(work, e));
        work->aside = !work->rebuild->was_whole || work->rebuild->dry_run;
        if (work->aside)
                TRY(salvage(work, e));
        TRY(open_and_mend(work, e));
        return work->aside ? finish(work, e) : OK;
}

RESULT registry_rebuild(const char *data_dir, struct rebuild *rebuild, struct err *e)
{
        struct work work = { .data_dir = data_dir, .rebuild = rebuild, .arena = ARENA_INIT(ARENA_BYTES) };
        struct result result = run(&work, e);
        struct err unused;

        if (!result.ok && e->code != ERR_NOT_FOUND && e->code != ERR_INVALID)
                IGNORE(remove_unfinished(data_dir, &unused));   /* on a full disk it is in the way; the next run does it anyway */
        arena_fini(&work.arena);
        return result;
}
