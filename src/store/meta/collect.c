#include "store/meta/collect.h"

#include "base/clock.h"
#include "base/rules.h"
#include "store/meta/internal.h"

#include <errno.h>

/* A step ends with the first of the two: whoever pushes meanwhile waits no longer than that. */
enum { STEP_ROWS = 100, STEP_US = 2000 };

static struct slice id_slice(const struct upload_id *id)
{
        return (struct slice){ id->s, UPLOAD_ID_LENGTH };
}

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

/* A row of GC_BLOB_FIRST. */
struct review {
        int64_t id, blob, repository;
        int64_t since_us, link_since_us;
        bool blob_exists, linked, in_database;
        struct slice name, object;      /* valid until the rows end */
        struct digest digest;
        uint64_t size;
};

static RESULT read_review(struct rows *rows, struct review *ret_review, struct err *e)
{
        struct review review = {
                .id = rows_i64(rows, 0),
                .blob = rows_i64(rows, 1),
                .repository = rows_i64(rows, 2),
                .since_us = rows_i64(rows, 3),
                .name = rows_bytes(rows, 4),
                .blob_exists = !rows_is_null(rows, 5),
                .size = (uint64_t)rows_i64(rows, 6),
                .object = rows_bytes(rows, 7),
                .linked = !rows_is_null(rows, 8),
                .link_since_us = rows_i64(rows, 8),
        };

        review.in_database = review.blob_exists && !review.object.p;
        if (review.blob_exists)
                TRY(copy_digest(rows, 5, &review.digest, e));
        *ret_review = review;
        return OK;
}

/* From when on the time runs: the link was touched by whoever uploaded, mounted or asked for the blob since. */
static int64_t since(const struct review *review)
{
        return review->linked ? MAX(review->since_us, review->link_since_us) : review->since_us;
}

static RESULT is_used(struct db *db, const struct review *review, bool *ret_used, struct err *e)
{
        int64_t ignored;

        TRY(db_find(db, SQL_BLOB_IN_USE, VALUES(V_I(review->blob), V_I(review->repository)), ret_used, &ignored, e));
        if (!rule_holds(RULE_USED_STAYS))
                *ret_used = false;
        return OK;
}

static RESULT remove_blob(struct tx *tx, const struct review *review, struct meta_collected *collected, struct err *e)
{
        bool linked;
        int64_t ignored;

        TRY(db_find(tx->db, SQL_BLOB_IS_LINKED, VALUES(V_I(review->blob)), &linked, &ignored, e));
        if (linked)
                return OK;
        TRY(db_change(tx->db, SQL_BLOB_REMOVE, VALUES(V_I(review->blob)), e));
        collected->blobs++;
        if (review->in_database) {
                collected->content_bytes += review->size;
                return OK;
        }
        return db_change(tx->db, SQL_TRASH_ADD, VALUES(V_T(review->object), V_D(&review->digest), V_I(review->size), V_I(tx->now_us)), e);
}

static RESULT remove_unused(struct tx *tx, const struct review *review, struct meta_collected *collected, struct err *e)
{
        if (review->linked) {
                TRY(db_change(tx->db, SQL_LINK_REMOVE, VALUES(V_I(review->blob), V_I(review->repository)), e));
                if (rule_holds(RULE_CHANGES_TOLD))
                        tx_stale(tx, tx_keep(tx, review->name), S(""), &review->digest);
                collected->links++;
        }
        return remove_blob(tx, review, collected, e);
}

/* The row leaves the queue in each case. One whose link was touched since comes again at its end. */
static RESULT review_blob(struct tx *tx, const struct meta_rules *rules, const struct review *review, struct meta_collected *collected,
                          struct err *e)
{
        bool used;

