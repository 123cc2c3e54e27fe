/* Manifests and tags. */
#include "store/meta/internal.h"

#include "base/clock.h"
#include "base/rules.h"

#include <stdio.h>

static struct result fail_digest(struct db *db, struct slice repository, const struct digest *digest, struct err *e)
{
        char what[DIGEST_TEXT_MAX + 16];

        snprintf(what, sizeof what, "manifest %s", digest_format(digest).s);
        return fail_unknown(db, repository, ERR_MANIFEST_UNKNOWN, what, e);
}

static struct result fail_tag(struct db *db, struct slice repository, struct slice tag, struct err *e)
{
        char what[256];

        snprintf(what, sizeof what, "tag %.*s", SLICE_ARG(slice_head(tag, 160)));
        return fail_unknown(db, repository, ERR_MANIFEST_UNKNOWN, what, e);
}

/* --- Put -------------------------------------------------------------------------------------------------------------- */

struct put {
        struct slice repository;
        const struct meta_manifest *manifest;
        const struct meta_part *parts;
        size_t part_count;
        const struct slice *tags;
        size_t tag_count;
        int64_t *part_ids;              /* room for part_count */
};

static RESULT check_part(struct db *db, int64_t repository, const struct meta_part *part, int64_t *ret_id, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        const char *kind = part->is_manifest ? "manifest" : "blob";
        bool found;

        TRY(db_query(db, part->is_manifest ? SQL_MANIFEST_FIND : SQL_LINK_FIND, VALUES(V_I(repository), V_D(&part->digest)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return FAIL(e, ERR_MANIFEST_BLOB_UNKNOWN, 0, "the manifest names %s %s, which is not in this repository: push it first",
                            kind, digest_format(&part->digest).s);
        if ((uint64_t)rows_i64(&rows, 1) != part->size)
                return FAIL(e, ERR_SIZE_INVALID, 0, "the manifest says that %s %s has %llu bytes; it has %llu", kind,
                            digest_format(&part->digest).s, (unsigned long long)part->size,
                            (unsigned long long)rows_i64(&rows, 1));
        *ret_id = rows_i64(&rows, 0);
        return OK;
}

/* Id 0: a repository that does not exist yet; no part can be in it. */
static RESULT check_parts(struct db *db, int64_t repository, struct put *put, struct err *e)
{
        for (size_t i = 0; i < put->part_count; i++)
                TRY(check_part(db, repository, &put->parts[i], &put->part_ids[i], e));
        return OK;
}

static RESULT link_parts(struct tx *tx, int64_t repository, int64_t id, const struct put *put, struct err *e)
{
        for (size_t i = 0; i < put->part_count; i++) {
                if (put->parts[i].is_manifest)
                        TRY(db_change(tx->db, SQL_MANIFEST_ADD_CHILD, VALUES(V_I(id), V_I(put->part_ids[i])), e));
                else
                        TRY(db_change(tx->db, SQL_MANIFEST_ADD_BLOB, VALUES(V_I(id), V_I(put->part_ids[i]), V_I(repository)), e));
        }
        return OK;
}

static RESULT add_manifest(struct tx *tx, int64_t repository, const struct put *put, int64_t *ret_id, struct err *e)
{
        const struct meta_manifest *m = put->manifest;
        bool found;

        TRY(db_find(tx->db, SQL_MANIFEST_ADD,
                    VALUES(V_I(repository), V_D(&m->digest), V_T(m->media_type), V_T(m->artifact_type),
                           V_D(m->has_subject ? &m->subject : NULL), V_T(m->annotations), V_I(m->size), V_I(tx->now_us),
                           V_B(m->payload)), &found, ret_id, e));
        TRY(link_parts(tx, repository, *ret_id, put, e));
        tx_stale(tx, put->repository, S(""), &m->digest);
        if (m->has_subject)
                tx_stale(tx, put->repository, S(""), &m->subject);
        return OK;
}

/* Equal bytes again. Where they do not tell their type themselves, the last push does. Bytes and links that the disk had spoiled
 * are good again, and a review that is near is put off: whoever pushes a manifest by digest is about to name it. */
static RESULT again(struct tx *tx, int64_t repository, int64_t id, bool same_type, const struct put *put, struct err *e)
{
        TRY(link_parts(tx, repository, id, put, e));
        TRY(db_change(tx->db, SQL_MANIFEST_MEND, VALUES(V_I(id), V_B(put->manifest->payload)), e));
        if (db_changes(tx->db))
                tx_stale(tx, put->repository, S(""), &put->manifest->digest);
        if (put->tag_count == 0)
                TRY(db_change(tx->db, SQL_MANIFEST_PUSHED_AGAIN, VALUES(V_I(id), V_I(tx->now_us)), e));
        if (same_type)
                return OK;
        tx_stale(tx, put->repository, S(""), &put->manifest->digest);
        return db_change(tx->db, SQL_MANIFEST_SET_TYPE, VALUES(V_I(id), V_T(put->manifest->media_type)), e);
}

static RESULT find_manifest(struct tx *tx, int64_t repository, const struct put *put, bool *ret_found, int64_t *ret_id,
                            struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool same_type;

        TRY(db_query(tx->db, SQL_MANIFEST_FIND, VALUES(V_I(repository), V_D(&put->manifest->digest)), &rows, e));
        TRY(rows_next(&rows, ret_found, e));
        if (!*ret_found)
                return OK;
        *ret_id = rows_i64(&rows, 0);
        same_type = slice_eq(rows_bytes(&rows, 2), put->manifest->media_type);
        return again(tx, repository, *ret_id, same_type, put, e);
}

/* The manifest that loses a tag may have been held by it alone. */
static RESULT set_tag(struct tx *tx, int64_t repository, int64_t manifest, struct slice tag, const struct put *put, struct err *e)
{
        int64_t old = manifest;
        bool found;

        TRY(db_find(tx->db, SQL_TAG_FIND, VALUES(V_I(repository), V_T(tag)), &found, &old, e));
        TRY(db_change(tx->db, SQL_TAG_SET, VALUES(V_I(repository), V_T(tag), V_I(manifest), V_I(tx->now_us)), e));
        if (found && old == manifest)
                return OK;
        tx_stale(tx, put->repository, tag, &put->manifest->digest);
        return found ? db_change(tx->db, SQL_MANIFEST_QUEUE, VALUES(V_I(old), V_I(tx->now_us)), e) : OK;
}

static RESULT put_manifest(struct tx *tx, void *arg, struct err *e)
{
        struct put *put = arg;
        struct repository repository = { 0 };
        int64_t id;
        bool found;

        if (!repository_find(tx->db, put->repository, &repository, e).ok && e->code != ERR_NAME_UNKNOWN)
                return FAILED;
        TRY(check_parts(tx->db, repository.id, put, e));
        if (!repository.id)
                TRY(repository_find_or_add(tx, put->repository, &repository, e));

        TRY(find_manifest(tx, repository.id, put, &found, &id, e));
        if (!found)
                TRY(add_manifest(tx, repository.id, put, &id, e));
        if (!found && put->tag_count == 0)
                TRY(db_change(tx->db, SQL_MANIFEST_QUEUE, VALUES(V_I(id), V_I(tx->now_us)), e));
        for (size_t i = 0; i < put->tag_count; i++)
                TRY(set_tag(tx, repository.id, id, put->tags[i], put, e));
        if (!repository.listed)
                TRY(db_change(tx->db, SQL_REPOSITORY_LIST, VALUES(V_I(repository.id)), e));
        return OK;
}

/* Followed by room for its part_ids. */
static size_t put_bytes(size_t part_count)
{
        return sizeof(struct put) + (part_count + 1) * sizeof(int64_t);
}

static void fill_put(struct put *put, struct slice repository, const struct meta_manifest *manifest, const struct meta_part *parts,
                     size_t part_count, const struct slice *tags, size_t tag_count)
{
        *put = (struct put){
                .repository = repository,
                .manifest = manifest,
                .parts = parts,
                .part_count = part_count,
                .tags = tags,
                .tag_count = tag_count,
                .part_ids = (int64_t *)(put + 1),
        };
}

RESULT meta_manifest_put(struct meta *m, struct slice repository, const struct meta_manifest *manifest,
                         const struct meta_part *parts, size_t part_count, const struct slice *tags, size_t tag_count,
                         struct err *e)
{
        _cleanup_free_ struct put *put = malloc(put_bytes(part_count));

        if (!put)
                return FAIL(e, ERR_NOMEM, 0, "no memory for a manifest of %zu parts", part_count);
        fill_put(put, repository, manifest, parts, part_count, tags, tag_count);
        return writer_run(&m->writer, put_manifest, put, true, e);
}

void meta_manifest_put_soon(struct meta *m, struct slice repository, const struct meta_manifest *manifest,
                            const struct meta_part *parts, size_t part_count, const struct slice *tags, size_t tag_count,
                            meta_done_fn *done, void *arg)
{
        struct put *put = soon_new(put_manifest, true, put_bytes(part_count), done, arg);

        if (!put)
                return;
        fill_put(put, repository, manifest, parts, part_count, tags, tag_count);
        soon_start(m, put);
}

/* --- Get -------------------------------------------------------------------------------------------------------------- */

RESULT read_manifest(struct rows *rows, struct arena *arena, struct meta_manifest *ret_manifest, struct err *e)
{
        struct meta_manifest row = { 0 };

        TRY(copy_digest(rows, 0, &row.digest, e));
        row.size = (uint64_t)rows_i64(rows, 1);
        row.created_us = rows_i64(rows, 2);
        TRY(copy_bytes(rows, 3, arena, &row.media_type, e));
        TRY(copy_bytes(rows, MANIFEST_COLUMN_TYPE, arena, &row.artifact_type, e));
        TRY(copy_bytes(rows, 5, arena, &row.annotations, e));
        row.has_subject = !rows_is_null(rows, 6);
        if (row.has_subject)
                TRY(copy_digest(rows, 6, &row.subject, e));
        *ret_manifest = row;
        return OK;
}

/* When a manifest that was asked for by digest may go at the earliest, less the time that whoever asked needs to name it. One
 * that waits for no review can begin to wait now. */
static int64_t promised_until(struct meta *m, struct rows *rows, int64_t now_us)
{
        int64_t until_us = now_us + m->grace_us / 2, untagged_us = m->untagged_us;
        int64_t since_us = rows_is_null(rows, MANIFEST_COLUMN_SINCE) ? now_us : rows_i64(rows, MANIFEST_COLUMN_SINCE);

        if (since_us < now_us && rows_i64(rows, MANIFEST_COLUMN_ORPHANED))
                until_us = since_us + m->grace_us / 2;
        if (untagged_us)
                until_us = MIN(until_us, since_us + untagged_us / 2);
        return until_us;
}

struct wanted_manifest {
        struct slice repository;
        const struct digest *digest;    /* NULL: by tag */
        struct slice tag;
        bool with_payload;
        int64_t id;                     /* result, by digest */
};

static RESULT query_manifest(struct db *db, const struct wanted_manifest *wanted, struct rows *rows, struct err *e)
{
        bool whole = wanted->with_payload;

        if (wanted->digest)
                return db_query(db, whole ? SQL_MANIFEST_BY_DIGEST_WHOLE : SQL_MANIFEST_BY_DIGEST,
                                VALUES(V_T(wanted->repository), V_D(wanted->digest)), rows, e);
        return db_query(db, whole ? SQL_MANIFEST_BY_TAG_WHOLE : SQL_MANIFEST_BY_TAG, VALUES(V_T(wanted->repository), V_T(wanted->tag)),
                        rows, e);
}

static RESULT get_manifest(struct meta *m, struct wanted_manifest *wanted, struct arena *arena, struct meta_manifest *ret_manifest,
                           struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        int64_t now_us = clock_now_us();
        struct meta_manifest manifest;
        bool found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(query_manifest(&reader->db, wanted, &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found)
                return wanted->digest ? fail_digest(&reader->db, wanted->repository, wanted->digest, e)
                                      : fail_tag(&reader->db, wanted->repository, wanted->tag, e);
        TRY(read_manifest(&rows, arena, &manifest, e));
        if (wanted->with_payload)
                TRY(copy_bytes(&rows, MANIFEST_COLUMN_PAYLOAD, arena, &manifest.payload, e));
        manifest.promised_until_us = INT64_MAX;
        if (wanted->digest) {
                wanted->id = rows_i64(&rows, MANIFEST_COLUMN_ID);
                manifest.promised_until_us = promised_until(m, &rows, now_us);
        }
        *ret_manifest = manifest;
        return OK;
}

static RESULT put_off(struct tx *tx, void *arg, struct err *e)
{
        struct wanted_manifest *wanted = arg;

        return db_change(tx->db, SQL_MANIFEST_TOUCH, VALUES(V_I(wanted->id), V_I(tx->now_us)), e);
}

/* As with blobs: a review that is near is put off first, and then the manifest is looked up. */
RESULT meta_manifest_get(struct meta *m, struct slice repository, const struct digest *digest, struct slice tag,
                         bool with_payload, struct arena *arena, struct meta_manifest *ret_manifest, struct err *e)
{
        struct wanted_manifest wanted = { .repository = repository, .digest = digest, .tag = tag, .with_payload = with_payload };

        TRY(get_manifest(m, &wanted, arena, ret_manifest, e));
        if (ret_manifest->promised_until_us >= clock_now_us() || !rule_holds(RULE_ASKED_FOR_STAYS))
                return OK;
        TRY(writer_run(&m->writer, put_off, &wanted, false, e));
        return get_manifest(m, &wanted, arena, ret_manifest, e);
}

/* --- Delete ----------------------------------------------------------------------------------------------------------- */

struct removal {
        struct slice repository;
        const struct digest *digest;
        struct slice tag;
};

static RESULT find_removable(struct tx *tx, const struct removal *removal, struct repository *ret_repository, int64_t *ret_id,
                             struct err *e)
{
        int64_t ignored;
        bool found;

        TRY(repository_find(tx->db, removal->repository, ret_repository, e));
        TRY(db_find(tx->db, SQL_MANIFEST_FIND, VALUES(V_I(ret_repository->id), V_D(removal->digest)), &found, ret_id, e));
        if (!found)
                return fail_digest(tx->db, removal->repository, removal->digest, e);
        TRY(db_find(tx->db, SQL_MANIFEST_IS_CHILD, VALUES(V_I(*ret_id)), &found, &ignored, e));
        if (found)
                return FAIL(e, ERR_DENIED, 0, "an index of this repository names manifest %s: delete the index first",
                            digest_format(removal->digest).s);
        return OK;
}

static RESULT remove_tags(struct tx *tx, int64_t id, const struct removal *removal, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(tx->db, SQL_TAGS_OF_MANIFEST, VALUES(V_I(id)), &rows, e));
        for (;;) {
                TRY(rows_next(&rows, &found, e));
                if (!found)
                        break;
                tx_stale(tx, removal->repository, tx_keep(tx, rows_bytes(&rows, 0)), removal->digest);
        }
        return db_change(tx->db, SQL_TAGS_REMOVE_OF_MANIFEST, VALUES(V_I(id)), e);
}

/* What the manifest named, and what named it as its subject, may be garbage from now on. */
static RESULT queue_left_behind(struct tx *tx, int64_t repository, int64_t id, const struct digest *digest, struct err *e)
{
        TRY(db_change(tx->db, SQL_BLOB_QUEUE_PARTS, VALUES(V_I(id), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_LINK_TOUCH_PARTS, VALUES(V_I(id), V_I(tx->now_us)), e));
        TRY(db_change(tx->db, SQL_MANIFEST_QUEUE_CHILDREN, VALUES(V_I(id), V_I(tx->now_us)), e));
        return db_change(tx->db, SQL_MANIFEST_QUEUE_REFERRERS, VALUES(V_I(repository), V_D(digest), V_I(tx->now_us)), e);
}

static RESULT stale_subject(struct tx *tx, int64_t id, const struct removal *removal, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct digest subject;
        bool found;

        TRY(db_query(tx->db, SQL_MANIFEST_SUBJECT, VALUES(V_I(id)), &rows, e));
        TRY(rows_next(&rows, &found, e));
        if (!found || rows_is_null(&rows, 0))
                return OK;
        TRY(copy_digest(&rows, 0, &subject, e));
        tx_stale(tx, removal->repository, S(""), &subject);
        return OK;
}

RESULT manifest_remove(struct tx *tx, struct slice repository_name, int64_t repository, int64_t id, const struct digest *digest,
                       struct err *e)
{
        struct removal removal = { .repository = repository_name, .digest = digest };
        int64_t ignored;
        bool more;

        TRY(stale_subject(tx, id, &removal, e));
        TRY(remove_tags(tx, id, &removal, e));
        TRY(queue_left_behind(tx, repository, id, digest, e));
        TRY(db_change(tx->db, SQL_MANIFEST_REMOVE_BLOBS, VALUES(V_I(id)), e));
        TRY(db_change(tx->db, SQL_MANIFEST_REMOVE_CHILDREN, VALUES(V_I(id)), e));
        TRY(db_change(tx->db, SQL_MANIFEST_UNQUEUE, VALUES(V_I(id)), e));
        TRY(db_change(tx->db, SQL_MANIFEST_REMOVE, VALUES(V_I(id)), e));
        TRY(db_find(tx->db, SQL_MANIFEST_ANY, VALUES(V_I(repository)), &more, &ignored, e));
        if (!more)
                TRY(db_change(tx->db, SQL_REPOSITORY_UNLIST, VALUES(V_I(repository)), e));
        tx_stale(tx, repository_name, S(""), digest);
        return OK;
}

static RESULT remove_named(struct tx *tx, void *arg, struct err *e)
{
        struct removal *removal = arg;
        struct repository repository;
        int64_t id;

        TRY(find_removable(tx, removal, &repository, &id, e));
        return manifest_remove(tx, removal->repository, repository.id, id, removal->digest, e);
}

RESULT meta_manifest_delete(struct meta *m, struct slice repository, const struct digest *digest, struct err *e)
{
        struct removal removal = { .repository = repository, .digest = digest };

        return writer_run(&m->writer, remove_named, &removal, true, e);
}

static RESULT remove_tag(struct tx *tx, void *arg, struct err *e)
{
        struct removal *removal = arg;
        struct digest none = { 0 };
        struct repository repository;
        int64_t manifest;
        bool found;

        TRY(repository_find(tx->db, removal->repository, &repository, e));
        TRY(db_find(tx->db, SQL_TAG_FIND, VALUES(V_I(repository.id), V_T(removal->tag)), &found, &manifest, e));
        if (!found)
                return fail_tag(tx->db, removal->repository, removal->tag, e);
        TRY(db_change(tx->db, SQL_TAG_REMOVE, VALUES(V_I(repository.id), V_T(removal->tag)), e));
        TRY(db_change(tx->db, SQL_MANIFEST_QUEUE, VALUES(V_I(manifest), V_I(tx->now_us)), e));
        tx_stale(tx, removal->repository, removal->tag, &none);
        return OK;
}

RESULT meta_tag_delete(struct meta *m, struct slice repository, struct slice tag, struct err *e)
{
        struct removal removal = { .repository = repository, .tag = tag };

        return writer_run(&m->writer, remove_tag, &removal, true, e);
}
