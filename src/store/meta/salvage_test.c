/* Databases that are damaged on purpose, and what is made of them. */
#include "store/meta/internal.h"
#include "store/meta/testing.h"

#include "base/fs.h"
#include "store/meta/collect.h"
#include "store/meta/salvage.h"

#include <fcntl.h>

enum { IMAGES = 120, PAGE_BYTES = 4096 };

struct damage {
        struct world *w;
        struct salvage salvage;
        char paths[5][128];
        unsigned lost_tags, lost_manifests;
        unsigned served;                /* of the tags, with another image */
        bool original_is_stale;
        struct digest lost_digest;      /* the last */
};

/* --- A store ---------------------------------------------------------------------------------------------------------- */

static void path_of(const struct world *w, const char *name, char ret_path[static 128])
{
        snprintf(ret_path, 128, "%s/%s", w->folder, name);
}

static void script(const struct world *w, const char *text)
{
        char path[128];
        sqlite3 *handle;

        path_of(w, "orlop.db", path);
        assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
        if (sqlite3_exec(handle, text, NULL, NULL, NULL) != SQLITE_OK)
                fail_msg("%s: %s", text, sqlite3_errmsg(handle));
        sqlite3_close(handle);
}

static int64_t number_in(const struct world *w, const char *name, const char *text)
{
        _cleanup_(db_close) struct db db = { 0 };
        char path[128];
        int64_t n;

        path_of(w, name, path);
        must(db_open(path, DB_READER, &db, &e));
        must(db_number(&db, text, &n, &e));
        return n;
}

static struct slice payload_of(struct world *w, int i)
{
        return arena_printf(&w->arena, "{\"image\":%d,\"filler\":\"%0400d\"}", i, i);
}

static void put_images(struct world *w, int from, int to)
{
        for (int i = from; i < to; i++) {
                struct slice payload = payload_of(w, i), tag = arena_printf(&w->arena, "v%d", i);
                struct meta_part part = { .digest = add_blob(w, S("team/app"), tag), .size = tag.n };

                must(manifest_put(w->meta, S("team/app"), payload, &part, 1, tag, &e));
        }
}

static void close_store(struct world *w)
{
        meta_free(TAKE_PTR(w->meta));
        script(w, "PRAGMA wal_checkpoint(TRUNCATE)");
}

static void make_copy(struct world *w)
{
        char from[128], to[128];

        path_of(w, "orlop.db", from);
        path_of(w, "orlop.db.copy", to);
        must(snapshot_take(from, to, NULL, NULL, &e));
}

static void spoil(const struct world *w, const char *name, int64_t page, char with)
{
        _cleanup_fd_ int fd = -1;
        char path[128], bytes[PAGE_BYTES];

        memset(bytes, with, sizeof bytes);
        path_of(w, name, path);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        must(fs_write_at(fd, (uint64_t)(page - 1) * PAGE_BYTES, bytes, sizeof bytes, path, &e));
}

/* A leaf of this table, in the middle. */
static int64_t leaf_of(const struct world *w, const char *table)
{
        char text[200];

        snprintf(text, sizeof text, "SELECT pageno FROM dbstat WHERE name = '%s' AND pagetype = 'leaf' ORDER BY pageno LIMIT 1 OFFSET "
                 "(SELECT count(*) / 2 FROM dbstat WHERE name = '%s' AND pagetype = 'leaf')", table, table);
        return number_in(w, "orlop.db", text);
}

/* --- Salvage ---------------------------------------------------------------------------------------------------------- */

static RESULT note_lost(void *arg, const struct salvage_lost *lost, struct err *err)
{
        struct damage *d = arg;

        (void)err;
        assert_true(slice_eq(lost->repository, S("team/app")));
        d->lost_tags += lost->tag.n > 0;
        d->lost_manifests += lost->tag.n == 0;
        d->served += lost->is_served;
        d->lost_digest = lost->digest;
        return OK;
}

static struct damage damage_of(struct world *w)
{
        return (struct damage){ .w = w };
}

static struct result salvage(struct damage *d)
{
        static const char *const names[] = { "orlop.db", "orlop.db.copy", "orlop.db.mending", "orlop.db.copy.mending", "new.db" };

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                path_of(d->w, names[i], d->paths[i]);
        d->salvage = (struct salvage){ .from = { d->paths[0], d->paths[1] }, .mending = { d->paths[2], d->paths[3] }, .to = d->paths[4],
                                       .original_is_stale = d->original_is_stale, .lost = note_lost, .arg = d };
        return salvage_run(&d->salvage, &e);
}

