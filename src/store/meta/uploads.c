/* Upload sessions. */
#include "store/meta/internal.h"

#include "base/rules.h"

static struct slice id_slice(const struct upload_id *id)
{
        return (struct slice){ id->s, UPLOAD_ID_LENGTH };
}

static struct result fail_upload(const struct upload_id *id, struct err *e)
{
        return FAIL(e, ERR_BLOB_UPLOAD_UNKNOWN, 0, "there is no upload %s here; begin a new one", id->s);
}

struct session {
        struct slice repository;
        const struct upload_id *id;
        uint64_t received;
        struct slice hash_state;
};

struct commit {
        struct session session;
        const struct digest *digest;
        uint64_t size;
        struct slice content;           /* .p NULL: the bytes are a file */
        bool surplus;                   /* result: the file is not needed */
};

/* --- Changes ---------------------------------------------------------------------------------------------------------- */

static RESULT begin(struct tx *tx, void *arg, struct err *e)
{
        struct session *session = arg;
        struct repository repository;

        TRY(repository_find_or_add(tx, session->repository, &repository, e));
        return db_change(tx->db, SQL_UPLOAD_ADD, VALUES(V_T(id_slice(session->id)), V_I(repository.id), V_B(session->hash_state),
                                                        V_I(tx->now_us)), e);
}

/* For callers that do not wait. */
static void start(struct meta *m, change_fn *run, const struct session *of, meta_done_fn *done, void *arg)
{
        struct session *session = soon_new(run, false, sizeof *session, done, arg);

        if (!session)
                return;
        *session = *of;
        soon_start(m, session);
}

RESULT meta_upload_begin(struct meta *m, struct slice repository, const struct upload_id *id, struct slice hash_state, struct err *e)
{
        struct session session = { .repository = repository, .id = id, .hash_state = hash_state };

        return writer_run(&m->writer, begin, &session, false, e);
}

void meta_upload_begin_soon(struct meta *m, struct slice repository, const struct upload_id *id, struct slice hash_state,
                            meta_done_fn *done, void *arg)
{
        start(m, begin, &(struct session){ .repository = repository, .id = id, .hash_state = hash_state }, done, arg);
}

static RESULT save(struct tx *tx, void *arg, struct err *e)
{
        struct session *session = arg;

        TRY(db_change(tx->db, SQL_UPLOAD_SAVE, VALUES(V_T(id_slice(session->id)), V_I(session->received), V_B(session->hash_state),
                                                      V_I(tx->now_us)), e));
        return db_changes(tx->db) ? OK : fail_upload(session->id, e);
}

RESULT meta_upload_save(struct meta *m, const struct upload_id *id, uint64_t received, struct slice hash_state, struct err *e)
{
        struct session session = { .id = id, .received = received, .hash_state = hash_state };

        return writer_run(&m->writer, save, &session, false, e);
}

void meta_upload_save_soon(struct meta *m, const struct upload_id *id, uint64_t received, struct slice hash_state,
                           meta_done_fn *done, void *arg)
{
        start(m, save, &(struct session){ .id = id, .received = received, .hash_state = hash_state }, done, arg);
}

static RESULT session_repository(struct db *db, struct slice repository, const struct upload_id *id, int64_t *ret_id, struct err *e)
{
        bool found;

        TRY(db_find(db, SQL_UPLOAD_REPOSITORY, VALUES(V_T(id_slice(id)), V_T(repository)), &found, ret_id, e));
        return found ? OK : fail_upload(id, e);
}

static RESULT drop(struct tx *tx, void *arg, struct err *e)
{
        struct session *session = arg;
        int64_t ignored;

        TRY(session_repository(tx->db, session->repository, session->id, &ignored, e));
        return db_change(tx->db, SQL_UPLOAD_REMOVE, VALUES(V_T(id_slice(session->id))), e);
}

RESULT meta_upload_remove(struct meta *m, struct slice repository, const struct upload_id *id, struct err *e)
{
        struct session session = { .repository = repository, .id = id };

        return writer_run(&m->writer, drop, &session, false, e);
}

/* --- Reads ------------------------------------------------------------------------------------------------------------ */

