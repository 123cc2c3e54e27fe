/* Opening and closing, checks, and what all the others need. How writes share commits: writer.h. The tables: schema.c. */
#include "store/meta/internal.h"
#include "store/meta/schema.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum { GRACE_S = 3600 };

/* --- Life ------------------------------------------------------------------------------------------------------------- */

/* A new database must not hide that there was one, nor what a backup or a restore that was interrupted has left; and the next
 * rebuilding must not find that the database has changed since the one which was interrupted. */
static const struct {
        const char *suffix, *meaning;
        bool even_empty, even_beside;   /* beside a database */
} signs[] = {
        { ".partial", "this folder is a backup or a restore that was not finished: run it again", .even_empty = true },
        { ".rebuilt", "a rebuilding of the database was not finished: run orlop rebuild again", .even_beside = true },
        { "-wal", "the database is missing, but its log is there: orlop rebuild brings back what can be" },
        { ".copy", "the database is missing, but a copy of it is there: orlop rebuild brings back what can be" },
};

static RESULT refuse_to_begin_anew(const char *path, struct err *e)
{
        struct stat st;
        bool is_there = stat(path, &st) == 0 && st.st_size > 0;

        for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
                _cleanup_free_ char *name = NULL;

                if (is_there && !signs[i].even_beside)
                        continue;

                if (asprintf(&name, "%s%s", path, signs[i].suffix) < 0) {
                        name = NULL;
                        return FAIL(e, ERR_NOMEM, ENOMEM, "open the metadata store");
                }
                if (stat(name, &st) == 0 && (st.st_size > 0 || signs[i].even_empty))
                        return FAIL(e, ERR_CORRUPT, 0, "%s (%s)", signs[i].meaning, name);
        }
        return OK;
}

static RESULT open_writer(struct meta *m, struct err *e)
{
        struct err cause;

        if (writer_open(&m->writer, m->path, &cause).ok)
                return OK;
        if (cause.code == ERR_CORRUPT)
                return FAIL(e, ERR_CORRUPT, 0, "%.400s; orlop rebuild brings back what can be", cause.message);
        *e = cause;
        return FAILED;
}

/* Takes the path. */
static RESULT open_file(char *path, struct meta **ret_meta, struct err *e)
{
        struct meta *m = calloc(1, sizeof *m);

        if (!m) {
                free(path);
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the metadata store");
        }
        m->path = path;
        m->grace_us = (int64_t)GRACE_S * 1000000;
        readers_init(&m->readers, m->path);
        if (!open_writer(m, e).ok || !keeper_start(&m->keeper, &m->writer, &m->readers, m->path, e).ok) {
                meta_free(m);
                return FAILED;
        }
        *ret_meta = m;
        return OK;
}

RESULT meta_sqlite_open_file(const char *path, struct meta **ret_meta, struct err *e)
{
        char *copy = strdup(path);

        return copy ? open_file(copy, ret_meta, e) : FAIL(e, ERR_NOMEM, ENOMEM, "open the metadata store");
}

RESULT meta_sqlite_open(const char *data_dir, struct meta **ret_meta, struct err *e)
{
        char *path;

        if (asprintf(&path, "%s/orlop.db", data_dir) < 0)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the metadata store");
        if (!refuse_to_begin_anew(path, e).ok) {
                free(path);
                return FAILED;
        }
        return open_file(path, ret_meta, e);
}

/* The writer is the last to close: only it can copy the log into the database. */
void meta_free(struct meta *m)
{
        if (!m)
                return;
        keeper_stop(&m->keeper);
        readers_fini(&m->readers);
        writer_close(&m->writer);
        free(m->path);
        free(m);
}

void meta_on_change(struct meta *m, meta_changed_fn *fn, void *arg)
{
        m->writer.changed = fn;
        m->writer.changed_arg = arg;
}

uint64_t meta_commits(struct meta *m)
{
        return writer_counters(&m->writer).commits;
}

void meta_set_grace(struct meta *m, int64_t grace_us)
{
        m->grace_us = grace_us;
}

void meta_set_untagged(struct meta *m, int64_t age_us)
{
        m->untagged_us = age_us;
}

/* --- Checks ----------------------------------------------------------------------------------------------------------- */

static RESULT write_probe(struct tx *tx, void *arg, struct err *e)
{
        (void)arg;
        return db_change(tx->db, SQL_PROBE, VALUES(V_I(tx->now_us)), e);
}

RESULT meta_probe(struct meta *m, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        int64_t tables;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_number(&reader->db, "SELECT count(*) FROM sqlite_schema", &tables, e));
        reader_return(TAKE_PTR(reader));
        return writer_run(&m->writer, write_probe, NULL, true, e);
}

/* SQLite names the database in a line of its own before the finding. */
static const char *last_line(const char *text)
{
        const char *end = text ? strrchr(text, '\n') : NULL;

        return end ? end + 1 : text ? text : "no memory to tell";
}