        TRY(db_change(tx->db, SQL_GC_BLOB_REVIEWED, VALUES(V_I(review->id)), e));
        if (!review->blob_exists)
                return OK;
        TRY(is_used(tx->db, review, &used, e));
        if (used)
                return OK;
        if (since(review) > tx->now_us - rules->grace_us && rule_holds(RULE_GRACE))
                return db_change(tx->db, SQL_BLOB_QUEUE, VALUES(V_I(review->blob), V_I(review->repository), V_I(since(review))), e);
        return remove_unused(tx, review, collected, e);
}

static RESULT collect_blob(struct tx *tx, const struct meta_rules *rules, struct meta_collected *collected, bool *ret_found,
                           struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct review review;

        TRY(db_query(tx->db, SQL_GC_BLOB_FIRST, NO_VALUES, &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (!*ret_found)
                return OK;
        TRY(read_review(&rows, &review, e));
        *ret_found = review.since_us <= tx->now_us - rules->grace_us || !rule_holds(RULE_GRACE);
        return *ret_found ? review_blob(tx, rules, &review, collected, e) : OK;
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

/* A row of GC_MANIFEST_NEXT. */
struct candidate {
        int64_t id, since_us, repository;
        struct slice name;              /* valid until the rows end */
        struct digest digest, subject;
        bool has_subject;
        uint64_t size;
};

static RESULT read_candidate(struct rows *rows, struct candidate *ret_candidate, struct err *e)
{
        struct candidate candidate = {
                .id = rows_i64(rows, 0),
                .since_us = rows_i64(rows, 1),
                .repository = rows_i64(rows, 2),
                .name = rows_bytes(rows, 3),
                .size = (uint64_t)rows_i64(rows, 5),
                .has_subject = !rows_is_null(rows, 6),
        };

        TRY(copy_digest(rows, 4, &candidate.digest, e));
        if (candidate.has_subject)
                TRY(copy_digest(rows, 6, &candidate.subject, e));
        *ret_candidate = candidate;
        return OK;
}

/* Does a tag, an index or a subject lead to it? */
static RESULT is_led_to(struct db *db, const struct candidate *candidate, bool *ret_led_to, struct err *e)
{
        int64_t ignored;

        TRY(db_find(db, SQL_TAG_OF_MANIFEST, VALUES(V_I(candidate->id)), ret_led_to, &ignored, e));
        if (!*ret_led_to)
                TRY(db_find(db, SQL_MANIFEST_IS_CHILD, VALUES(V_I(candidate->id)), ret_led_to, &ignored, e));
        if (!*ret_led_to && candidate->has_subject)
                TRY(db_find(db, SQL_MANIFEST_FIND, VALUES(V_I(candidate->repository), V_D(&candidate->subject)), ret_led_to, &ignored, e));
        if (!rule_holds(RULE_LED_TO_STAYS))
                *ret_led_to = false;
        return OK;
}

static RESULT review_manifest(struct tx *tx, const struct candidate *candidate, struct meta_collected *collected, struct err *e)
{
        bool led_to;

        TRY(is_led_to(tx->db, candidate, &led_to, e));
        if (led_to)
                return db_change(tx->db, SQL_MANIFEST_UNQUEUE, VALUES(V_I(candidate->id)), e);
        collected->manifests++;
        collected->manifest_bytes += candidate->size;
        return manifest_remove(tx, tx_keep(tx, candidate->name), candidate->repository, candidate->id, &candidate->digest, e);
}

static RESULT collect_manifest(struct tx *tx, bool orphaned, int64_t age_us, struct meta_collected *collected, bool *ret_found,
                               struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct candidate candidate;

        TRY(db_query(tx->db, SQL_GC_MANIFEST_NEXT, VALUES(V_I(orphaned), V_I(tx->now_us - age_us), V_I(INT64_MIN), V_I(0)), &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (!*ret_found)
                return OK;
        TRY(read_candidate(&rows, &candidate, e));
        return review_manifest(tx, &candidate, collected, e);
}

/* --- A step ----------------------------------------------------------------------------------------------------------- */

struct step {
        const struct meta_rules *rules;
        struct meta_collected collected;
};

/* Manifests first: what they named waits its own time. */
static RESULT collect_next(struct tx *tx, struct step *step, bool *ret_found, struct err *e)
{
        const struct meta_rules *rules = step->rules;

        TRY(collect_manifest(tx, true, rules->grace_us, &step->collected, ret_found, e));
        if (!*ret_found && rules->untagged_us)
                TRY(collect_manifest(tx, false, rules->untagged_us, &step->collected, ret_found, e));
        if (!*ret_found)
                TRY(collect_blob(tx, rules, &step->collected, ret_found, e));
        return OK;
}

static RESULT collect(struct tx *tx, void *arg, struct err *e)
{
        struct step *step = arg;
        int64_t end_us = clock_mono_us() + STEP_US;

        step->collected = (struct meta_collected){ .more = true };
        while (step->collected.more && step->collected.reviewed < STEP_ROWS && clock_mono_us() < end_us) {
                TRY(collect_next(tx, step, &step->collected.more, e));
                step->collected.reviewed += step->collected.more;
        }
        return OK;
}

/* Is there a row to look at? A step that finds none would cost the writers a turn. */
static RESULT is_due(struct meta *m, const struct meta_rules *rules, bool *ret_due, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        int64_t now_us = clock_now_us(), first;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_find(&reader->db, SQL_GC_MANIFEST_DUE, VALUES(V_I(1), V_I(now_us - rules->grace_us)), ret_due, &first, e));
        if (!*ret_due && rules->untagged_us)
                TRY(db_find(&reader->db, SQL_GC_MANIFEST_DUE, VALUES(V_I(0), V_I(now_us - rules->untagged_us)), ret_due, &first, e));
        if (*ret_due)
                return OK;
        TRY(db_find(&reader->db, SQL_GC_BLOB_SINCE, NO_VALUES, ret_due, &first, e));
        *ret_due = *ret_due && (first <= now_us - rules->grace_us || !rule_holds(RULE_GRACE));
        return OK;
}

/* Synced: an object's file may be removed once the blob's row is gone for good. */
RESULT meta_collect(struct meta *m, const struct meta_rules *rules, struct meta_collected *ret_collected, struct err *e)
{
        struct step step = { .rules = rules };
        bool due;

        TRY(is_due(m, rules, &due, e));
        if (due)
                TRY(writer_run(&m->writer, collect, &step, true, e));
        *ret_collected = step.collected;
        return OK;
}

/* --- Objects ---------------------------------------------------------------------------------------------------------- */

RESULT meta_trash_page(struct meta *m, int64_t before_us, size_t n, struct arena *arena, struct meta_objects *ret_page, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_objects page = { .items = arena_alloc(arena, n * sizeof *page.items) };
        bool found;

        if (!page.items)
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for %zu objects", n);
        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_TRASH_PAGE, VALUES(V_I(before_us), V_I(n)), &rows, e));
        for (;; page.count++) {
                struct meta_object *object = &page.items[page.count];

                TRY(rows_next(&rows, &found, e));
                if (!found || page.count == n)
                        break;
                if (!upload_id_parse(rows_bytes(&rows, 0), &object->id))
                        return FAIL(e, ERR_CORRUPT, 0, "the database holds an object's name that is none");
                TRY(copy_digest(&rows, 1, &object->digest, e));
                object->size = (uint64_t)rows_i64(&rows, 2);
                object->since_us = rows_i64(&rows, 3);
        }
        *ret_page = page;
        return OK;
}

static RESULT forget_objects(struct tx *tx, void *arg, struct err *e)
{
        const struct meta_objects *objects = arg;

        for (size_t i = 0; i < objects->count; i++)
                TRY(db_change(tx->db, SQL_TRASH_REMOVE, VALUES(V_T(id_slice(&objects->items[i].id))), e));
        return OK;
}

RESULT meta_trash_forget(struct meta *m, const struct meta_objects *objects, struct err *e)
{
        struct meta_objects copy = *objects;

        return writer_run(&m->writer, forget_objects, &copy, false, e);
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

RESULT meta_uploads_idle(struct meta *m, int64_t before_us, size_t n, struct arena *arena, struct meta_idle_uploads *ret_page,
                         struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct meta_idle_uploads page = { .items = arena_alloc(arena, n * sizeof *page.items) };
        bool found;

        if (!page.items)
                return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for %zu uploads", n);
        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_UPLOADS_IDLE, VALUES(V_I(before_us), V_I(n)), &rows, e));
        for (;; page.count++) {
                struct meta_idle_upload *upload = &page.items[page.count];

                TRY(rows_next(&rows, &found, e));
                if (!found || page.count == n)
                        break;
                if (!upload_id_parse(rows_bytes(&rows, 0), &upload->id))
                        return FAIL(e, ERR_CORRUPT, 0, "the database holds an upload's name that is none");
                TRY(copy_bytes(&rows, 1, arena, &upload->repository, e));
                upload->received = (uint64_t)rows_i64(&rows, 2);
                upload->updated_us = rows_i64(&rows, 3);
        }
        *ret_page = page;
        return OK;
}

struct expiry {
        const struct upload_id *id;
        int64_t before_us;
        bool expired;
};

static RESULT expire(struct tx *tx, void *arg, struct err *e)
{
        struct expiry *expiry = arg;

        TRY(db_change(tx->db, SQL_UPLOAD_EXPIRE, VALUES(V_T(id_slice(expiry->id)), V_I(expiry->before_us)), e));
        expiry->expired = db_changes(tx->db) > 0;
        return OK;
}

RESULT meta_upload_expire(struct meta *m, const struct upload_id *id, int64_t before_us, bool *ret_expired, struct err *e)
{
        struct expiry expiry = { .id = id, .before_us = before_us };

        TRY(writer_run(&m->writer, expire, &expiry, false, e));
        *ret_expired = expiry.expired;
        return OK;
}

/* --- Looking ---------------------------------------------------------------------------------------------------------- */

struct look {
        struct db *db;
        const struct meta_rules *rules;
        meta_garbage_fn *fn;
        void *arg;
        int64_t last_id, last_since_us;
};

/* A row of GC_BLOBS: nobody in its repository names the blob. Its bytes come back with the last of its links, if all of them go. */
static RESULT tell_blob(struct look *look, struct rows *rows, struct err *e)
{
        int64_t links, going;
        struct meta_garbage garbage;
        struct review review;
        bool last;

        TRY(read_review(rows, &review, e));
        links = rows_i64(rows, GC_BLOB_COLUMN_LINKS);
        going = rows_i64(rows, GC_BLOB_COLUMN_LINKS + 1);
        last = rows_i64(rows, GC_BLOB_COLUMN_LINKS + 2) == 1;
        if (!review.blob_exists || (!review.linked && (links || !last)))
                return OK;
        garbage = (struct meta_garbage){ .kind = GARBAGE_LINK, .repository = review.name, .digest = review.digest,
                                         .since_us = since(&review) };
        if (links == going && last) {
                garbage.kind = GARBAGE_BLOB;
                garbage.size = review.size;
        }
        return look->fn(look->arg, &garbage, e);
}

static RESULT look_at_blobs(struct look *look, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(look->db, SQL_GC_BLOBS, NO_VALUES, &rows, e));
        for (;;) {
                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                TRY(tell_blob(look, &rows, e));
        }
}