RESULT meta_upload_get(struct meta *m, struct slice repository, const struct upload_id *id, struct arena *arena,
                       struct meta_upload *ret_upload, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_upload upload = { .id = *id };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_UPLOAD_GET, VALUES(V_T(id_slice(id)), V_T(repository)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return fail_upload(id, e);
        upload.repository = arena_copy(arena, repository);
        if (!upload.repository.p)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an upload");
        upload.received = (uint64_t)rows_i64(&rows, 1);
        TRY(copy_bytes(&rows, 2, arena, &upload.hash_state, e));
        upload.created_us = rows_i64(&rows, 3);
        upload.updated_us = rows_i64(&rows, 4);
        *ret_upload = upload;
        return OK;
}

RESULT meta_upload_exists(struct meta *m, const struct upload_id *id, bool *ret_exists, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        int64_t ignored;

        TRY(reader_lend(&m->readers, &reader, e));
        return db_find(&reader->db, SQL_UPLOAD_EXISTS, VALUES(V_T(id_slice(id))), ret_exists, &ignored, e);
}

RESULT meta_blob_of_upload(struct meta *m, const struct upload_id *id, struct digest *ret_digest, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_BLOB_OF_UPLOAD, VALUES(V_T(id_slice(id))), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_NOT_FOUND, 0, "no blob came from upload %s", id->s);
        return copy_digest(&rows, 0, ret_digest, e);
}

/* --- From session to blob --------------------------------------------------------------------------------------------- */

/* Bytes that were found damaged are replaced by those that came now; the old object goes as garbage does. */
static RESULT replace_damaged(struct tx *tx, struct commit *commit, int64_t blob, struct rows *found, struct err *e)
{
        struct slice object = commit->content.p ? SLICE_NONE : id_slice(commit->session.id);
        struct slice old = rows_bytes(found, 2);

        commit->surplus = commit->content.p != NULL;
        if (old.p)
                TRY(db_change(tx->db, SQL_TRASH_ADD, VALUES(V_T(old), V_D(commit->digest), V_I(rows_i64(found, 3)), V_I(tx->now_us)), e));
        tx_stale(tx, SLICE_NONE, SLICE_NONE, commit->digest);   /* in every repository that holds it */
        return db_change(tx->db, SQL_BLOB_REPLACE, VALUES(V_I(blob), V_I(commit->size), V_T(object), V_B(commit->content)), e);
}

static RESULT find_blob(struct tx *tx, struct commit *commit, bool *ret_found, int64_t *ret_id, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };

        TRY(db_query(tx->db, SQL_BLOB_FIND, VALUES(V_D(commit->digest)), &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        commit->surplus = *ret_found || commit->content.p;
        if (!*ret_found)
                return OK;
        *ret_id = rows_i64(&rows, 0);
        return rows_is_null(&rows, 1) ? OK : replace_damaged(tx, commit, *ret_id, &rows, e);
}

static RESULT find_or_add_blob(struct tx *tx, struct commit *commit, int64_t *ret_id, struct err *e)
{
        struct slice object = commit->content.p ? SLICE_NONE : id_slice(commit->session.id);
        bool found;

        TRY(find_blob(tx, commit, &found, ret_id, e));
        if (found)
                return OK;
        return db_find(tx->db, SQL_BLOB_ADD, VALUES(V_D(commit->digest), V_I(commit->size), V_T(object), V_B(commit->content),
                                                    V_I(tx->now_us)), &found, ret_id, e);
}

static RESULT end_in_blob(struct tx *tx, void *arg, struct err *e)
{
        struct commit *commit = arg;
        struct slice id = id_slice(commit->session.id);
        int64_t repository, blob;

        TRY(session_repository(tx->db, commit->session.repository, commit->session.id, &repository, e));
        TRY(find_or_add_blob(tx, commit, &blob, e));
        if (rule_holds(RULE_REVIEW_QUEUED))
                TRY(db_change(tx->db, SQL_BLOB_QUEUE, VALUES(V_I(blob), V_I(repository), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_LINK_ADD, VALUES(V_I(blob), V_I(repository), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_UPLOAD_REMOVE, VALUES(V_T(id)), e));
        tx_stale(tx, commit->session.repository, S(""), commit->digest);
        return OK;
}

RESULT meta_upload_commit(struct meta *m, struct slice repository, const struct upload_id *id, const struct digest *digest,
                          uint64_t size, struct slice content, bool *ret_surplus, struct err *e)
{
        struct commit commit = {
                .session = { .repository = repository, .id = id },
                .digest = digest,
                .size = size,
                .content = content,
        };

        TRY(writer_run(&m->writer, end_in_blob, &commit, true, e));
        *ret_surplus = commit.surplus;
        return OK;
}

void meta_upload_commit_soon(struct meta *m, struct slice repository, const struct upload_id *id, const struct digest *digest,
                             struct slice content, meta_done_fn *done, void *arg)
{
        struct commit *commit = soon_new(end_in_blob, true, sizeof *commit, done, arg);

        if (!commit)
                return;
        *commit = (struct commit){
                .session = { .repository = repository, .id = id },
                .digest = digest,
                .size = content.n,
                .content = content,
        };
        soon_start(m, commit);
}
