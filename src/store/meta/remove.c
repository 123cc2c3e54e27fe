#include "store/meta/remove.h"

#include "base/clock.h"
#include "store/meta/internal.h"

#include <stdio.h>

enum { STEP_ROWS = 100, STEP_US = 2000 };

/* --- A whole repository ----------------------------------------------------------------------------------------------- */

struct strip {
        struct slice repository;
        const struct meta_stripping *before;
        struct meta_stripping after;
};

struct next {
        int64_t id;
        uint64_t size;
        struct digest digest;
};

static RESULT find_next(struct tx *tx, int64_t repository, const struct meta_stripping *at, bool *ret_found, struct next *ret_next,
                        struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        unsigned char code[DIGEST_CODE_MAX];
        struct slice from = S("");

        if (at->has_last)
                from = (struct slice){ (const char *)code, digest_encode(&at->last, code) };
        TRY(db_query(tx->db, SQL_MANIFEST_AFTER, VALUES(V_I(repository), V_B(from)), &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (!*ret_found)
                return OK;
        ret_next->id = rows_i64(&rows, 0);
        ret_next->size = (uint64_t)rows_i64(&rows, 2);
        return copy_digest(&rows, 1, &ret_next->digest, e);
}

static RESULT strip_one(struct tx *tx, int64_t repository, struct strip *strip, struct err *e)
{
        struct meta_stripping *at = &strip->after;
        struct next next;
        int64_t ignored;
        bool found, is_child;

        TRY(find_next(tx, repository, at, &found, &next, e));
        if (!found) {
                at->ended = !at->removed_some;
                at->has_last = at->removed_some = false;
                return OK;
        }
        at->has_last = true;
        at->last = next.digest;
        TRY(db_find(tx->db, SQL_MANIFEST_IS_CHILD, VALUES(V_I(next.id)), &is_child, &ignored, e));
        if (is_child)
                return OK;
        at->removed_some = true;
        at->manifests++;
        at->bytes += next.size;
        return manifest_remove(tx, strip->repository, repository, next.id, &next.digest, e);
}

static RESULT strip(struct tx *tx, void *arg, struct err *e)
{
        struct strip *strip = arg;
        int64_t end_us = clock_mono_us() + STEP_US;
        struct repository repository;

        strip->after = *strip->before;
        TRY(repository_find(tx->db, strip->repository, &repository, e));
        for (int i = 0; i < STEP_ROWS && !strip->after.ended && clock_mono_us() < end_us; i++)
                TRY(strip_one(tx, repository.id, strip, e));
        return OK;
}

static RESULT nothing(struct tx *tx, void *arg, struct err *e)
{
        (void)tx, (void)arg, (void)e;
        return OK;
}

/* Only the end is synced: a sync for each step would be one more to wait for, for all that push meanwhile. */
RESULT meta_repository_strip(struct meta *m, struct slice repository, struct meta_stripping *stripping, struct err *e)
{
        struct strip change = { .repository = repository, .before = stripping };

        TRY(writer_run(&m->writer, strip, &change, false, e));
        if (change.after.ended)
                TRY(writer_run(&m->writer, nothing, NULL, true, e));
        *stripping = change.after;
        return OK;
}

/* --- A tag ------------------------------------------------------------------------------------------------------------ */

struct untag {
        struct slice repository, tag;
        bool manifest_too;
};

/* What leads to a manifest apart from the tag that goes. */
static RESULT is_led_to(struct db *db, int64_t repository, int64_t id, const struct digest *subject, bool *ret_led_to, struct err *e)
{
        int64_t ignored;

        TRY(db_find(db, SQL_TAG_OF_MANIFEST, VALUES(V_I(id)), ret_led_to, &ignored, e));
        if (!*ret_led_to)
                TRY(db_find(db, SQL_MANIFEST_IS_CHILD, VALUES(V_I(id)), ret_led_to, &ignored, e));
        if (!*ret_led_to && subject->algorithm)
                TRY(db_find(db, SQL_MANIFEST_FIND, VALUES(V_I(repository), V_D(subject)), ret_led_to, &ignored, e));
        return OK;
}

static RESULT find_tagged(struct tx *tx, const struct untag *untag, int64_t repository, int64_t *ret_id, struct digest *ret_digest,
                          struct digest *ret_subject, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(tx->db, SQL_TAGGED, VALUES(V_I(repository), V_T(untag->tag)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_MANIFEST_UNKNOWN, 0, "repository %.*s has no tag %.*s", SLICE_ARG(untag->repository),
                            SLICE_ARG(untag->tag));
        *ret_id = rows_i64(&rows, 0);
        *ret_subject = (struct digest){ 0 };
        if (!rows_is_null(&rows, 2))
                TRY(copy_digest(&rows, 2, ret_subject, e));
        return copy_digest(&rows, 1, ret_digest, e);
}

static RESULT untag(struct tx *tx, void *arg, struct err *e)
{
        struct untag *untag = arg;
        struct digest none = { 0 }, digest, subject;
        struct repository repository;
        int64_t id;
        bool led_to;

        TRY(repository_find(tx->db, untag->repository, &repository, e));
        TRY(find_tagged(tx, untag, repository.id, &id, &digest, &subject, e));
        TRY(db_change(tx->db, SQL_TAG_REMOVE, VALUES(V_I(repository.id), V_T(untag->tag)), e));
        tx_stale(tx, untag->repository, untag->tag, &none);
        TRY(is_led_to(tx->db, repository.id, id, &subject, &led_to, e));
        untag->manifest_too = !led_to;
        if (led_to)
                return db_change(tx->db, SQL_MANIFEST_QUEUE, VALUES(V_I(id), V_I(tx->now_us)), e);
        return manifest_remove(tx, untag->repository, repository.id, id, &digest, e);
}

RESULT meta_tag_remove(struct meta *m, struct slice repository, struct slice tag, bool *ret_manifest_too, struct err *e)
{
        struct untag change = { .repository = repository, .tag = tag };

        TRY(writer_run(&m->writer, untag, &change, true, e));
        *ret_manifest_too = change.manifest_too;
        return OK;
}

/* --- Usage ------------------------------------------------------------------------------------------------------------ */

RESULT meta_usage_each(struct meta *m, meta_usage_fn *fn, void *arg, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(reader_lend_long(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_USAGE, NO_VALUES, &rows, e));
        for (;;) {
                struct meta_usage usage;

                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                usage = (struct meta_usage){
                        .repository = rows_bytes(&rows, 0),
                        .tags = (uint64_t)rows_i64(&rows, 1),
                        .manifests = (uint64_t)rows_i64(&rows, 2),
                        .manifest_bytes = (uint64_t)rows_i64(&rows, 3),
                        .blobs = (uint64_t)rows_i64(&rows, 4),
                        .bytes = (uint64_t)rows_i64(&rows, 5),
                        .own_bytes = (uint64_t)rows_i64(&rows, 6),
                };
                TRY(fn(arg, &usage, e));
        }
}