static RESULT look_at_manifest(struct look *look, bool orphaned, bool *ret_found, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct candidate candidate;
        struct meta_garbage garbage = { .kind = orphaned ? GARBAGE_ORPHAN : GARBAGE_UNTAGGED };
        bool led_to;

        TRY(db_query(look->db, SQL_GC_MANIFEST_NEXT, VALUES(V_I(orphaned), V_I(INT64_MAX), V_I(look->last_since_us), V_I(look->last_id)),
                     &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (!*ret_found)
                return OK;
        TRY(read_candidate(&rows, &candidate, e));
        look->last_id = candidate.id;
        look->last_since_us = candidate.since_us;
        TRY(is_led_to(look->db, &candidate, &led_to, e));
        if (led_to)
                return OK;
        garbage.repository = candidate.name;
        garbage.digest = candidate.digest;
        garbage.size = candidate.size;
        garbage.since_us = candidate.since_us;
        return look->fn(look->arg, &garbage, e);
}

static RESULT look_at_manifests(struct look *look, bool orphaned, struct err *e)
{
        bool found = true;

        look->last_id = 0;
        look->last_since_us = INT64_MIN;
        while (found)
                TRY(look_at_manifest(look, orphaned, &found, e));
        return OK;
}

static RESULT look_at_uploads(struct look *look, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(look->db, SQL_UPLOADS_IDLE, VALUES(V_I(INT64_MAX), V_I(INT64_MAX)), &rows, e));
        for (;;) {
                struct meta_garbage garbage = { .kind = GARBAGE_UPLOAD };

                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                garbage.upload = rows_bytes(&rows, 0);
                garbage.repository = rows_bytes(&rows, 1);
                garbage.size = (uint64_t)rows_i64(&rows, 2);
                garbage.since_us = rows_i64(&rows, 3);
                TRY(look->fn(look->arg, &garbage, e));
        }
}

static RESULT look_at_objects(struct look *look, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(look->db, SQL_TRASH_PAGE, VALUES(V_I(INT64_MAX), V_I(INT64_MAX)), &rows, e));
        for (;;) {
                struct meta_garbage garbage = { .kind = GARBAGE_OBJECT };

                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                TRY(copy_digest(&rows, 1, &garbage.digest, e));
                garbage.size = (uint64_t)rows_i64(&rows, 2);
                garbage.since_us = rows_i64(&rows, 3);
                TRY(look->fn(look->arg, &garbage, e));
        }
}

