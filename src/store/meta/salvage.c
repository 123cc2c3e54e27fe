#include "store/meta/salvage.h"

#include "base/clock.h"
#include "oci/reference.h"
#include "oci/upload_id.h"
#include "store/meta/internal.h"
#include "store/meta/schema.h"
#include "store/meta/source.h"

#include <errno.h>
#include <stdio.h>

enum { PROGRESS_EVERY = 1024 };

/* --- Numbers of a source's rows, and those of the rows that they became -------------------------------------------------- */

struct pair {
        int64_t old, new;
        int64_t repository;             /* of a manifest: that of the new row */
};
struct map {
        struct pair *items;             /* owned */
        size_t count, capacity;
        size_t sorted;                  /* by rising `old`; only these are found */
};

static RESULT map_add(struct map *map, struct pair pair, struct err *e)
{
        if (map->count == map->capacity) {
                size_t capacity = map->capacity ? 2 * map->capacity : 1024;
                struct pair *items = reallocarray(map->items, capacity, sizeof *items);

                if (!items)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "no memory for %zu rows", capacity);
                map->items = items;
                map->capacity = capacity;
        }
        map->items[map->count++] = pair;
        return OK;
}

static int compare_pairs(const void *a, const void *b)
{
        const struct pair *x = a, *y = b;

        return (x->old > y->old) - (x->old < y->old);
}

static void map_sort(struct map *map)
{
        if (map->count)
                qsort(map->items, map->count, sizeof *map->items, compare_pairs);
        map->sorted = map->count;
}

static const struct pair *map_find(const struct map *map, int64_t old)
{
        const struct pair key = { .old = old };

        return map->sorted ? bsearch(&key, map->items, map->sorted, sizeof *map->items, compare_pairs) : NULL;
}

/* --- The work --------------------------------------------------------------------------------------------------------- */

struct origin {
        struct source *source;          /* owned; NULL: not readable */
        struct map repositories, blobs, manifests;
        bool manifests_whole, tags_whole;
};

struct work {
        struct salvage *salvage;
        struct db db;
        struct origin origins[SALVAGE_ORIGINS];
        enum salvage_origin at;         /* whose rows are taken now */
        bool numbers_agree;             /* of the repositories of both */
        bool refused;                   /* a row of this table was no good */
        bool only_lost;                 /* tags: those that the original has, but not whole */
        uint64_t rows;
};

static struct origin *origin_of(struct work *work)
{
        return &work->origins[work->at];
}

static struct salvage_source *report_of(struct work *work)
{
        return &work->salvage->sources[work->at];
}

/* The row is passed over. */
static struct result refuse(struct work *work)
{
        work->refused = true;
        return OK;
}

static void count_row(struct work *work)
{
        if (work->rows++ % PROGRESS_EVERY == 0 && work->salvage->progress)
                work->salvage->progress(work->salvage->arg, work->rows, 0);
}

/* A repository's row is never removed and its number never given again, so that one source knows those of the other; as long as
 * they do not contradict each other: the copy may be older than the last rebuilding. */
static bool find_repository(struct work *work, int64_t old, int64_t *ret_new)
{
        const struct pair *pair = map_find(&origin_of(work)->repositories, old);

        if (!pair && work->numbers_agree)
                pair = map_find(&work->origins[SALVAGE_ORIGINS - 1 - work->at].repositories, old);
        if (pair)
                *ret_new = pair->new;
        return pair;
}

static RESULT each(struct work *work, enum statement statement, source_row_fn *take, bool *ret_whole, struct err *e)
{
        *ret_whole = false;
        if (!origin_of(work)->source)
                return OK;
        work->refused = false;
        TRY(source_each(origin_of(work)->source, statement, take, work, ret_whole, e));
        if (work->refused || (work->salvage->original_is_stale && work->at == SALVAGE_ORIGINAL))
                *ret_whole = false;
        if (!*ret_whole)
                report_of(work)->whole = false;
        return OK;
}

/* --- Repositories and blobs ------------------------------------------------------------------------------------------- */