/* What came out is a store. */
static void open_new(struct damage *d)
{
        must(meta_sqlite_open_file(d->paths[4], &d->w->meta, &e));
        must(meta_check(d->w->meta, &e));
}

static bool has_image(struct world *w, int i)
{
        struct slice tag = arena_printf(&w->arena, "v%d", i), payload = payload_of(w, i);
        struct meta_manifest got;

        if (!meta_manifest_get(w->meta, S("team/app"), NULL, tag, true, &w->arena, &got, &e).ok)
                return false;
        assert_true(slice_eq(got.payload, payload));
        return true;
}

static int count_images(struct world *w)
{
        int count = 0;

        for (int i = 0; i < IMAGES; i++)
                count += has_image(w, i);
        return count;
}

static void expect_all(struct damage *d)
{
        open_new(d);
        assert_int_equal(count_images(d->w), IMAGES);
        assert_int_equal(d->lost_tags + d->lost_manifests, 0);
}

/* --- Tests ------------------------------------------------------------------------------------------------------------ */

static void whole_original_is_taken_over(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);
        struct upload_id id = upload_id_new();
        struct meta_upload upload;
        bool exists;

        put_images(w, 0, IMAGES);
        put_index(w, S("team/app"), S("index"), payload_of(w, 3), S("index"));
        must(meta_tag_delete(w->meta, S("team/app"), S("index"), &e));
        must(meta_upload_begin(w->meta, S("other"), &id, S("state"), &e));
        close_store(w);
        must(salvage(&d));
        assert_true(d.salvage.sources[SALVAGE_ORIGINAL].whole);
        assert_false(d.salvage.sources[SALVAGE_COPY].found);
        assert_int_equal(d.salvage.sources[SALVAGE_ORIGINAL].manifests, IMAGES + 1);
        expect_all(&d);
        must(meta_upload_get(w->meta, S("other"), &id, &w->arena, &upload, &e));
        must(meta_upload_exists(w->meta, &id, &exists, &e));
        assert_true(exists);
        assert_int_equal(number_in(w, "new.db", "SELECT count(*) FROM repository_blobs"), IMAGES);
        assert_int_equal(number_in(w, "new.db", "SELECT count(*) FROM gc_manifest_queue"), 1);  /* the index without a tag */
}

static void first_page_is_spoiled(void **state)
{
        struct world *w = *state;

        put_images(w, 0, IMAGES);
        close_store(w);
        for (int i = 0; i < 2; i++) {
                struct damage d = damage_of(w);

                spoil(w, "orlop.db", 1, i ? 'x' : 0);
                must(salvage(&d));
                assert_int_not_equal(access(d.paths[2], F_OK), 0);
                expect_all(&d);
                meta_free(TAKE_PTR(w->meta));
        }
}

/* Only what stood on that page is lost, and its names are told. */
static void page_of_manifests(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);
        int images;

        put_images(w, 0, IMAGES);
        close_store(w);
        spoil(w, "orlop.db", leaf_of(w, "manifests"), 0);
        must(salvage(&d));
        assert_false(d.salvage.sources[SALVAGE_ORIGINAL].whole);
        assert_in_range(d.lost_manifests, 1, 20);
        assert_int_equal(d.lost_tags, d.lost_manifests);
        assert_int_equal(d.lost_digest.algorithm, SHA_256);
        open_new(&d);
        images = count_images(w);
        assert_int_equal(images, IMAGES - (int)d.lost_tags);
}

static void page_of_manifests_with_a_copy(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        put_images(w, 0, IMAGES / 2 + 20);
        make_copy(w);
        put_images(w, IMAGES / 2 + 20, IMAGES);
        close_store(w);
        spoil(w, "orlop.db", leaf_of(w, "manifests"), 0);
        must(salvage(&d));
        assert_in_range(d.salvage.sources[SALVAGE_COPY].manifests, 1, 20);
        expect_all(&d);
}

/* A tag stands in its table and in the index of its manifest. */
static void page_of_tags(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        put_images(w, 0, IMAGES);
        close_store(w);
        spoil(w, "orlop.db", leaf_of(w, "tags"), 0);
        spoil(w, "orlop.db", leaf_of(w, "repositories"), 0);
        must(salvage(&d));
        expect_all(&d);
}

