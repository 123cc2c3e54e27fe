/* Blobs, and which repository holds which. */
#include "store/meta/internal.h"

#include "base/clock.h"
#include "base/rules.h"

struct held {
        int64_t blob, repository;
        bool old;                       /* more than half of the grace is over; see put_off() */
};

static struct result fail_blob(struct slice repository, const struct digest *digest, struct err *e)
{
        return FAIL(e, ERR_BLOB_UNKNOWN, 0, "repository %.*s has no blob %s", SLICE_ARG(repository), digest_format(digest).s);
}

/* --- Reads ------------------------------------------------------------------------------------------------------------ */

/* Before each push clients ask for blobs that are not there: one query tells whether it is the repository or the blob. */
static RESULT read_blob(struct meta *m, struct db *db, struct slice repository, struct meta_blob *blob, struct held *ret_held,
                        struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct slice id;
        bool found;

        TRY(db_query(db, SQL_BLOB_GET, VALUES(V_T(repository), V_D(&blob->digest)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return fail_name(repository, e);
        if (rows_is_null(&rows, 3))
                return fail_blob(repository, &blob->digest, e);
        blob->size = (uint64_t)rows_i64(&rows, 1);
        id = rows_bytes(&rows, 2);
        blob->in_database = !id.p;
        if (id.p && !upload_id_parse(id, &blob->id))
                return FAIL(e, ERR_CORRUPT, 0, "the database holds an object's name that is none");
        *ret_held = (struct held){ .blob = rows_i64(&rows, 0), .repository = rows_i64(&rows, 3) };
        blob->damaged = !rows_is_null(&rows, 5);
        blob->promised_until_us = rows_i64(&rows, 4) + m->grace_us / 2;
        ret_held->old = blob->promised_until_us < clock_now_us();
        return OK;
}

static RESULT read_content(struct db *db, int64_t id, struct arena *arena, struct meta_blob *blob, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(db, SQL_BLOB_CONTENT, VALUES(V_I(id), V_D(&blob->digest)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_BLOB_UNKNOWN, 0, "blob %s was just removed", digest_format(&blob->digest).s);
        TRY(copy_bytes(&rows, 0, arena, &blob->bytes, e));
        if (blob->bytes.n != blob->size)
                return FAIL(e, ERR_CORRUPT, 0, "blob %s has %zu bytes instead of %llu", digest_format(&blob->digest).s,
                            blob->bytes.n, (unsigned long long)blob->size);
        return OK;
}

/* Whoever asks for a blob that no manifest names is about to name it: its review is put off where it may be near. That comes
 * before the blob is looked up, in a transaction of its own, so that what is told to be there stays there. */
static RESULT put_off(struct tx *tx, void *arg, struct err *e)
{
        struct held *held = arg;

        return db_change(tx->db, SQL_LINK_TOUCH, VALUES(V_I(held->blob), V_I(held->repository), V_I(tx->now_us)), e);
}

/* *ret_again: its review is near; put it off and ask again. NULL: that was done. */
static RESULT get(struct meta *m, struct slice repository, bool with_bytes, struct arena *arena, struct meta_blob *blob,
                  struct held *ret_held, bool *ret_again, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        int64_t ignored;
        bool named = true;              /* or as good as that, when its review was put off */

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(read_blob(m, &reader->db, repository, blob, ret_held, e));
        if (ret_held->old && ret_again)
                TRY(db_find(&reader->db, SQL_BLOB_IN_USE, VALUES(V_I(ret_held->blob), V_I(ret_held->repository)), &named, &ignored, e));
        if (ret_again)
                *ret_again = !named;
        if (ret_held->old && named)
                blob->promised_until_us = clock_now_us() + m->grace_us / 2;
        if (!named || !with_bytes || !blob->in_database || blob->damaged)
                return OK;
        return read_content(&reader->db, ret_held->blob, arena, blob, e);
}

RESULT meta_blob_get(struct meta *m, struct slice repository, const struct digest *digest, bool with_bytes, struct arena *arena,
                     struct meta_blob *ret_blob, struct err *e)
{
        struct meta_blob blob = { .digest = *digest };
        struct held held = { 0 };
        bool again;

        TRY(get(m, repository, with_bytes, arena, &blob, &held, &again, e));
        if (again) {
                if (rule_holds(RULE_ASKED_FOR_STAYS))
                        TRY(writer_run(&m->writer, put_off, &held, false, e));
                TRY(get(m, repository, with_bytes, arena, &blob, &held, NULL, e));
        }
        *ret_blob = blob;
        return OK;
}

/* --- Mount ------------------------------------------------------------------------------------------------------------ */

struct mount {
        struct slice from, to;
        const struct digest *digest;
};

static RESULT find_source(struct db *db, const struct mount *mount, int64_t *ret_blob, struct err *e)
{
        struct repository from;
        bool found;

        if (mount->from.n == 0) {
                TRY(db_find(db, SQL_LINK_ANYWHERE, VALUES(V_D(mount->digest)), &found, ret_blob, e));
        } else if (repository_find(db, mount->from, &from, e).ok) {
                TRY(db_find(db, SQL_LINK_FIND, VALUES(V_I(from.id), V_D(mount->digest)), &found, ret_blob, e));
        } else if (e->code == ERR_NAME_UNKNOWN) {
                found = false;
        } else {
                return FAILED;
        }
        return found ? OK : FAIL(e, ERR_BLOB_UNKNOWN, 0, "blob %s cannot be mounted from there; upload it",
                                 digest_format(mount->digest).s);
}

static RESULT mount_blob(struct tx *tx, void *arg, struct err *e)
{
        struct mount *mount = arg;
        struct repository to;
        int64_t blob;

        TRY(find_source(tx->db, mount, &blob, e));
        TRY(repository_find_or_add(tx, mount->to, &to, e));
        TRY(db_change(tx->db, SQL_BLOB_QUEUE, VALUES(V_I(blob), V_I(to.id), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_LINK_ADD, VALUES(V_I(blob), V_I(to.id), V_I(tx->now_us)), e));
        tx_stale(tx, mount->to, S(""), mount->digest);
        return OK;
}

/* Clients try several repositories that may have a blob: those that do not cost a read. */
static RESULT probe_source(struct meta *m, const struct mount *mount, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        int64_t ignored;

        TRY(reader_lend(&m->readers, &reader, e));
        return find_source(&reader->db, mount, &ignored, e);
}

RESULT meta_blob_mount(struct meta *m, struct slice from, struct slice to, const struct digest *digest, struct err *e)
{
        struct mount mount = { .from = from, .to = to, .digest = digest };

        TRY(probe_source(m, &mount, e));
        return writer_run(&m->writer, mount_blob, &mount, true, e);
}

/* --- Delete ----------------------------------------------------------------------------------------------------------- */

static RESULT unlink_blob(struct tx *tx, void *arg, struct err *e)
{
        struct mount *what = arg;
        struct repository repository;
        int64_t blob, ignored;
        bool found;

        TRY(repository_find(tx->db, what->from, &repository, e));
        TRY(db_find(tx->db, SQL_LINK_FIND_EVEN_DAMAGED, VALUES(V_I(repository.id), V_D(what->digest)), &found, &blob, e));
        if (!found)
                return fail_blob(what->from, what->digest, e);
        TRY(db_find(tx->db, SQL_BLOB_IN_USE, VALUES(V_I(blob), V_I(repository.id)), &found, &ignored, e));
        if (found)
                return FAIL(e, ERR_DENIED, 0, "a manifest of this repository names blob %s: delete the manifest first",
                            digest_format(what->digest).s);
        TRY(db_change(tx->db, SQL_BLOB_QUEUE, VALUES(V_I(blob), V_I(repository.id), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_LINK_REMOVE, VALUES(V_I(blob), V_I(repository.id)), e));
        tx_stale(tx, what->from, S(""), what->digest);
        return OK;
}

RESULT meta_blob_delete(struct meta *m, struct slice repository, const struct digest *digest, struct err *e)
{
        struct mount what = { .from = repository, .digest = digest };

        return writer_run(&m->writer, unlink_blob, &what, true, e);
}