RESULT meta_garbage_each(struct meta *m, const struct meta_rules *rules, meta_garbage_fn *fn, void *arg, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        struct look look = { .rules = rules, .fn = fn, .arg = arg };

        TRY(reader_lend_long(&m->readers, &reader, e));
        look.db = &reader->db;
        TRY(look_at_manifests(&look, true, e));
        if (rules->untagged_us)
                TRY(look_at_manifests(&look, false, e));
        TRY(look_at_blobs(&look, e));
        TRY(look_at_uploads(&look, e));
        return look_at_objects(&look, e);
}

static RESULT read_queue(struct db *db, enum statement statement, struct values values, bool has_bytes, struct meta_queue *ret_queue,
                         struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(db, statement, values, &rows, e));
        TRY(rows_next(&rows, &found, e));
        *ret_queue = (struct meta_queue){ .count = (uint64_t)rows_i64(&rows, 0), .since_us = rows_i64(&rows, 1) };
        if (has_bytes)
                ret_queue->bytes = (uint64_t)rows_i64(&rows, 2);
        return OK;
}

RESULT meta_waiting(struct meta *m, struct meta_waiting *ret_waiting, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        struct meta_waiting waiting;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(read_queue(&reader->db, SQL_WAITING_BLOBS, NO_VALUES, false, &waiting.blobs, e));
        TRY(read_queue(&reader->db, SQL_WAITING_MANIFESTS, VALUES(V_I(1)), false, &waiting.orphans, e));
        TRY(read_queue(&reader->db, SQL_WAITING_MANIFESTS, VALUES(V_I(0)), false, &waiting.untagged, e));
        TRY(read_queue(&reader->db, SQL_WAITING_OBJECTS, NO_VALUES, true, &waiting.objects, e));
        TRY(read_queue(&reader->db, SQL_WAITING_UPLOADS, NO_VALUES, true, &waiting.uploads, e));
        *ret_waiting = waiting;
        return OK;
}
