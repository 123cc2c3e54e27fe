/* Reading a database that may be damaged: whatever rows can still be had, in the order of their keys.
 *
 *      TRY(source_open("<data>/orlop.db", "<data>/orlop.db.mending", &source, e));
 *      TRY(source_each(source, SQL_OLD_TAGS, take_tag, arg, &whole, e));
 *      source_close(source);
 *
 * The file itself is never written. One that SQLite takes for no database (its first page is spoiled) is copied to the second
 * path, gets the first page of an empty store, and is read there; source_close() removes that copy. It is worth a try because
 * every store's tables begin at the same pages; where that does not hold, rows come out as nonsense and whoever takes them must
 * refuse them. So a row is taken for true only as far as its digest, or the row that it leads to, vouches for it.
 *
 * One thread. ERR_NOT_FOUND: there is no such file. ERR_UNSUPPORTED: written by a newer program. ERR_CORRUPT: nothing in it can
 * be read. */
#pragma once

#include "base/cleanup.h"
#include "store/meta/db.h"

struct source;

RESULT source_open(const char *path, const char *mending_path, struct source **ret_source, struct err *e);
void source_close(struct source *source);
DEFINE_CLEANUP(struct source *, source_close)

/* Calls `take` for the rows of a statement whose only parameter is the least key, and whose first column is that key, a number from
 * 0 on that rises. Where a row cannot be read, as few as possible are passed over. *ret_whole: all could be read. */
typedef struct result source_row_fn(void *arg, struct rows *rows, struct err *e);
RESULT source_each(struct source *source, enum statement statement, source_row_fn *take, void *arg, bool *ret_whole, struct err *e);
