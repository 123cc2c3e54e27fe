/* One connection to the database, with its prepared statements; the only file that calls SQLite to read and write rows.
 *
 *      _cleanup_(rows_end) struct rows rows = { 0 };
 *      bool found;
 *
 *      TRY(db_query(db, SQL_TAG_FIND, VALUES(V_I(repository), V_T(tag)), &rows, e));
 *      TRY(rows_next(&rows, &found, e));
 *      if (found)
 *              id = rows_i64(&rows, 0);
 *
 * A connection is used by one thread at a time. Each statement is prepared when it is first needed, and in use once at a time.
 * Values that are handed in must live until rows_end(); what a row returns lives until the next step.
 * Errors: ERR_IO, ERR_FULL, ERR_CORRUPT, ERR_NOMEM, ERR_READ_ONLY, ERR_TIMEOUT (another program holds the database). */
#pragma once

#include "base/cleanup.h"
#include "oci/digest.h"
#include "store/meta/statements.h"

#include <sqlite3.h>

enum db_mode { DB_WRITER, DB_READER, DB_KEEPER, DB_BUILDER, DB_SOURCE };

struct db {
        sqlite3 *handle;                        /* owned */
        sqlite3_stmt *statements[SQL_COUNT];    /* owned */
};

RESULT db_open(const char *path, enum db_mode mode, struct db *ret_db, struct err *e);
void db_close(struct db *db);

/* Statements without parameters or rows, as text; they are not kept. */
RESULT db_script(struct db *db, const char *text, struct err *e);
/* The number in the first column of the only row. */
RESULT db_number(struct db *db, const char *text, int64_t *ret_number, struct err *e);

struct value {
        enum { VALUE_I64, VALUE_TEXT, VALUE_BYTES, VALUE_DIGEST } type;
        int64_t number;
        struct slice bytes;                     /* .p NULL: the database's NULL */
        const struct digest *digest;            /* NULL: the database's NULL */
};
struct values {
        const struct value *items;
        size_t count;
};
#define V_I(x) { .type = VALUE_I64, .number = (int64_t)(x) }
#define V_T(x) { .type = VALUE_TEXT, .bytes = (x) }
#define V_B(x) { .type = VALUE_BYTES, .bytes = (x) }
#define V_D(x) { .type = VALUE_DIGEST, .digest = (x) }
#define VALUES(...) \
        ((struct values){ (const struct value[]){ __VA_ARGS__ }, sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value) })
#define NO_VALUES ((struct values){ NULL, 0 })

struct rows {
        struct db *db;                          /* borrowed */
        sqlite3_stmt *statement;                /* borrowed from db */
        unsigned char codes[2][DIGEST_CODE_MAX];
};

RESULT db_query(struct db *db, enum statement statement, struct values values, struct rows *ret_rows, struct err *e);
RESULT rows_next(struct rows *rows, bool *ret_found, struct err *e);
void rows_end(struct rows *rows);
int64_t rows_i64(struct rows *rows, int column);
struct slice rows_bytes(struct rows *rows, int column);         /* NULL: .p is NULL */
bool rows_is_null(struct rows *rows, int column);

/* A change, or a question for one number. */
RESULT db_change(struct db *db, enum statement statement, struct values values, struct err *e);
RESULT db_find(struct db *db, enum statement statement, struct values values, bool *ret_found, int64_t *ret_number, struct err *e);
size_t db_changes(struct db *db);               /* rows that the last change hit */

/* The error of the last call, in our words. */
struct result db_fail(struct db *db, const char *what, struct err *e);
