/* What the files of store/meta share. */
#pragma once

#include "store/meta/keeper.h"
#include "store/meta/meta.h"
#include "store/meta/readers.h"
#include "store/meta/writer.h"

struct meta {
        char *path;                     /* owned; of the database */
        struct writer writer;
        struct readers readers;
        struct keeper keeper;
        _Atomic int64_t grace_us, untagged_us;
};

/* Memory for what a change works on, that done() is to be told of: the caller fills it and calls soon_start(). It goes at the change's
 * end. NULL: no memory, and done() was told. */
void *soon_new(change_fn *run, bool synced, size_t bytes, meta_done_fn *done, void *arg);
void soon_start(struct meta *m, void *of_change);

struct repository {
        int64_t id;
        bool listed;                    /* it has manifests */
};

/* ERR_NAME_UNKNOWN */
RESULT repository_find(struct db *db, struct slice name, struct repository *ret_repository, struct err *e);
RESULT repository_find_or_add(struct tx *tx, struct slice name, struct repository *ret_repository, struct err *e);
struct result fail_name(struct slice name, struct err *e);
/* The error of something that was not found: the repository itself is not there, or `code`. */
struct result fail_unknown(struct db *db, struct slice repository, enum err_code code, const char *what, struct err *e);

/* A name from a row into the arena. NULL stays NULL. ERR_NOMEM. */
RESULT copy_bytes(struct rows *rows, int column, struct arena *arena, struct slice *ret_copy, struct err *e);
RESULT copy_digest(struct rows *rows, int column, struct digest *ret_digest, struct err *e);
/* A row of MANIFEST_COLUMNS. */
RESULT read_manifest(struct rows *rows, struct arena *arena, struct meta_manifest *ret_manifest, struct err *e);

/* SQLite's own checks: integrity_check and foreign_key_check. ERR_CORRUPT with the first finding. */
RESULT db_check(struct db *db, struct err *e);
/* Removes a manifest that nothing leads to but its tags, and queues what it leaves behind. The digest and the name live until
 * the change's caller returns, or were kept (tx_keep()). */
RESULT manifest_remove(struct tx *tx, struct slice repository_name, int64_t repository, int64_t id, const struct digest *digest,
                       struct err *e);