/* A tag and a manifest go that the copy has. */
static void copy_and_delete_two(struct world *w)
{
        struct digest digest = digest_of(payload_of(w, 5));

        put_images(w, 0, IMAGES);
        make_copy(w);
        must(meta_tag_delete(w->meta, S("team/app"), S("v1"), &e));
        must(meta_manifest_delete(w->meta, S("team/app"), &digest, &e));
        close_store(w);
}

static void deleted_since_stays_deleted(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        copy_and_delete_two(w);
        spoil(w, "orlop.db", leaf_of(w, "blobs"), 0);
        must(salvage(&d));
        assert_true(d.salvage.sources[SALVAGE_COPY].blobs > 0);
        open_new(&d);
        assert_int_equal(count_images(w), IMAGES - 2);
        assert_false(has_image(w, 1) || has_image(w, 5));
        assert_int_equal(d.lost_tags + d.lost_manifests, 0);
}

/* What only the copy has was not deleted, but stood in the log; and a tag that moved then is the copy's. */
static void original_without_its_log(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        copy_and_delete_two(w);
        script(w, "UPDATE tags SET manifest_id = (SELECT min(id) FROM manifests), updated_us = updated_us - 1000 WHERE name = 'v9'");
        d.original_is_stale = true;
        must(salvage(&d));
        assert_false(d.salvage.sources[SALVAGE_ORIGINAL].whole);
        assert_int_equal(d.salvage.sources[SALVAGE_COPY].tags, 3);
        expect_all(&d);
}

/* The copy's image is better than none, but it is told that it is not the last. */
static void tag_moves_back(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);
        struct digest digest = digest_of(payload_of(w, IMAGES));

        put_images(w, 0, IMAGES);
        make_copy(w);
        put(w, S("team/app"), payload_of(w, IMAGES), S("v1"));
        close_store(w);
        script(w, "UPDATE manifests SET payload = zeroblob(size) WHERE id = (SELECT max(id) FROM manifests)");
        must(salvage(&d));
        assert_int_equal(d.lost_manifests, 1);
        assert_int_equal(d.lost_tags, 1);
        assert_int_equal(d.served, 1);
        assert_true(digest_eq(&d.lost_digest, &digest));
        open_new(&d);
        assert_int_equal(count_images(w), IMAGES);
}

/* Rows whose pages are there still come. */
static void cut_short(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);
        char path[128];

        put_images(w, 0, IMAGES);
        close_store(w);
        path_of(w, "orlop.db", path);
        assert_int_equal(truncate(path, number_in(w, "orlop.db", "PRAGMA page_count") * 3 / 4 * PAGE_BYTES + 77), 0);
        must(salvage(&d));
        open_new(&d);
        assert_in_range(count_images(w), IMAGES / 10, IMAGES - 1);
}

static void spoiled_bytes_are_not_taken(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        put_images(w, 0, IMAGES);
        make_copy(w);
        close_store(w);
        script(w, "UPDATE manifests SET payload = zeroblob(size) WHERE id = 7; UPDATE blobs SET content = zeroblob(size) WHERE id = 9");
        must(salvage(&d));
        assert_int_equal(d.salvage.sources[SALVAGE_COPY].manifests, 1);
        assert_int_equal(d.salvage.sources[SALVAGE_COPY].blobs, 1);
        expect_all(&d);
}

static void nothing_is_readable(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        put_images(w, 0, 10);
        make_copy(w);
        close_store(w);
        for (int64_t page = number_in(w, "orlop.db", "PRAGMA page_count"); page > 0; page--) {
                spoil(w, "orlop.db", page, 'x');
                spoil(w, "orlop.db.copy", page, 'y');
        }
        must(salvage(&d));
        assert_int_equal(d.salvage.sources[0].manifests + d.salvage.sources[1].manifests, 0);
        open_new(&d);
        assert_int_equal(count_images(w), 0);
        put_images(w, 0, 1);
}

static void newer_program_is_respected(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);

        put_images(w, 0, 10);
        close_store(w);
        script(w, "PRAGMA user_version = 999");
        must_fail(salvage(&d), ERR_UNSUPPORTED);
}

