/* The tables, and the steps from each older form of them to the next. The queries stand in statements.h.
 *
 * The version of a store is the number of steps it has been through (PRAGMA user_version). A step is never changed once it was
 * released: what differs is a new step at the end. */
#pragma once

#include "base/err.h"
#include "store/meta/db.h"

/* Brings the store up to date, in one transaction. ERR_UNSUPPORTED: written by a newer program. ERR_CORRUPT: not ours. */
RESULT schema_migrate(struct db *db, struct err *e);
/* The same questions, changing nothing; an older version is fine. */
RESULT schema_check(struct db *db, const char *path, struct err *e);
/* Of a database that may be damaged: ERR_UNSUPPORTED if it says for certain that a newer program wrote it. */
RESULT schema_refuse_newer(struct db *db, const char *path, struct err *e);
int schema_version(void);       /* that this program writes */
