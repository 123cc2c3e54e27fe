#include "store/meta/db.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

/* Another program may hold the database for a moment (a backup, a person with a shell). */
enum { BUSY_TIMEOUT_MS = 10000, STATEMENT_TEXT_MAX = 1024 };

static const char *const texts[SQL_COUNT] = {
#define X(name, text) [SQL_##name] = text,
        META_STATEMENTS(X)
        META_SURVEYS(X)
#undef X
};

/* --- Errors ----------------------------------------------------------------------------------------------------------- */

static enum err_code code_of(int sqlite_code)
{
        switch (sqlite_code & 0xff) {
        case SQLITE_NOMEM:
                return ERR_NOMEM;
        case SQLITE_FULL:
                return ERR_FULL;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return ERR_CORRUPT;
        case SQLITE_READONLY:
                return ERR_READ_ONLY;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return ERR_TIMEOUT;
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
                return ERR_IO;
        default:        /* SQLite's other codes tell of misuse */
                return ERR_INTERNAL;
        }
}

static const char *hint_of(enum err_code code)
{
        switch (code) {
        case ERR_TIMEOUT:
                return "; another program holds it";
        case ERR_READ_ONLY:
                return "; look at the permissions of the data folder and its file system";
        default:        /* the other codes speak for themselves */
                return "";
        }
}

struct result db_fail(struct db *db, const char *what, struct err *e)
{
        int sqlite_code = sqlite3_extended_errcode(db->handle);
        enum err_code code = code_of(sqlite_code);

        return FAIL(e, code, code == ERR_IO ? sqlite3_system_errno(db->handle) : 0, "database: %s: %s%s", what,
                    sqlite3_errmsg(db->handle), hint_of(code));
}

/* --- Opening ---------------------------------------------------------------------------------------------------------- */

static pthread_once_t configured = PTHREAD_ONCE_INIT;

/* A connection is never used by two threads at once, and nobody reads SQLite's memory statistics: no mutex for either. */
static void configure(void)
{
        sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* - synchronous=NORMAL: SQLite syncs the log before a checkpoint copies it. What makes a commit durable is the writer's own
 *   sync (writer.c), which many commits share.
 * - secure_delete=FAST: Debian's library overwrites what is deleted, which costs a third of a deletion.
 * - Checkpoints are the keeper's work (keeper.c).
 * - A database that is being built is worth nothing before its end: no journal, no syncs.
 * - writable_schema: a file that was cut short, or one table whose definition is spoiled, does not make the rest unreadable. */
static const char *script_of(enum db_mode mode)
{
        switch (mode) {
        case DB_WRITER:
                return "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
                       "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216; PRAGMA secure_delete = FAST;"
                       "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -2048";
        case DB_READER:
                return "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024";
        case DB_KEEPER:
                return "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216;"
                       "PRAGMA cache_size = -64";
        case DB_BUILDER:
                return "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;"
                       "PRAGMA cache_size = -16384";
        case DB_SOURCE:
                return "PRAGMA writable_schema = ON; PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
                       "PRAGMA cache_size = -4096";
        }
        return "";
}

RESULT db_open(const char *path, enum db_mode mode, struct db *ret_db, struct err *e)
{
        bool creates = mode == DB_WRITER || mode == DB_BUILDER, only_reads = mode == DB_READER || mode == DB_SOURCE;
        int flags = SQLITE_OPEN_NOMUTEX | (creates      ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
                                           : only_reads ? SQLITE_OPEN_READONLY
                                                        : SQLITE_OPEN_READWRITE);
        struct db db = { 0 };

        pthread_once(&configured, configure);
        if (sqlite3_open_v2(path, &db.handle, flags, NULL) != SQLITE_OK) {
                if (!db.handle)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "open the database %s", path);
                IGNORE(db_fail(&db, path, e));
                db_close(&db);
                return FAILED;
        }
        sqlite3_extended_result_codes(db.handle, 1);
        sqlite3_busy_timeout(db.handle, BUSY_TIMEOUT_MS);
        if (!db_script(&db, script_of(mode), e).ok) {
                db_close(&db);
                return err_context(e, "%s", path);
        }
        *ret_db = db;
        return OK;
}

void db_close(struct db *db)
{
        for (size_t i = 0; i < SQL_COUNT; i++)
                sqlite3_finalize(db->statements[i]);
        if (db->handle)
                CHECK(sqlite3_close(db->handle) == SQLITE_OK);
        *db = (struct db){ 0 };
}

/* --- Text ------------------------------------------------------------------------------------------------------------- */

RESULT db_script(struct db *db, const char *text, struct err *e)
{
        if (sqlite3_exec(db->handle, text, NULL, NULL, NULL) != SQLITE_OK)
                return db_fail(db, "run a script", e);
        return OK;
}

