/* Tables are in SQLite's own words (STRICT, WITHOUT ROWID); another engine gets a list of steps of its own and shares the queries.
 *
 * - Times are microseconds since 1970, given by the program. A digest is an algorithm byte and the raw hash.
 * - Rows name each other by small numbers that rise, so that a push touches the same few pages whatever the store's size; only
 *   the indexes on digests are hit at random.
 * - An index is a page more to write with each push: there are only those that a request or the collector needs. A repository's
 *   row stays for good, so that nothing must be found by its repository alone.
 * - Foreign keys never cascade. They are the last line of defence behind the code that decides what may go.
 * - Whatever may have become garbage is in a queue, in the same transaction that made it so: the collector looks at nothing
 *   else. `since_us` is when that was; how long it may stay is the collector's setting. */
#include "store/meta/schema.h"

#include <stdio.h>

enum { APPLICATION_ID = 0x4f726c70 };   /* "Orlp", for file(1) */

static const char *const steps[] = {
        /* 1 */
        "CREATE TABLE repositories ("
        "  id            INTEGER PRIMARY KEY,"
        "  name          TEXT NOT NULL UNIQUE,"
        "  has_manifests INTEGER NOT NULL,"             /* only these are listed */
        "  created_us    INTEGER NOT NULL"
        ") STRICT;"
        "CREATE INDEX repositories_listed ON repositories (name) WHERE has_manifests = 1;"

        /* One row a stored content, whichever repositories hold it. Its bytes are the object <digest>.<upload_id>, or here. */
        "CREATE TABLE blobs ("
        "  id            INTEGER PRIMARY KEY,"
        "  digest        BLOB NOT NULL UNIQUE,"
        "  size          INTEGER NOT NULL,"
        "  upload_id     TEXT,"
        "  created_us    INTEGER NOT NULL,"
        "  content       BLOB,"
        "  damaged_us    INTEGER,"                      /* when its bytes were found not to be what the digest says */
        "  damage        TEXT,"                         /* how, for a person */
        "  CHECK ((upload_id IS NULL) <> (content IS NULL))"
        ") STRICT;"
        "CREATE UNIQUE INDEX blobs_upload ON blobs (upload_id) WHERE upload_id IS NOT NULL;"
        "CREATE INDEX blobs_damaged ON blobs (id) WHERE damaged_us IS NOT NULL;"

        /* since_us: when it was last uploaded, mounted, left by a manifest, or asked for while no manifest named it. */
        "CREATE TABLE repository_blobs ("
        "  blob_id       INTEGER NOT NULL REFERENCES blobs (id),"
        "  repository_id INTEGER NOT NULL REFERENCES repositories (id),"
        "  since_us      INTEGER NOT NULL,"
        "  PRIMARY KEY (blob_id, repository_id)"
        ") STRICT, WITHOUT ROWID;"

        "CREATE TABLE manifests ("
        "  id            INTEGER PRIMARY KEY,"
        "  repository_id INTEGER NOT NULL REFERENCES repositories (id),"
        "  digest        BLOB NOT NULL,"
        "  media_type    TEXT NOT NULL,"
        "  artifact_type TEXT,"
        "  subject       BLOB,"                         /* a digest; it may name what is not there */
        "  annotations   TEXT,"
        "  size          INTEGER NOT NULL,"
        "  created_us    INTEGER NOT NULL,"
        "  payload       BLOB NOT NULL,"
        "  UNIQUE (repository_id, digest)"
        ") STRICT;"
        "CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest, artifact_type) WHERE subject IS NOT NULL;"

        /* An index and its children. */
        "CREATE TABLE manifest_references ("
        "  parent_id     INTEGER NOT NULL REFERENCES manifests (id),"
        "  child_id      INTEGER NOT NULL REFERENCES manifests (id),"
        "  PRIMARY KEY (parent_id, child_id)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX manifest_references_child ON manifest_references (child_id);"

        /* Config and layers. The double key makes a manifest impossible whose blob its repository does not hold. */
        "CREATE TABLE manifest_blobs ("
        "  manifest_id   INTEGER NOT NULL REFERENCES manifests (id),"
        "  blob_id       INTEGER NOT NULL,"
        "  repository_id INTEGER NOT NULL,"
        "  PRIMARY KEY (manifest_id, blob_id),"
        "  FOREIGN KEY (blob_id, repository_id) REFERENCES repository_blobs (blob_id, repository_id)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX manifest_blobs_blob ON manifest_blobs (blob_id, repository_id);"

        "CREATE TABLE tags ("
        "  repository_id INTEGER NOT NULL REFERENCES repositories (id),"
        "  name          TEXT NOT NULL,"
        "  manifest_id   INTEGER NOT NULL REFERENCES manifests (id),"
        "  updated_us    INTEGER NOT NULL,"
        "  PRIMARY KEY (repository_id, name)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX tags_manifest ON tags (manifest_id);"

        "CREATE TABLE uploads ("
        "  id            TEXT PRIMARY KEY,"
        "  repository_id INTEGER NOT NULL REFERENCES repositories (id),"
        "  received      INTEGER NOT NULL,"
        "  hash_state    BLOB NOT NULL,"
        "  created_us    INTEGER NOT NULL,"
        "  updated_us    INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"

        /* Does this repository still need this blob? Does anybody? In order of time; a pair may come twice. Who reviews a row goes
         * by the later of the two since_us, the row's and the link's. */
        "CREATE TABLE gc_blob_queue ("
        "  id            INTEGER PRIMARY KEY,"
        "  blob_id       INTEGER NOT NULL,"
        "  repository_id INTEGER NOT NULL,"
        "  since_us      INTEGER NOT NULL"
        ") STRICT;"

        /* Does anything lead to this manifest? orphaned: an index or a subject that led to it was deleted, so that it goes after the
         * grace; others are only untagged, and stay unless the user wants them to go. */
        "CREATE TABLE gc_manifest_queue ("
        "  manifest_id   INTEGER PRIMARY KEY REFERENCES manifests (id),"
        "  orphaned      INTEGER NOT NULL,"
        "  since_us      INTEGER NOT NULL"
        ") STRICT;"
        "CREATE INDEX gc_manifest_queue_since ON gc_manifest_queue (orphaned, since_us);"

        /* Objects whose blob's row is gone; removed after a delay, so that running downloads end. */
        "CREATE TABLE object_trash ("
        "  upload_id     TEXT PRIMARY KEY,"
        "  digest        BLOB NOT NULL,"
        "  size          INTEGER NOT NULL,"
        "  since_us      INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX object_trash_since ON object_trash (since_us);"

        /* How far the scrub has come: one row. Blobs are read in the order of their ids; a round ends when there is none left. */
        "CREATE TABLE scrub ("
        "  id            INTEGER PRIMARY KEY,"
        "  last_blob_id  INTEGER NOT NULL,"
        "  started_us    INTEGER NOT NULL,"             /* of this round; 0: none was begun */
        "  ended_us      INTEGER NOT NULL,"             /* of the round before; 0: there was none */
        "  bytes         INTEGER NOT NULL"              /* read in this round */
        ") STRICT;"
        "INSERT INTO scrub (id, last_blob_id, started_us, ended_us, bytes) VALUES (1, 0, 0, 0, 0);"

        /* One row for the probe to write. */
        "CREATE TABLE probes (id INTEGER PRIMARY KEY, written_us INTEGER NOT NULL) STRICT;"
        "INSERT INTO probes (id, written_us) VALUES (1, 0);",
};