static RESULT take_repository(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct slice name = rows_bytes(rows, 1);
        struct err unused;
        int64_t id;
        bool found;

        count_row(work);
        if (!reference_check_repository(name, &unused).ok)
                return refuse(work);
        if (map_find(&origin_of(work)->repositories, rows_i64(rows, 0)))
                return OK;              /* the table had it, this is the index */
        TRY(db_find(&work->db, SQL_REPOSITORY_FIND, VALUES(V_T(name)), &found, &id, e));
        if (!found) {
                TRY(db_find(&work->db, SQL_REPOSITORY_ADD, VALUES(V_T(name), V_I(rows_i64(rows, 2))), &found, &id, e));
                report_of(work)->repositories++;
        }
        return map_add(&origin_of(work)->repositories, (struct pair){ .old = rows_i64(rows, 0), .new = id }, e);
}

static bool is_good_blob(struct rows *rows, const struct digest *digest)
{
        struct slice object = rows_bytes(rows, 3), content = rows_bytes(rows, 4);
        struct upload_id id;
        struct digest have;

        if (rows_i64(rows, 2) < 0 || !object.p == !content.p)
                return false;
        if (object.p)
                return upload_id_parse(object, &id);
        digest_of_bytes(digest->algorithm, content, &have);
        return digest_eq(&have, digest) && (uint64_t)rows_i64(rows, 2) == content.n;
}

static RESULT add_blob(struct work *work, struct rows *rows, const struct digest *digest, bool *ret_added, int64_t *ret_id,
                       struct err *e)
{
        struct slice object = rows_bytes(rows, 3), content = rows_bytes(rows, 4), damage = rows_bytes(rows, 7);
        bool taken = false;
        int64_t ignored;
        struct value damaged = V_T(SLICE_NONE);

        *ret_added = false;
        if (object.p)
                TRY(db_find(&work->db, SQL_BLOB_OF_UPLOAD, VALUES(V_T(object)), &taken, &ignored, e));
        if (taken)
                return refuse(work);
        if (damage.p)
                damaged = (struct value)V_I(rows_i64(rows, 6));
        return db_find(&work->db, SQL_NEW_BLOB, VALUES(V_D(digest), V_I(rows_i64(rows, 2)), V_T(object), V_B(content),
                                                       V_I(rows_i64(rows, 5)), damaged, V_T(damage)), ret_added, ret_id, e);
}

static RESULT take_blob(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct digest digest;
        int64_t id;
        bool found, added;

        count_row(work);
        if (!digest_decode(rows_bytes(rows, 1), &digest) || !is_good_blob(rows, &digest))
                return refuse(work);
        TRY(db_find(&work->db, SQL_BLOB_FIND, VALUES(V_D(&digest)), &found, &id, e));
        if (!found) {
                TRY(add_blob(work, rows, &digest, &added, &id, e));
                if (!added)
                        return OK;
                report_of(work)->blobs++;
        }
        return map_add(&origin_of(work)->blobs, (struct pair){ .old = rows_i64(rows, 0), .new = id }, e);
}

static RESULT take_link(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        const struct pair *blob = map_find(&origin_of(work)->blobs, rows_i64(rows, 0));
        int64_t repository;

        count_row(work);
        if (!blob || !find_repository(work, rows_i64(rows, 1), &repository))
                return refuse(work);
        return db_change(&work->db, SQL_NEW_LINK, VALUES(V_I(blob->new), V_I(repository), V_I(rows_i64(rows, 2))), e);
}