/* A copy of another store has the same numbers for other names. */
static void numbers_of_strangers(void **state)
{
        struct world *w = *state;
        struct damage d = damage_of(w);
        char from[128], to[128];

        put(w, S("stranger"), S("{}"), S("x"));
        make_copy(w);
        close_store(w);
        path_of(w, "orlop.db", from);
        path_of(w, "gone", to);
        must(fs_rename(from, to, &e));
        must(meta_sqlite_open_file(from, &w->meta, &e));
        put_images(w, 0, IMAGES);
        close_store(w);
        spoil(w, "orlop.db", leaf_of(w, "manifests"), 0);
        must(salvage(&d));
        open_new(&d);
        assert_int_equal(count_images(w), IMAGES - (int)d.lost_tags);
        assert_int_equal(number_in(w, "new.db", "SELECT count(*) FROM repositories WHERE has_manifests = 1"), 2);
}

/* The database is gone, but something says that there was one. */
static void missing_database_is_not_begun_anew(void **state)
{
        static const char *const signs[] = { "orlop.db.copy", "orlop.db-wal", "orlop.db.rebuilt", "orlop.db.partial" };
        struct world *w = *state;
        char path[128];

        close_store(w);
        path_of(w, "orlop.db", path);
        assert_int_equal(truncate(path, 0), 0);
        for (size_t i = 0; i < 2 * ARRAY_LEN(signs); i++) {
                char sign[128];

                path_of(w, signs[i % ARRAY_LEN(signs)], sign);
                must(fs_publish_file(sign, S("something"), 0600, &e));
                must_fail(meta_sqlite_open(w->folder, &w->meta, &e), ERR_CORRUPT);
                must_fail(meta_sqlite_check(w->folder, &e), ERR_CORRUPT);
                must(fs_remove(sign, &e));
                if (i + 1 == ARRAY_LEN(signs))
                        must(fs_remove(path, &e));
        }
        path_of(w, "orlop.db.partial", path);           /* of a backup that was killed as it began */
        must(fs_publish_file(path, S(""), 0600, &e));
        must_fail(meta_sqlite_open(w->folder, &w->meta, &e), ERR_CORRUPT);
        must(fs_remove(path, &e));
        must(meta_sqlite_open(w->folder, &w->meta, &e));
}

/* What would be pushed into it, the end of the rebuilding would replace. */
static void database_is_closed_while_a_rebuilding_waits(void **state)
{
        struct world *w = *state;
        char path[128];

        close_store(w);
        path_of(w, "orlop.db.rebuilt", path);
        must(fs_publish_file(path, S("something"), 0600, &e));
        must_fail(meta_sqlite_open(w->folder, &w->meta, &e), ERR_CORRUPT);
        must_fail(meta_sqlite_check(w->folder, &e), ERR_CORRUPT);
        must(fs_remove(path, &e));
        must(meta_sqlite_open(w->folder, &w->meta, &e));
}

/* A manifest that is pushed again is linked to what was lost and pushed before it. */
static void again_links_lost_parts(void **state)
{
        struct world *w = *state;

        put(w, S("a"), S("child"), S(""));
        put_index(w, S("a"), S("index"), S("child"), S("v1"));
        close_store(w);
        script(w, "DELETE FROM manifest_references");
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        must(meta_manifest_delete(w->meta, S("a"), DIGEST("child"), &e));
        put(w, S("a"), S("child"), S(""));
        put_index(w, S("a"), S("index"), S("child"), S("v1"));
        must_fail(meta_manifest_delete(w->meta, S("a"), DIGEST("child"), &e), ERR_DENIED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(whole_original_is_taken_over),
                TEST(first_page_is_spoiled),
                TEST(page_of_manifests),
                TEST(page_of_manifests_with_a_copy),
                TEST(page_of_tags),
                TEST(deleted_since_stays_deleted),
                TEST(original_without_its_log),
                TEST(tag_moves_back),
                TEST(cut_short),
                TEST(spoiled_bytes_are_not_taken),
                TEST(nothing_is_readable),
                TEST(newer_program_is_respected),
                TEST(numbers_of_strangers),
                TEST(missing_database_is_not_begun_anew),
                TEST(database_is_closed_while_a_rebuilding_waits),
                TEST(again_links_lost_parts),
        };

        return cmocka_run_group_tests_name("salvage", tests, NULL, NULL);
}
