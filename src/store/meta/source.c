#include "store/meta/source.h"

#include "base/fs.h"
#include "store/meta/schema.h"
#include "store/meta/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
        PAGE_BYTES = 4096,
        PAGES_MAX = 64,                 /* of an empty store */
        COPY_BYTES = 1 << 20,
};
/* SQLite's file format, "The Database Header" and "B-tree Pages". */
enum { AT_FORMATS = 18, AT_CHANGES = 24, AT_ROOT_PAGE = 100, INTERIOR_PAGE = 5, AT_CELL_COUNT = 3, AT_LAST_CHILD = 8, AT_CELLS = 12 };
enum { FORMAT_JOURNAL = 1, FORMAT_LOG = 2 };

struct source {
        struct db db;
        char *mending_path;             /* owned; NULL: the file is read where it is */
};

/* --- Opening ---------------------------------------------------------------------------------------------------------- */

/* Closing copies nothing from the log into the file. */
static RESULT open_tolerantly(const char *path, struct db *ret_db, struct err *e)
{
        _cleanup_(db_close) struct db db = { 0 };
        int64_t tables;

        TRY(db_open(path, DB_SOURCE, &db, e));
        sqlite3_db_config(db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        TRY(db_number(&db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('manifests', 'tags')", &tables, e));
        if (tables < 2)
                return FAIL(e, ERR_CORRUPT, 0, "%s has no tables of ours", path);
        *ret_db = db;
        db = (struct db){ 0 };
        return OK;
}

/* --- A first page from an empty store ----------------------------------------------------------------------------------- */

struct template {
        unsigned char *pages;           /* owned, SQLite's */
        sqlite3_int64 bytes;
};

static void template_fini(struct template *template)
{
        sqlite3_free(template->pages);
}

static RESULT make_template(struct template *ret_template, struct err *e)
{
        _cleanup_(db_close) struct db db = { 0 };
        struct template template = { 0 };

        TRY(db_open(":memory:", DB_WRITER, &db, e));
        TRY(schema_migrate(&db, e));
        template.pages = sqlite3_serialize(db.handle, "main", &template.bytes, 0);
        if (!template.pages)
                return FAIL(e, ERR_NOMEM, ENOMEM, "make an empty store");
        CHECK(template.bytes % PAGE_BYTES == 0 && template.bytes <= PAGES_MAX * PAGE_BYTES);
        *ret_template = template;
        return OK;
}

static uint32_t number_at(const unsigned char *p, size_t n)
{
        uint32_t value = 0;

        for (size_t i = 0; i < n; i++)
                value = value << 8 | p[i];
        return value;
}

static RESULT write_page(int fd, const struct template *template, uint32_t page, const char *path, struct err *e)
{
        uint64_t at = (uint64_t)(page - 1) * PAGE_BYTES;

        CHECK(page > 0 && at < (uint64_t) template->bytes);
        return fs_write_at(fd, at, template->pages + at, PAGE_BYTES, path, e);
}

/* The table of tables: its root on the first page, and the pages below it. */
static RESULT write_schema(int fd, const struct template *template, const char *path, struct err *e)
{
        const unsigned char *root = template->pages + AT_ROOT_PAGE;
        uint32_t cells = number_at(root + AT_CELL_COUNT, 2);

        TRY(write_page(fd, template, 1, path, e));
        if (*root != INTERIOR_PAGE)
                return OK;
        for (uint32_t i = 0; i < cells; i++)
                TRY(write_page(fd, template, number_at(template->pages + number_at(root + AT_CELLS + 2 * (size_t)i, 2), 4), path, e));
        return write_page(fd, template, number_at(root + AT_LAST_CHILD, 4), path, e);
}

/* Counters that differ say that the number of pages is that of the file. */
static void prepare_header(struct template *template, bool has_log)
{
        memset(template->pages + AT_FORMATS, has_log ? FORMAT_LOG : FORMAT_JOURNAL, 2);
        memset(template->pages + AT_CHANGES, 1, 4);
}

static RESULT copy_file(const char *from, const char *to, struct err *e)
{
        _cleanup_fd_ int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
        _cleanup_free_ char *piece = malloc(COPY_BYTES);
        uint64_t at = 0;
        size_t n;

        if (in < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", from);
        out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (out < 0 || !piece)
                return FAIL(e, out < 0 ? ERR_IO : ERR_NOMEM, errno, "create %s", to);
        do {
                TRY(fs_read_at(in, at, piece, COPY_BYTES, &n, from, e));
                TRY(fs_write_at(out, at, piece, n, to, e));
                at += n;
        } while (n);
        return OK;
}

static RESULT mend(const char *path, const char *mending_path, struct err *e)
{
        _cleanup_(template_fini) struct template template = { 0 };
        _cleanup_free_ char *log = NULL, *mending_log = NULL;
        _cleanup_fd_ int fd = -1;
        bool has_log;

        if (asprintf(&log, "%s-wal", path) < 0 || asprintf(&mending_log, "%s-wal", mending_path) < 0)
                return FAIL(e, ERR_NOMEM, ENOMEM, "mend %s", path);
        TRY(make_template(&template, e));
        TRY(copy_file(path, mending_path, e));
        has_log = copy_file(log, mending_log, e).ok;
        if (!has_log && e->code != ERR_NOT_FOUND)
                return FAILED;
        prepare_header(&template, has_log);
        fd = open(mending_path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "open %s", mending_path);
        return write_schema(fd, &template, mending_path, e);
}

static RESULT open_mended(const char *path, struct source *source, struct err *e)
{
        TRY(snapshot_remove(source->mending_path, e));
        TRY(mend(path, source->mending_path, e));
        return open_tolerantly(source->mending_path, &source->db, e);
}

RESULT source_open(const char *path, const char *mending_path, struct source **ret_source, struct err *e)
{
        _cleanup_(source_closep) struct source *source = calloc(1, sizeof *source);
        struct stat st;

        if (!source)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open %s", path);
        if (stat(path, &st) < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "%s", path);
        if (!open_tolerantly(path, &source->db, e).ok) {
                if (e->code == ERR_NOMEM || e->code == ERR_FULL || st.st_size <= PAGE_BYTES)
                        return FAILED;
                source->mending_path = strdup(mending_path);
                if (!source->mending_path)
                        return FAIL(e, ERR_NOMEM, ENOMEM, "open %s", path);
                TRY(open_mended(path, source, e));
        } else {
                TRY(schema_refuse_newer(&source->db, path, e));
        }
        *ret_source = TAKE_PTR(source);
        return OK;
}

void source_close(struct source *source)
{
        struct err ignored;

        if (!source)
                return;
        db_close(&source->db);
        if (source->mending_path)
                IGNORE(snapshot_remove(source->mending_path, &ignored));        /* the next one begins with that */
        free(source->mending_path);
        free(source);
}

/* --- Rows ------------------------------------------------------------------------------------------------------------- */

struct scan {
        struct source *source;
        enum statement statement;
        source_row_fn *take;
        void *arg;
        int64_t last;                   /* key of the last row that was read */
};

/* Memory that is short is no damage. */
static bool is_damage(const struct err *e)
{
        return e->code != ERR_NOMEM && e->code != ERR_FULL;
}

/* Rows from `from` on, up to one that cannot be read (*ret_broken) or the end. Keys that fall belong to a tree that is tangled. */
static RESULT read_run(struct scan *scan, int64_t from, bool *ret_broken, struct err *e)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct err damage;
        bool found;

        *ret_broken = true;
        scan->last = from;
        if (!db_query(&scan->source->db, scan->statement, VALUES(V_I(from)), &rows, &damage).ok)
                return is_damage(&damage) ? OK : (*e = damage, FAILED);
        for (;;) {
                if (!rows_next(&rows, &found, &damage).ok)
                        return is_damage(&damage) ? OK : (*e = damage, FAILED);
                if (!found)
                        break;
                if (rows_i64(&rows, 0) < scan->last)
                        return OK;
                scan->last = rows_i64(&rows, 0);
                TRY(scan->take(scan->arg, &rows, e));
        }
        *ret_broken = false;
        return OK;
}

/* Can a row be read from this key on, or is there none? */
static bool is_readable(struct scan *scan, int64_t from)
{
        _cleanup_(rows_end) struct rows rows = { 0 };
        struct err ignored;
        bool found;

        return db_query(&scan->source->db, scan->statement, VALUES(V_I(from)), &rows, &ignored).ok &&
               rows_next(&rows, &found, &ignored).ok && (!found || rows_i64(&rows, 0) >= from);
}

/* The least key from which rows can be read again, where damaged rows lie next to each other: steps that double, then halves. */
static bool find_next(struct scan *scan, int64_t *ret_from)
{
        int64_t bad = scan->last, step = 1, good;

        while (bad <= INT64_MAX - step && !is_readable(scan, bad + step)) {
                bad += step;
                if (step > INT64_MAX / 2)
                        return false;
                step *= 2;
        }
        if (bad > INT64_MAX - step)
                return false;
        for (good = bad + step; good - bad > 1;) {
                int64_t middle = bad + (good - bad) / 2;

                if (is_readable(scan, middle))
                        good = middle;
                else
                        bad = middle;
        }
        *ret_from = good;
        return true;
}

RESULT source_each(struct source *source, enum statement statement, source_row_fn *take, void *arg, bool *ret_whole, struct err *e)
{
        struct scan scan = { .source = source, .statement = statement, .take = take, .arg = arg };
        int64_t from = 0;
        bool broken = true;

        *ret_whole = true;
        while (broken) {
                TRY(read_run(&scan, from, &broken, e));
                if (broken)
                        *ret_whole = false;
                if (broken && !find_next(&scan, &from))
                        return OK;
        }
        return OK;
}