int schema_version(void)
{
        return (int)ARRAY_LEN(steps);
}

static RESULT apply_steps(struct db *db, int64_t from, struct err *e)
{
        char text[128];

        for (size_t i = (size_t)from; i < ARRAY_LEN(steps); i++)
                TRY(db_script(db, steps[i], e));
        snprintf(text, sizeof text, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, schema_version());
        return db_script(db, text, e);
}

static RESULT read_version(struct db *db, int64_t *ret_version, struct err *e)
{
        TRY(db_number(db, "PRAGMA user_version", ret_version, e));
        if (*ret_version > schema_version())
                return FAIL(e, ERR_UNSUPPORTED, 0,
                            "the store was written by a newer version of Orlop (its schema is %lld, this program knows %d): start "
                            "that version, or restore a backup that was made before", (long long)*ret_version, schema_version());
        return OK;
}

RESULT schema_check(struct db *db, const char *path, struct err *e)
{
        int64_t version;

        if (!read_version(db, &version, e).ok)
                return err_context(e, "%s", path);
        return version > 0 ? OK : FAIL(e, ERR_CORRUPT, 0, "%s is not the database of an Orlop store", path);
}

RESULT schema_refuse_newer(struct db *db, const char *path, struct err *e)
{
        int64_t application;
        struct err ignored;

        if (!db_number(db, "PRAGMA application_id", &application, &ignored).ok || application != APPLICATION_ID)
                return OK;
        if (schema_check(db, path, e).ok || e->code != ERR_UNSUPPORTED)
                return OK;
        return FAILED;
}

static RESULT migrate(struct db *db, struct err *e)
{
        int64_t version, tables;

        TRY(read_version(db, &version, e));
        if (version == schema_version())
                return OK;
        TRY(db_number(db, "SELECT count(*) FROM sqlite_schema", &tables, e));
        if (version < 0 || (version == 0 && tables > 0))
                return FAIL(e, ERR_CORRUPT, 0, "the database is not an Orlop store");
        return apply_steps(db, version, e);
}

RESULT schema_migrate(struct db *db, struct err *e)
{
        struct err ignored;

        TRY(db_script(db, "BEGIN IMMEDIATE", e));
        if (migrate(db, e).ok && db_script(db, "COMMIT", e).ok)
                return OK;
        IGNORE(db_script(db, "ROLLBACK", &ignored));    /* the first failure is the one to tell */
        return FAILED;
}