/* Those of the copy only where the original's cannot all be read. */
static RESULT take_links(struct work *work, struct err *e)
{
        bool whole = false;

        for (work->at = 0; work->at < SALVAGE_ORIGINS && !whole; work->at++)
                TRY(each(work, SQL_OLD_LINKS, take_link, &whole, e));
        return OK;
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static bool is_good_manifest(struct rows *rows, const struct digest *digest)
{
        struct slice payload = rows_bytes(rows, 8), subject = rows_bytes(rows, 5);
        struct digest have;

        if (!payload.p || !rows_bytes(rows, 3).p || (subject.p && !digest_decode(subject, &have)))
                return false;
        digest_of_bytes(digest->algorithm, payload, &have);
        return digest_eq(&have, digest);
}

static RESULT add_manifest(struct work *work, struct rows *rows, const struct digest *digest, int64_t repository, int64_t *ret_id,
                           struct err *e)
{
        struct slice payload = rows_bytes(rows, 8);
        bool found;

        report_of(work)->manifests++;
        return db_find(&work->db, SQL_MANIFEST_ADD,
                       VALUES(V_I(repository), V_D(digest), V_T(rows_bytes(rows, 3)), V_T(rows_bytes(rows, 4)), V_B(rows_bytes(rows, 5)),
                              V_T(rows_bytes(rows, 6)), V_I(payload.n), V_I(rows_i64(rows, 7)), V_B(payload)), &found, ret_id, e);
}

static RESULT take_manifest(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct pair pair = { .old = rows_i64(rows, 0) };
        struct digest digest;
        bool found;

        count_row(work);
        if (!digest_decode(rows_bytes(rows, 2), &digest) || !is_good_manifest(rows, &digest) ||
            !find_repository(work, rows_i64(rows, 1), &pair.repository))
                return refuse(work);
        TRY(db_find(&work->db, SQL_MANIFEST_FIND, VALUES(V_I(pair.repository), V_D(&digest)), &found, &pair.new, e));
        if (!found && work->at == SALVAGE_COPY && work->origins[SALVAGE_ORIGINAL].manifests_whole)
                return OK;              /* deleted since */
        if (!found)
                TRY(add_manifest(work, rows, &digest, pair.repository, &pair.new, e));
        return map_add(&origin_of(work)->manifests, pair, e);
}

/* The index knows digests of rows that could not be read. The copy may have them. */
static RESULT take_manifest_name(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct pair pair = { .old = rows_i64(rows, 1) };
        struct digest digest;
        bool found;

        if (map_find(&origin_of(work)->manifests, pair.old) || !digest_decode(rows_bytes(rows, 2), &digest) ||
            !find_repository(work, rows_i64(rows, 0), &pair.repository))
                return OK;
        TRY(db_find(&work->db, SQL_MANIFEST_FIND, VALUES(V_I(pair.repository), V_D(&digest)), &found, &pair.new, e));
        if (found)
                return map_add(&origin_of(work)->manifests, pair, e);
        return db_change(&work->db, SQL_LOST_MANIFEST_ADD, VALUES(V_I(pair.old), V_I(pair.repository), V_D(&digest)), e);
}

static RESULT take_manifests(struct work *work, struct err *e)
{
        bool ignored;

        for (work->at = 0; work->at < SALVAGE_ORIGINS; work->at++) {
                TRY(each(work, SQL_OLD_MANIFESTS, take_manifest, &origin_of(work)->manifests_whole, e));
                map_sort(&origin_of(work)->manifests);
        }
        work->at = SALVAGE_ORIGINAL;
        if (!origin_of(work)->manifests_whole)
                TRY(each(work, SQL_OLD_MANIFEST_NAMES, take_manifest_name, &ignored, e));
        map_sort(&origin_of(work)->manifests);
        return OK;
}

/* --- Tags ------------------------------------------------------------------------------------------------------------- */

static RESULT lose_tag(struct work *work, int64_t repository, int64_t old_manifest, struct slice name, int64_t updated_us, struct err *e)
{
        report_of(work)->whole = false;
        if (work->at == SALVAGE_COPY && work->origins[SALVAGE_ORIGINAL].manifests_whole)
                return OK;              /* the manifest was deleted since */
        if (work->at == SALVAGE_COPY)
                old_manifest = 0;       /* the numbers of lost manifests are the original's */
        return db_change(&work->db, SQL_LOST_TAG_ADD, VALUES(V_I(repository), V_T(name), V_I(updated_us), V_I(old_manifest)), e);
}

static RESULT take_tag(struct work *work, int64_t old_repository, int64_t old_manifest, struct slice name, int64_t updated_us,
                       struct err *e)
{
        const struct pair *manifest = map_find(&origin_of(work)->manifests, old_manifest);
        struct err unused;
        int64_t repository, ignored;
        bool found;

        count_row(work);
        if (!reference_check_tag(name, &unused).ok || !find_repository(work, old_repository, &repository))
                return refuse(work);
        TRY(db_find(&work->db, SQL_TAG_FIND, VALUES(V_I(repository), V_T(name)), &found, &ignored, e));
        if (found && !(work->salvage->original_is_stale && work->at == SALVAGE_COPY))
                return OK;
        if (work->only_lost)
                TRY(db_find(&work->db, SQL_LOST_TAG_FIND, VALUES(V_I(repository), V_T(name)), &found, &ignored, e));
        if (work->only_lost && !found)
                return OK;              /* deleted since */
        if (!manifest || manifest->repository != repository)
                return lose_tag(work, repository, old_manifest, name, updated_us, e);
        TRY(db_change(&work->db, SQL_TAG_SET_NEWER, VALUES(V_I(repository), V_T(name), V_I(manifest->new), V_I(updated_us)), e));
        report_of(work)->tags += db_changes(&work->db);
        return OK;
}

static RESULT take_row_of_tags(void *arg, struct rows *rows, struct err *e)
{
        return take_tag(arg, rows_i64(rows, 0), rows_i64(rows, 1), rows_bytes(rows, 2), rows_i64(rows, 3), e);
}

static RESULT take_row_of_index(void *arg, struct rows *rows, struct err *e)
{
        return take_tag(arg, rows_i64(rows, 1), rows_i64(rows, 0), rows_bytes(rows, 2), 0, e);
}

/* The table is its names' first home, the index of their manifests the second. */
static RESULT take_tags(struct work *work, struct err *e)
{
        bool ignored;

        for (work->at = 0; work->at < SALVAGE_ORIGINS; work->at++) {
                bool *whole = &origin_of(work)->tags_whole;

                TRY(each(work, SQL_OLD_TAGS, take_row_of_tags, whole, e));
                if (origin_of(work)->source && !*whole)
                        TRY(each(work, SQL_OLD_TAGS_OF_MANIFESTS, take_row_of_index, &ignored, e));
                work->only_lost = *whole;
        }
        return OK;
}

/* --- What waits ------------------------------------------------------------------------------------------------------- */

static RESULT take_review(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        const struct pair *manifest = map_find(&origin_of(work)->manifests, rows_i64(rows, 0));

        if (!manifest)
                return OK;
        return db_change(&work->db, SQL_NEW_REVIEW, VALUES(V_I(manifest->new), V_I(rows_i64(rows, 1) != 0), V_I(rows_i64(rows, 2))), e);
}

static RESULT take_trash(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct slice object = rows_bytes(rows, 1);
        struct upload_id id;
        struct digest digest;
        int64_t ignored;
        bool found;

        if (!upload_id_parse(object, &id) || !digest_decode(rows_bytes(rows, 2), &digest))
                return refuse(work);
        TRY(db_find(&work->db, SQL_BLOB_OF_UPLOAD, VALUES(V_T(object)), &found, &ignored, e));
        if (found)
                return refuse(work);
        return db_change(&work->db, SQL_NEW_TRASH, VALUES(V_T(object), V_D(&digest), V_I(rows_i64(rows, 3)), V_I(rows_i64(rows, 0))), e);
}

static RESULT take_upload(void *arg, struct rows *rows, struct err *e)
{
        struct work *work = arg;
        struct slice name = rows_bytes(rows, 1), state = rows_bytes(rows, 4);
        struct upload_id id;
        int64_t repository;

        if (!upload_id_parse(name, &id) || !state.p || rows_i64(rows, 3) < 0 || !find_repository(work, rows_i64(rows, 2), &repository))
                return refuse(work);
        return db_change(&work->db, SQL_NEW_UPLOAD, VALUES(V_T(name), V_I(repository), V_I(rows_i64(rows, 3)), V_B(state),
                                                           V_I(rows_i64(rows, 5)), V_I(rows_i64(rows, 0))), e);
}

/* Passing things of the copy are too old to be true. */
static RESULT take_waiting(struct work *work, struct err *e)
{
        bool ignored;

        work->at = SALVAGE_ORIGINAL;
        TRY(each(work, SQL_OLD_REVIEWS, take_review, &ignored, e));
        TRY(each(work, SQL_OLD_TRASH, take_trash, &ignored, e));
        TRY(each(work, SQL_OLD_UPLOADS, take_upload, &ignored, e));
        TRY(db_change(&work->db, SQL_REPOSITORIES_LIST, NO_VALUES, e));
        return db_change(&work->db, SQL_MANIFESTS_QUEUE_UNTAGGED, VALUES(V_I(clock_now_us())), e);
}

/* --- What is lost ----------------------------------------------------------------------------------------------------- */

static RESULT tell(struct work *work, struct rows *rows, struct err *e)
{
        struct salvage_lost lost = { .repository = rows_bytes(rows, 0), .tag = rows_bytes(rows, 1), .is_served = rows_i64(rows, 3) };

        if (!digest_decode(rows_bytes(rows, 2), &lost.digest))
                lost.digest = (struct digest){ 0 };
        return work->salvage->lost(work->salvage->arg, &lost, e);
}

static RESULT tell_all(struct work *work, enum statement statement, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        bool found;

        TRY(db_query(&work->db, statement, NO_VALUES, &rows, e));
        for (;;) {
                TRY(rows_next(&rows, &found, e));
                if (!found)
                        return OK;
                TRY(tell(work, &rows, e));
        }
}

static RESULT tell_lost(struct work *work, struct err *e)
{
        TRY(tell_all(work, SQL_LOST_MANIFESTS, e));
        return tell_all(work, SQL_LOST_TAGS, e);
}

/* --- All -------------------------------------------------------------------------------------------------------------- */

static RESULT open_origins(struct work *work, struct err *e)
{
        struct salvage *salvage = work->salvage;

        for (work->at = 0; work->at < SALVAGE_ORIGINS; work->at++) {
                struct salvage_source *report = report_of(work);
                struct source *source;

                *report = (struct salvage_source){ .found = true };
                if (source_open(salvage->from[work->at], salvage->mending[work->at], &source, e).ok) {
                        origin_of(work)->source = source;
                        report->readable = report->whole = true;
                        continue;
                }
                if (e->code == ERR_UNSUPPORTED || e->code == ERR_NOMEM || e->code == ERR_FULL)
                        return FAILED;
                report->found = e->code != ERR_NOT_FOUND;
                snprintf(report->why, sizeof report->why, "%.159s", e->message);
        }
        return OK;
}

static bool numbers_agree(const struct work *work)
{
        const struct map *map = &work->origins[SALVAGE_COPY].repositories;

        for (size_t i = 0; i < map->count; i++) {
                const struct pair *other = map_find(&work->origins[SALVAGE_ORIGINAL].repositories, map->items[i].old);

                if (other && other->new != map->items[i].new)
                        return false;
        }
        return true;
}

static RESULT take_all(struct work *work, struct err *e)
{
        bool whole, ignored;

        for (work->at = 0; work->at < SALVAGE_ORIGINS; work->at++) {
                TRY(each(work, SQL_OLD_REPOSITORIES, take_repository, &whole, e));
                map_sort(&origin_of(work)->repositories);
                if (!whole)
                        TRY(each(work, SQL_OLD_REPOSITORY_NAMES, take_repository, &ignored, e));
                map_sort(&origin_of(work)->repositories);
        }
        work->numbers_agree = numbers_agree(work);
        for (work->at = 0; work->at < SALVAGE_ORIGINS; work->at++) {
                TRY(each(work, SQL_OLD_BLOBS, take_blob, &ignored, e));
                map_sort(&origin_of(work)->blobs);
        }
        TRY(take_manifests(work, e));
        TRY(take_tags(work, e));
        TRY(take_links(work, e));
        return take_waiting(work, e);
}

/* Of the new database's repositories, and the original's numbers. */
static const char lost_tables[] =
        "CREATE TEMP TABLE lost_manifests (id INTEGER PRIMARY KEY, repository_id, digest);"
        "CREATE TEMP TABLE lost_tags (repository_id, name, updated_us, digest, PRIMARY KEY (repository_id, name))";

static RESULT build(struct work *work, struct err *e)
{
        TRY(snapshot_remove(work->salvage->to, e));
        TRY(db_open(work->salvage->to, DB_BUILDER, &work->db, e));
        TRY(schema_migrate(&work->db, e));
        TRY(open_origins(work, e));
        TRY(db_script(&work->db, lost_tables, e));
        TRY(db_script(&work->db, "BEGIN", e));
        TRY(take_all(work, e));
        TRY(db_script(&work->db, "COMMIT", e));
        return tell_lost(work, e);
}

static void work_fini(struct work *work)
{
        for (size_t i = 0; i < SALVAGE_ORIGINS; i++) {
                source_close(work->origins[i].source);
                free(work->origins[i].repositories.items);
                free(work->origins[i].blobs.items);
                free(work->origins[i].manifests.items);
        }
        db_close(&work->db);
}

RESULT salvage_run(struct salvage *salvage, struct err *e)
{
        struct work work = { .salvage = salvage };
        struct result result = build(&work, e);

        work_fini(&work);
        return result;
}
