#include "store/meta/adopt.h"

#include "store/meta/internal.h"

RESULT meta_blob_find(struct meta *m, const struct digest *digest, struct meta_blob *ret_blob, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_blob blob = { .digest = *digest };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_BLOB_FIND, VALUES(V_D(digest)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no blob %s", digest_format(digest).s);
        blob.damaged = !rows_is_null(&rows, 1);
        blob.in_database = rows_is_null(&rows, 2);
        if (!blob.in_database && !upload_id_parse(rows_bytes(&rows, 2), &blob.id))
                return FAIL(e, ERR_CORRUPT, 0, "the database holds an object's name that is none");
        blob.size = (uint64_t)rows_i64(&rows, 3);
        *ret_blob = blob;
        return OK;
}

struct adoption {
        const struct digest *digest;
        const struct upload_id *id;
        uint64_t size;
        bool result;
};

static RESULT adopt(struct tx *tx, void *arg, struct err *e)
{
        struct adoption *adoption = arg;
        struct slice object = { adoption->id->s, UPLOAD_ID_LENGTH };
        int64_t blob;
        bool found;

        TRY(db_find(tx->db, SQL_BLOB_FIND, VALUES(V_D(adoption->digest)), &found, &blob, e));
        adoption->result = !found;
        if (found)
                return db_change(tx->db, SQL_BLOB_REPLACE, VALUES(V_I(blob), V_I(adoption->size), V_T(object), V_B(SLICE_NONE)), e);
        TRY(db_find(tx->db, SQL_BLOB_ADD, VALUES(V_D(adoption->digest), V_I(adoption->size), V_T(object), V_B(SLICE_NONE), V_I(tx->now_us)),
                    &found, &blob, e));
        return db_change(tx->db, SQL_BLOB_QUEUE, VALUES(V_I(blob), V_I(0), V_I(tx->now_us)), e);
}

RESULT meta_blob_adopt(struct meta *m, const struct digest *digest, const struct upload_id *id, uint64_t size, bool *ret_new,
                       struct err *e)
{
        struct adoption adoption = { .digest = digest, .id = id, .size = size };

        TRY(writer_run(&m->writer, adopt, &adoption, false, e));
        *ret_new = adoption.result;
        return OK;
}

static RESULT forget(struct tx *tx, void *arg, struct err *e)
{
        struct adoption *what = arg;
        int64_t blob, ignored;
        bool found, named = false;

        what->result = false;
        TRY(db_find(tx->db, SQL_BLOB_FIND, VALUES(V_D(what->digest)), &found, &blob, e));
        if (found)
                TRY(db_find(tx->db, SQL_BLOB_IS_NAMED, VALUES(V_I(blob)), &named, &ignored, e));
        if (!found || named)
                return OK;
        TRY(db_change(tx->db, SQL_LINKS_REMOVE, VALUES(V_I(blob)), e));
        what->result = true;
        return db_change(tx->db, SQL_BLOB_REMOVE, VALUES(V_I(blob)), e);
}

RESULT meta_blob_forget(struct meta *m, const struct digest *digest, bool *ret_forgotten, struct err *e)
{
        struct adoption what = { .digest = digest };

        TRY(writer_run(&m->writer, forget, &what, false, e));
        *ret_forgotten = what.result;
        return OK;
}

static RESULT queue(struct tx *tx, void *arg, struct err *e)
{
        (void)arg;
        TRY(db_change(tx->db, SQL_BLOBS_QUEUE_UNNAMED, VALUES(V_I(tx->now_us)), e));
        return db_change(tx->db, SQL_BLOBS_QUEUE_UNLINKED, VALUES(V_I(tx->now_us)), e);
}

RESULT meta_blobs_queue(struct meta *m, struct err *e)
{
        return writer_run(&m->writer, queue, NULL, false, e);
}
