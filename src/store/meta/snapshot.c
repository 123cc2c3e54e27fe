#include "store/meta/snapshot.h"

#include "base/fs.h"
#include "store/meta/internal.h"
#include "store/meta/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

enum { PAGES_PER_STEP = 1024 };

struct snapshot {
        struct db db;
};

static RESULT must_exist(const char *path, struct err *e)
{
        if (access(path, F_OK) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s", path);
        return OK;
}

/* --- Taking ----------------------------------------------------------------------------------------------------------- */

/* The source's read transaction is what makes all steps see one moment. */
static RESULT copy_pages(struct db *from, struct db *to, snapshot_progress_fn *progress, void *arg, struct err *e)
{
        sqlite3_backup *backup;
        int rc;

        TRY(db_script(from, "BEGIN; SELECT count(*) FROM sqlite_schema", e));
        backup = sqlite3_backup_init(to->handle, "main", from->handle, "main");
        if (!backup)
                return db_fail(to, "copy the database", e);
        do {
                int total;

                rc = sqlite3_backup_step(backup, PAGES_PER_STEP);
                total = sqlite3_backup_pagecount(backup);
                if (progress)
                        progress(arg, (uint64_t)(total - sqlite3_backup_remaining(backup)), (uint64_t)total);
        } while (rc == SQLITE_OK);
        sqlite3_backup_finish(backup);
        if (rc != SQLITE_DONE)
                return db_fail(to, "copy the database", e);
        return OK;
}

static RESULT drop_passing_rows(struct db *db, struct err *e)
{
        return db_script(db, "PRAGMA journal_mode = DELETE; DELETE FROM uploads; DELETE FROM object_trash", e);
}

static RESULT sync_file(const char *path, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "open %s", path);
        return fs_sync(fd, path, e);
}

RESULT snapshot_remove(const char *path, struct err *e)
{
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };

        for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
                _cleanup_free_ char *name = NULL;

                if (asprintf(&name, "%s%s", path, suffixes[i]) < 0) {
                        name = NULL;
                        return FAIL(e, ERR_NOMEM, ENOMEM, "replace %s", path);
                }
                TRY(fs_remove(name, e));
        }
        return OK;
}

RESULT snapshot_take(const char *from_path, const char *to_path, snapshot_progress_fn *progress, void *arg, struct err *e)
{
        _cleanup_(db_close) struct db from = { 0 }, to = { 0 };

        TRY(must_exist(from_path, e));
        TRY(db_open(from_path, DB_READER, &from, e));
        TRY(schema_check(&from, from_path, e));
        TRY(snapshot_remove(to_path, e));
        TRY(db_open(to_path, DB_BUILDER, &to, e));
        TRY(copy_pages(&from, &to, progress, arg, e));
        TRY(drop_passing_rows(&to, e));
        db_close(&to);
        return sync_file(to_path, e);
}

RESULT snapshot_settle(const char *path, struct err *e)
{
        _cleanup_(db_close) struct db db = { 0 };

        TRY(must_exist(path, e));
        TRY(db_open(path, DB_KEEPER, &db, e));
        TRY(db_script(&db, "PRAGMA journal_mode = DELETE", e));
        db_close(&db);
        return sync_file(path, e);
}

/* --- Reading ---------------------------------------------------------------------------------------------------------- */

RESULT snapshot_open(const char *path, struct snapshot **ret_snapshot, struct err *e)
{
        _cleanup_(snapshot_closep) struct snapshot *snapshot = calloc(1, sizeof *snapshot);

        if (!snapshot)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open %s", path);
        TRY(must_exist(path, e));
        TRY(db_open(path, DB_READER, &snapshot->db, e));
        TRY(schema_check(&snapshot->db, path, e));
        *ret_snapshot = TAKE_PTR(snapshot);
        return OK;
}

void snapshot_close(struct snapshot *snapshot)
{
        if (!snapshot)
                return;
        db_close(&snapshot->db);
        free(snapshot);
}

RESULT snapshot_changed_us(struct snapshot *snapshot, int64_t *ret_changed_us, struct err *e)
{
        int64_t manifests, tags;

        TRY(db_number(&snapshot->db, "SELECT coalesce(max(created_us), 0) FROM manifests", &manifests, e));
        TRY(db_number(&snapshot->db, "SELECT coalesce(max(updated_us), 0) FROM tags", &tags, e));
        *ret_changed_us = MAX(manifests, tags);
        return OK;
}

RESULT snapshot_totals(struct snapshot *snapshot, struct snapshot_totals *ret_totals, struct err *e)
{
        int64_t repositories, manifests, objects, bytes;
        struct db *db = &snapshot->db;

        TRY(db_number(db, "SELECT count(*) FROM repositories WHERE has_manifests = 1", &repositories, e));
        TRY(db_number(db, "SELECT count(*) FROM manifests", &manifests, e));
        TRY(db_number(db, "SELECT count(*) FROM blobs WHERE upload_id IS NOT NULL", &objects, e));
        TRY(db_number(db, "SELECT coalesce(sum(size), 0) FROM blobs WHERE upload_id IS NOT NULL", &bytes, e));
        *ret_totals = (struct snapshot_totals){ (uint64_t)repositories, (uint64_t)manifests, (uint64_t)objects, (uint64_t)bytes };
        return OK;
}

static RESULT tell_object(struct rows *rows, snapshot_object_fn fn, void *arg, struct err *e)
{
        struct digest digest;
        struct upload_id id;

        TRY(copy_digest(rows, 0, &digest, e));
        if (!upload_id_parse(rows_bytes(rows, 1), &id))
                return FAIL(e, ERR_CORRUPT, 0, "the database holds an object's name that is none");
        return fn(arg, &digest, &id, (uint64_t)rows_i64(rows, 2), e);
}

RESULT snapshot_objects(struct snapshot *snapshot, snapshot_object_fn fn, void *arg, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(&snapshot->db, SQL_OBJECTS, VALUES(V_I(0)), &rows, e));
        for (;;) {
                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                TRY(tell_object(&rows, fn, arg, e));
        }
}

RESULT snapshot_has(struct snapshot *snapshot, const struct digest *digest, const struct upload_id *id, bool *ret_has, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct slice name = { id->s, UPLOAD_ID_LENGTH };
        struct digest have;

        TRY(db_query(&snapshot->db, SQL_BLOB_OF_UPLOAD, VALUES(V_T(name)), &rows, e));
        TRY(rows_next(&rows, ret_has, e));
        if (!*ret_has)
                return OK;
        TRY(copy_digest(&rows, 0, &have, e));
        *ret_has = digest_eq(&have, digest);
        return OK;
}

/* --- Verifying -------------------------------------------------------------------------------------------------------- */

/* Rows of a digest and the bytes that it stands for. */
static RESULT verify_bytes(struct db *db, enum statement statement, const char *what, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(db, statement, VALUES(V_I(0)), &rows, e));
        for (;;) {
                struct digest want, have;

                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                TRY(copy_digest(&rows, 0, &want, e));
                digest_of_bytes(want.algorithm, rows_bytes(&rows, 1), &have);
                if (!digest_eq(&want, &have))
                        return FAIL(e, ERR_CORRUPT, 0, "the database's bytes of %s %s are not those of its digest", what,
                                    digest_format(&want).s);
        }
}

RESULT snapshot_verify(struct snapshot *snapshot, struct err *e)
{
        TRY(db_check(&snapshot->db, e));
        TRY(verify_bytes(&snapshot->db, SQL_BLOB_CONTENTS, "blob", e));
        return verify_bytes(&snapshot->db, SQL_MANIFEST_PAYLOADS, "manifest", e);
}
