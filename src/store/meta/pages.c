/* Lists, a page at a time: each begins behind a name, in an index, and costs the same wherever it begins. */
#include "store/meta/internal.h"

/* Grows what a page holds: twice the room, in the arena. */
static void *grow(struct arena *arena, const void *items, size_t count, size_t size)
{
        void *bigger = arena_alloc(arena, MAX(count * 2, (size_t)32) * size);

        if (bigger && count)
                memcpy(bigger, items, count * size);
        return bigger;
}

static bool is_full(size_t count)
{
        return count == 0 || (count >= 32 && (count & (count - 1)) == 0);
}

/* --- Names ------------------------------------------------------------------------------------------------------------ */

/* The query was asked for one more than n, which tells whether there is a further page. */
static RESULT read_names(struct rows *rows, size_t n, struct arena *arena, struct meta_names *ret_page, struct err *e)
{
        struct meta_names page = { 0 };

        for (;;) {
                bool found;

                TRY(rows_next(rows, &found, e));
                page.more = found && page.count == n;
                if (!found || page.more)
                        break;
                if (is_full(page.count))
                        page.names = grow(arena, page.names, page.count, sizeof *page.names);
                if (!page.names)
                        return FAIL(e, ERR_NOMEM, 0, "no memory for a page of %zu names", n);
                TRY(copy_bytes(rows, 0, arena, &page.names[page.count++], e));
        }
        *ret_page = page;
        return OK;
}

/* An empty name comes before all others. */
static struct slice after(struct slice last)
{
        return last.p ? last : S("");
}

static int64_t one_more(size_t n)
{
        return (int64_t)MIN(n, (size_t)INT32_MAX) + 1;
}

RESULT meta_tags_page(struct meta *m, struct slice repository, struct slice last, size_t n, struct arena *arena,
                      struct meta_names *ret_page, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct repository found;

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(repository_find(&reader->db, repository, &found, e));
        if (!found.listed)
                return FAIL(e, ERR_NAME_UNKNOWN, 0, "repository %.*s is empty", SLICE_ARG(repository));
        TRY(db_query(&reader->db, SQL_TAG_PAGE, VALUES(V_I(found.id), V_T(after(last)), V_I(one_more(n))), &rows, e));
        return read_names(&rows, n, arena, ret_page, e);
}

RESULT meta_repositories_page(struct meta *m, struct slice last, size_t n, struct arena *arena, struct meta_names *ret_page,
                              struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };

        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, SQL_REPOSITORY_PAGE, VALUES(V_T(after(last)), V_I(one_more(n))), &rows, e));
        return read_names(&rows, n, arena, ret_page, e);
}

/* --- Referrers -------------------------------------------------------------------------------------------------------- */

struct wanted {
        const struct slice *types;      /* none: all */
        size_t count;
};

static bool is_wanted(const struct wanted *wanted, struct slice type)
{
        for (size_t i = 0; i < wanted->count; i++)
                if (slice_eq(wanted->types[i], type))
                        return true;
        return wanted->count == 0;
}

/* The row, or where only its type was read, all of it. */
static RESULT read_referrer(struct rows *rows, bool has_all, struct arena *arena, struct meta_manifest *ret_manifest, struct err *e)
{
        _cleanup_(rows_end) struct rows row = { 0 };
        bool found;

        if (has_all)
                return read_manifest(rows, arena, ret_manifest, e);
        TRY(db_query(rows->db, SQL_REFERRER_BY_ID, VALUES(V_I(rows_i64(rows, REFERRER_COLUMN_ID))), &row, e));
        TRY(rows_next(&row, &found, e));
        if (!found)                     /* both are read as of the same moment */
                return FAIL(e, ERR_CORRUPT, 0, "the database's index of subjects names a manifest that is not there");
        return read_manifest(&row, arena, ret_manifest, e);
}

/* Filtered here, and not without an end: a reader is wanted by others, too. */
static RESULT read_referrers(struct rows *rows, size_t n, const struct wanted *wanted, struct arena *arena,
                             struct meta_referrers *ret_page, struct err *e)
{
        struct meta_referrers page = { 0 };
        size_t bytes = 0, looked_at = 0;

        for (;;) {
                bool found, fits;

                TRY(rows_next(rows, &found, e));
                if (!found)
                        break;
                fits = is_wanted(wanted, rows_bytes(rows, MANIFEST_COLUMN_TYPE));
                page.more = looked_at++ == META_REFERRERS_LOOKED_AT || (fits && (page.count == n || bytes > META_REFERRERS_BYTES));
                if (page.more)
                        break;
                TRY(copy_digest(rows, 0, &page.last, e));
                if (!fits)
                        continue;
                if (is_full(page.count))
                        page.manifests = grow(arena, page.manifests, page.count, sizeof *page.manifests);
                if (!page.manifests)
                        return FAIL(e, ERR_NOMEM, 0, "no memory for a page of %zu referrers", n);
                TRY(read_referrer(rows, wanted->count == 0, arena, &page.manifests[page.count], e));
                bytes += page.manifests[page.count++].annotations.n;
        }
        *ret_page = page;
        return OK;
}

RESULT meta_referrers_page(struct meta *m, struct slice repository, const struct digest *subject, const struct digest *last,
                           size_t n, const struct slice *types, size_t type_count, struct arena *arena,
                           struct meta_referrers *ret_page, struct err *e)
{
        _cleanup_(reader_returnp) struct reader *reader = NULL;
        _cleanup_(rows_end) struct rows rows = { 0 };
        unsigned char code[DIGEST_CODE_MAX];
        struct slice from = S("");
        struct wanted wanted = { types, type_count };
        enum statement query = type_count ? SQL_REFERRER_TYPES : SQL_REFERRER_PAGE;

        if (last)
                from = (struct slice){ (const char *)code, digest_encode(last, code) };
        TRY(reader_lend(&m->readers, &reader, e));
        TRY(db_query(&reader->db, query, VALUES(V_T(repository), V_D(subject), V_B(from)), &rows, e));
        return read_referrers(&rows, n, &wanted, arena, ret_page, e);
}
