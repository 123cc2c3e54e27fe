#include "store/meta/damage.h"

#include "store/meta/internal.h"

#include <errno.h>

static struct slice object_of(const struct upload_id *id)
{
        return id ? (struct slice){ id->s, UPLOAD_ID_LENGTH } : SLICE_NONE;
}

/* --- Marks ------------------------------------------------------------------------------------------------------------ */

struct mark {
        const struct digest *digest;
        const struct upload_id *id;
        struct slice what;
        bool marked;
};

static RESULT set_damaged(struct tx *tx, void *arg, struct err *e)
{
        struct mark *mark = arg;

        TRY(db_change(tx->db, SQL_BLOB_MARK, VALUES(V_D(mark->digest), V_T(object_of(mark->id)), V_I(tx->now_us), V_T(mark->what)), e));
        mark->marked = db_changes(tx->db) > 0;
        if (mark->marked)
                tx_stale(tx, SLICE_NONE, SLICE_NONE, mark->digest);     /* in every repository that holds it */
        return OK;
}

RESULT meta_blob_set_damaged(struct meta *m, const struct digest *digest, const struct upload_id *id, struct slice what,
                             bool *ret_marked, struct err *e)
{
        struct mark mark = { .digest = digest, .id = id, .what = what };

        TRY(writer_run(&m->writer, set_damaged, &mark, true, e));
        *ret_marked = mark.marked;
        return OK;
}

static RESULT set_whole(struct tx *tx, void *arg, struct err *e)
{
        struct mark *mark = arg;

        return db_change(tx->db, SQL_BLOB_UNMARK, VALUES(V_D(mark->digest), V_T(object_of(mark->id))), e);
}

RESULT meta_blob_set_whole(struct meta *m, const struct digest *digest, const struct upload_id *id, struct err *e)
{
        struct mark mark = { .digest = digest, .id = id };

        return writer_run(&m->writer, set_whole, &mark, true, e);
}

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

static RESULT read_damaged(struct rows *rows, struct arena *arena, struct meta_damaged *ret_damaged, struct err *e)
{
        struct meta_damaged damaged = { .size = (uint64_t)rows_i64(rows, 1), .since_us = rows_i64(rows, 2) };

        TRY(copy_digest(rows, 0, &damaged.digest, e));
        TRY(copy_bytes(rows, 3, arena, &damaged.what, e));
        TRY(copy_bytes(rows, 4, arena, &damaged.repository, e));
        *ret_damaged = damaged;
        return OK;
}

RESULT meta_damaged_list(struct meta *m, size_t n, struct arena *arena, struct meta_damaged_list *ret_list, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_damaged_list list = { .items = arena_alloc(arena, n * sizeof *list.items) };
        bool found;

        if (!list.items)
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for %zu blobs", n);
        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_DAMAGED, NO_VALUES, &rows, e));
        for (;; list.total++) {
                TRY(rows_next(&rows, &found, e));
                if (!found)
                        break;
                if (list.count < n)
                        TRY(read_damaged(&rows, arena, &list.items[list.count++], e));
        }
        *ret_list = list;
        return OK;
}

RESULT meta_stored_next(struct meta *m, int64_t last_id, struct arena *arena, struct meta_stored *ret_stored, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_stored stored = { 0 };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_STORED_NEXT, VALUES(V_I(last_id)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no further blob");
        stored.id = rows_i64(&rows, 0);
        TRY(copy_digest(&rows, 1, &stored.blob.digest, e));
        stored.blob.size = (uint64_t)rows_i64(&rows, 2);
        stored.blob.in_database = rows_is_null(&rows, 3);
        if (!stored.blob.in_database && !upload_id_parse(rows_bytes(&rows, 3), &stored.blob.id))
                return FAIL(e, ERR_CORRUPT, 0, "the database holds an object's name that is none");
        TRY(copy_bytes(&rows, 4, arena, &stored.blob.bytes, e));
        stored.blob.damaged = !rows_is_null(&rows, 5);
        *ret_stored = stored;
        return OK;
}

RESULT meta_manifest_next(struct meta *m, int64_t last_id, struct arena *arena, int64_t *ret_id, struct slice *ret_repository,
                          struct meta_manifest *ret_manifest, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_MANIFEST_NEXT, VALUES(V_I(last_id)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_NOT_FOUND, 0, "there is no further manifest");
        TRY(read_manifest(&rows, arena, ret_manifest, e));
        TRY(copy_bytes(&rows, MANIFEST_COLUMN_PAYLOAD, arena, &ret_manifest->payload, e));
        *ret_id = rows_i64(&rows, MANIFEST_COLUMN_PAYLOAD + 1);
        return copy_bytes(&rows, MANIFEST_COLUMN_PAYLOAD + 2, arena, ret_repository, e);
}

RESULT meta_totals(struct meta *m, struct meta_totals *ret_totals, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(reader_lend_long(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_TOTALS, NO_VALUES, &rows, e));
        TRY(rows_next(&rows, &found, e));
        *ret_totals = (struct meta_totals){
                .repositories = (uint64_t)rows_i64(&rows, 0),
                .manifests = (uint64_t)rows_i64(&rows, 1),
                .tags = (uint64_t)rows_i64(&rows, 2),
                .blobs = (uint64_t)rows_i64(&rows, 3),
                .blob_bytes = (uint64_t)rows_i64(&rows, 4),
                .manifest_bytes = (uint64_t)rows_i64(&rows, 5),
        };
        return OK;
}

/* --- Scrub ------------------------------------------------------------------------------------------------------------ */

RESULT meta_scrub_get(struct meta *m, struct meta_scrub *ret_scrub, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_SCRUB_GET, NO_VALUES, &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_CORRUPT, 0, "the database lacks the scrub's row");
        *ret_scrub = (struct meta_scrub){
                .last_blob_id = rows_i64(&rows, 0),
                .started_us = rows_i64(&rows, 1),
                .ended_us = rows_i64(&rows, 2),
                .bytes = (uint64_t)rows_i64(&rows, 3),
        };
        return OK;
}

static RESULT put_scrub(struct tx *tx, void *arg, struct err *e)
{
        const struct meta_scrub *scrub = arg;

        return db_change(tx->db, SQL_SCRUB_PUT, VALUES(V_I(scrub->last_blob_id), V_I(scrub->started_us), V_I(scrub->ended_us),
                                                       V_I(scrub->bytes)), e);
}

RESULT meta_scrub_put(struct meta *m, const struct meta_scrub *scrub, struct err *e)
{
        struct meta_scrub copy = *scrub;

        return writer_run(&m->writer, put_scrub, &copy, false, e);
}