RESULT db_number(struct db *db, const char *text, int64_t *ret_number, struct err *e)
{
        sqlite3_stmt *statement = NULL;
        struct result result = OK;

        if (sqlite3_prepare_v2(db->handle, text, -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
                result = db_fail(db, text, e);
        else
                *ret_number = sqlite3_column_int64(statement, 0);
        sqlite3_finalize(statement);
        return result;
}

/* --- Statements ------------------------------------------------------------------------------------------------------- */

/* "$1" to "?1": SQLite would number "$2, $1" by where they come first. */
static void translate(const char *text, char ret_text[static STATEMENT_TEXT_MAX])
{
        size_t n = strlen(text);

        CHECK(n < STATEMENT_TEXT_MAX);
        memcpy(ret_text, text, n + 1);
        for (size_t i = 0; i < n; i++)
                if (ret_text[i] == '$' && isdigit((unsigned char)ret_text[i + 1]))
                        ret_text[i] = '?';
}

static RESULT prepare(struct db *db, enum statement statement, struct err *e)
{
        char text[STATEMENT_TEXT_MAX];

        if (db->statements[statement])
                return OK;
        translate(texts[statement], text);
        if (sqlite3_prepare_v3(db->handle, text, -1, SQLITE_PREPARE_PERSISTENT, &db->statements[statement], NULL) != SQLITE_OK)
                return db_fail(db, text, e);
        return OK;
}

static int bind_bytes(sqlite3_stmt *statement, int i, const struct value *value)
{
        if (!value->bytes.p)
                return sqlite3_bind_null(statement, i);
        if (value->type == VALUE_TEXT)
                return sqlite3_bind_text64(statement, i, value->bytes.p, value->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
        return sqlite3_bind_blob64(statement, i, value->bytes.p, value->bytes.n, SQLITE_STATIC);
}

static int bind_digest(struct rows *rows, int i, const struct digest *digest, size_t *digests)
{
        unsigned char *code = rows->codes[*digests];

        if (!digest)
                return sqlite3_bind_null(rows->statement, i);
        CHECK(*digests < ARRAY_LEN(rows->codes));
        ++*digests;
        return sqlite3_bind_blob(rows->statement, i, code, (int)digest_encode(digest, code), SQLITE_STATIC);
}

static RESULT bind(struct rows *rows, struct values values, struct err *e)
{
        size_t digests = 0;

        for (size_t i = 0; i < values.count; i++) {
                const struct value *value = &values.items[i];
                int rc = SQLITE_OK, at = (int)i + 1;

                switch (value->type) {
                case VALUE_I64:
                        rc = sqlite3_bind_int64(rows->statement, at, value->number);
                        break;
                case VALUE_TEXT:
                case VALUE_BYTES:
                        rc = bind_bytes(rows->statement, at, value);
                        break;
                case VALUE_DIGEST:
                        rc = bind_digest(rows, at, value->digest, &digests);
                        break;
                }
                if (rc != SQLITE_OK)
                        return db_fail(rows->db, "bind a value", e);
        }
        return OK;
}

RESULT db_query(struct db *db, enum statement statement, struct values values, struct rows *ret_rows, struct err *e)
{
        TRY(prepare(db, statement, e));
        CHECK(!sqlite3_stmt_busy(db->statements[statement]));
        ret_rows->db = db;
        ret_rows->statement = db->statements[statement];
        return bind(ret_rows, values, e);
}

RESULT rows_next(struct rows *rows, bool *ret_found, struct err *e)
{
        int rc = sqlite3_step(rows->statement);

        if (rc != SQLITE_ROW && rc != SQLITE_DONE)
                return db_fail(rows->db, sqlite3_sql(rows->statement), e);
        *ret_found = rc == SQLITE_ROW;
        return OK;
}

void rows_end(struct rows *rows)
{
        if (rows->statement)
                sqlite3_reset(rows->statement);         /* its code is the failure that rows_next() told */
        rows->statement = NULL;
}

int64_t rows_i64(struct rows *rows, int column)
{
        return sqlite3_column_int64(rows->statement, column);
}

/* sqlite3_column_blob() gives NULL for an empty value, too. */
struct slice rows_bytes(struct rows *rows, int column)
{
        const char *p = sqlite3_column_blob(rows->statement, column);

        if (!p)
                return rows_is_null(rows, column) ? SLICE_NONE : S("");
        return (struct slice){ p, (size_t)sqlite3_column_bytes(rows->statement, column) };
}

bool rows_is_null(struct rows *rows, int column)
{
        return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

RESULT db_change(struct db *db, enum statement statement, struct values values, struct err *e)
{
        int64_t ignored;
        bool found;

        return db_find(db, statement, values, &found, &ignored, e);
}

/* Steps to the end: a change with RETURNING is complete only then. */
RESULT db_find(struct db *db, enum statement statement, struct values values, bool *ret_found, int64_t *ret_number, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool more = false;

        TRY(db_query(db, statement, values, &rows, e));
        TRY(rows_next(&rows, &more, e));
        *ret_found = more;
        if (more)
                *ret_number = rows_i64(&rows, 0);
        while (more)
                TRY(rows_next(&rows, &more, e));
        return OK;
}

size_t db_changes(struct db *db)
{
        return (size_t)sqlite3_changes(db->handle);
}