static RESULT check_integrity(struct db *db, struct err *e)
{
        sqlite3_stmt *statement = NULL;
        struct result result = OK;

        if (sqlite3_prepare_v2(db->handle, "PRAGMA integrity_check(1)", -1, &statement, NULL) != SQLITE_OK ||
            sqlite3_step(statement) != SQLITE_ROW) {
                result = db_fail(db, "check the database", e);
        } else {
                const char *finding = (const char *)sqlite3_column_text(statement, 0);

                if (!finding || strcmp(finding, "ok") != 0)
                        result = FAIL(e, ERR_CORRUPT, 0, "the database is damaged: %s", last_line(finding));
        }
        sqlite3_finalize(statement);
        return result;
}

static RESULT check_references(struct db *db, struct err *e)
{
        sqlite3_stmt *statement = NULL;
        struct result result = OK;
        int rc = SQLITE_ERROR;

        if (sqlite3_prepare_v2(db->handle, "PRAGMA foreign_key_check", -1, &statement, NULL) == SQLITE_OK)
                rc = sqlite3_step(statement);
        if (rc == SQLITE_ROW)
                result = FAIL(e, ERR_CORRUPT, 0, "the database is damaged: row %lld of %s names a row of %s that is not there",
                              sqlite3_column_int64(statement, 1), (const char *)sqlite3_column_text(statement, 0),
                              (const char *)sqlite3_column_text(statement, 2));
        else if (rc != SQLITE_DONE)
                result = db_fail(db, "check the database's references", e);
        sqlite3_finalize(statement);
        return result;
}

RESULT db_check(struct db *db, struct err *e)
{
        TRY(check_integrity(db, e));
        return check_references(db, e);
}

RESULT meta_check(struct meta *m, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;

        TRY(reader_lend_long(&m->readers, &reader, e));
        return db_check(&reader->db, e);
}

RESULT meta_sqlite_check(const char *data_dir, struct err *e)
{
        _cleanup_free_ char *path = NULL;
        _cleanup_(db_close) struct db db = { 0 };

        if (asprintf(&path, "%s/orlop.db", data_dir) < 0) {
                path = NULL;
                return FAIL(e, ERR_NOMEM, ENOMEM, "check the metadata store");
        }
        TRY(refuse_to_begin_anew(path, e));
        if (access(path, F_OK) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s", path);
        TRY(db_open(path, DB_READER, &db, e));
        TRY(schema_check(&db, path, e));
        return db_check(&db, e);
}

/* --- Repositories ----------------------------------------------------------------------------------------------------- */

static RESULT find(struct db *db, struct slice name, bool *ret_found, struct repository *ret_repository, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };

        TRY(db_query(db, SQL_REPOSITORY_FIND, VALUES(V_T(name)), &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (*ret_found)
                *ret_repository = (struct repository){ .id = rows_i64(&rows, 0), .listed = rows_i64(&rows, 1) };
        return OK;
}

struct result fail_name(struct slice name, struct err *e)
{
        return FAIL(e, ERR_NAME_UNKNOWN, 0, "there is no repository %.*s", SLICE_ARG(name));
}

RESULT repository_find(struct db *db, struct slice name, struct repository *ret_repository, struct err *e)
{
        bool found;

        TRY(find(db, name, &found, ret_repository, e));
        return found ? OK : fail_name(name, e);
}

RESULT repository_find_or_add(struct tx *tx, struct slice name, struct repository *ret_repository, struct err *e)
{
        bool found;

        TRY(find(tx->db, name, &found, ret_repository, e));
        if (found)
                return OK;
        ret_repository->listed = false;
        return db_find(tx->db, SQL_REPOSITORY_ADD, VALUES(V_T(name), V_I(tx->now_us)), &found, &ret_repository->id, e);
}

struct result fail_unknown(struct db *db, struct slice repository, enum err_code code, const char *what, struct err *e)
{
        struct repository ignored;

        TRY(repository_find(db, repository, &ignored, e));
        return FAIL(e, code, 0, "repository %.*s has no %s", SLICE_ARG(repository), what);
}

/* --- Rows ------------------------------------------------------------------------------------------------------------- */

RESULT copy_bytes(struct rows *rows, int column, struct arena *arena, struct slice *ret_copy, struct err *e)
{
        struct slice bytes = rows_bytes(rows, column), copy;

        if (!bytes.p) {
                *ret_copy = SLICE_NONE;
                return OK;
        }
        copy = arena_copy(arena, bytes);
        if (!copy.p)
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for %zu bytes of metadata", bytes.n);
        *ret_copy = copy;
        return OK;
}

RESULT copy_digest(struct rows *rows, int column, struct digest *ret_digest, struct err *e)
{
        if (!digest_decode(rows_bytes(rows, column), ret_digest))
                return FAIL(e, ERR_CORRUPT, 0, "the database holds a digest that is none");
        return OK;
}
