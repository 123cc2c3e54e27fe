#include "store/meta/check.h"

#include "oci/upload_id.h"
#include "store/meta/internal.h"

RESULT meta_object_known(struct meta *m, const struct digest *digest, const struct upload_id *id, bool *ret_known, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        struct slice object = { id->s, UPLOAD_ID_LENGTH };
        int64_t ignored;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_find(&reader->db, SQL_OBJECT_OF_BLOB, VALUES(V_T(object), V_D(digest)), ret_known, &ignored, e));
        if (*ret_known)
                return OK;
        return db_find(&reader->db, SQL_OBJECT_IN_TRASH, VALUES(V_T(object), V_D(digest)), ret_known, &ignored, e);
}

/* --- Parts ------------------------------------------------------------------------------------------------------------ */

struct parts {
        struct slice repository_name;
        const struct digest *manifest;
        const struct meta_part *items;
        size_t count;
        size_t absent;                  /* result */
};

static RESULT find_parent(struct db *db, const struct parts *parts, int64_t *ret_repository, int64_t *ret_id, struct err *e)
{
        struct repository repository;
        bool found;

        TRY(repository_find(db, parts->repository_name, &repository, e));
        *ret_repository = repository.id;
        TRY(db_find(db, SQL_MANIFEST_FIND, VALUES(V_I(repository.id), V_D(parts->manifest)), &found, ret_id, e));
        return found ? OK : FAIL(e, ERR_MANIFEST_UNKNOWN, 0, "the manifest was removed meanwhile");
}

struct stored {
        bool found, damaged;
        int64_t id;
        uint64_t size;
};

static RESULT find_part(struct db *db, int64_t repository, const struct meta_part *part, struct stored *ret_stored, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct stored stored = { .found = false };

        if (part->is_manifest)
                TRY(db_query(db, SQL_MANIFEST_FIND, VALUES(V_I(repository), V_D(&part->digest)), &rows, e));
        else
                TRY(db_query(db, SQL_BLOB_SIZE, VALUES(V_D(&part->digest)), &rows, e));
        TRY(rows_next(&rows, &stored.found, e));
        if (stored.found) {
                stored.id = rows_i64(&rows, 0);
                stored.size = (uint64_t)rows_i64(&rows, 1);
                stored.damaged = !part->is_manifest && !rows_is_null(&rows, 2);
        }
        *ret_stored = stored;
        return OK;
}

static RESULT check_part(struct db *db, int64_t repository, int64_t parent, const struct meta_part *part, enum meta_part_state *ret_state,
                         struct err *e)
{
        struct stored stored;
        int64_t ignored;
        bool linked;

        TRY(find_part(db, repository, part, &stored, e));
        if (!stored.found || stored.size != part->size) {
                *ret_state = stored.found ? META_PART_SIZE : META_PART_MISSING;
                return OK;
        }
        TRY(db_find(db, part->is_manifest ? SQL_HAS_CHILD : SQL_HAS_BLOB, VALUES(V_I(parent), V_I(stored.id)), &linked, &ignored, e));
        *ret_state = !linked ? META_PART_UNLINKED : stored.damaged ? META_PART_DAMAGED : META_PART_GOOD;
        return OK;
}

RESULT meta_parts_check(struct meta *m, struct slice repository, const struct digest *manifest, const struct meta_part *parts,
                        size_t count, enum meta_part_state *ret_state, size_t *ret_at, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        struct parts what = { repository, manifest, parts, count, 0 };
        int64_t repository_id, id;

        *ret_state = META_PART_GOOD;
        TRY(reader_lend(&m->readers, &reader, e));
        TRY(find_parent(&reader->db, &what, &repository_id, &id, e));
        for (size_t i = 0; i < count && (*ret_state == META_PART_GOOD || *ret_state == META_PART_DAMAGED); i++) {
                enum meta_part_state state;

                TRY(check_part(&reader->db, repository_id, id, &parts[i], &state, e));
                if (state == META_PART_GOOD || (state == META_PART_DAMAGED && *ret_state == state))
                        continue;
                *ret_state = state;
                *ret_at = i;
        }
        return OK;
}

/* No file has the name that the row gives to its object. */
static RESULT add_absent(struct tx *tx, const struct meta_part *part, int64_t *ret_id, struct err *e)
{
        struct upload_id id = upload_id_new();
        struct slice object = { id.s, UPLOAD_ID_LENGTH };
        bool found;

        return db_find(tx->db, SQL_NEW_BLOB, VALUES(V_D(&part->digest), V_I(part->size), V_T(object), V_B(SLICE_NONE), V_I(tx->now_us),
                                                    V_I(tx->now_us), V_T(S("it is not stored"))), &found, ret_id, e);
}

static RESULT link_part(struct tx *tx, int64_t repository, int64_t parent, const struct meta_part *part, size_t *absent, struct err *e)
{
        struct stored stored;

        TRY(find_part(tx->db, repository, part, &stored, e));
        *absent += !stored.found;
        if (part->is_manifest)
                return stored.found ? db_change(tx->db, SQL_MANIFEST_ADD_CHILD, VALUES(V_I(parent), V_I(stored.id)), e) : OK;
        if (!stored.found)
                TRY(add_absent(tx, part, &stored.id, e));
        TRY(db_change(tx->db, SQL_NEW_LINK, VALUES(V_I(stored.id), V_I(repository), V_I(tx->now_us)), e));
        return db_change(tx->db, SQL_MANIFEST_ADD_BLOB, VALUES(V_I(parent), V_I(stored.id), V_I(repository)), e);
}

static RESULT link_parts(struct tx *tx, void *arg, struct err *e)
{
        struct parts *parts = arg;
        int64_t repository, id;

        parts->absent = 0;
        TRY(find_parent(tx->db, parts, &repository, &id, e));
        for (size_t i = 0; i < parts->count; i++)
                TRY(link_part(tx, repository, id, &parts->items[i], &parts->absent, e));
        return OK;
}

RESULT meta_parts_link(struct meta *m, struct slice repository, const struct digest *manifest, const struct meta_part *parts,
                       size_t count, size_t *ret_absent, struct err *e)
{
        struct parts what = { repository, manifest, parts, count, 0 };

        TRY(writer_run(&m->writer, link_parts, &what, false, e));
        *ret_absent = what.absent;
        return OK;
}
