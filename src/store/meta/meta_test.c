/* The contract of a metadata store, kept by SQLite. */
#include "store/meta/meta.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>


#define must(expr) \
        do { \
                if (!(expr).ok) \
                        fail_msg("%s: %s", #expr, e.message); \
        } while (0)
#define must_fail(expr, want) \
        do { \
                assert_false((expr).ok); \
                if (e.code != (want)) \
                        fail_msg("%s: error %d: %s", #expr, (int)e.code, e.message); \
        } while (0)

struct world {
        char folder[64];
        struct meta *meta;
        struct arena arena;
};

static struct err e;

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        strcpy(w->folder, "/tmp/orlop-meta-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        w->arena = ARENA_INIT(64 * 1024 * 1024);
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        *state = w;
        return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static int tear_down(void **state)
{
        struct world *w = *state;

        meta_free(w->meta);
        arena_fini(&w->arena);
        nftw(w->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(w);
        return 0;
}

/* --- Help ------------------------------------------------------------------------------------------------------------- */

static struct digest digest_of(const char *text)
{
        struct digest digest;

        digest_of_bytes(SHA_256, slice_from(text), &digest);
        return digest;
}

/* A session of its own that ends in this blob. */
static struct digest add_blob(struct world *w, struct slice repository, const char *text)
{
        struct upload_id id = upload_id_new();
        struct digest digest = digest_of(text);
        bool surplus;

        must(meta_upload_begin(w->meta, repository, &id, S("state"), &e));
        must(meta_upload_commit(w->meta, repository, &id, &digest, strlen(text), slice_from(text), &surplus, &e));
        return digest;
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

static void session_is_kept_saved_and_removed(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new(), other = upload_id_new();
        struct meta_upload upload;
        bool exists;

        must(meta_upload_begin(w->meta, S("a/b"), &id, S("zero"), &e));
        must(meta_upload_get(w->meta, S("a/b"), &id, &w->arena, &upload, &e));
        assert_int_equal(upload.received, 0);
        assert_true(slice_eq(upload.hash_state, S("zero")));
        assert_true(slice_eq(upload.repository, S("a/b")));
        must(meta_upload_save(w->meta, &id, 77, S("later"), &e));
        must(meta_upload_get(w->meta, S("a/b"), &id, &w->arena, &upload, &e));
        assert_int_equal(upload.received, 77);
        assert_true(slice_eq(upload.hash_state, S("later")));
        assert_true(upload.updated_us >= upload.created_us);

        must_fail(meta_upload_get(w->meta, S("b"), &id, &w->arena, &upload, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_get(w->meta, S("a/b"), &other, &w->arena, &upload, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_save(w->meta, &other, 1, S("x"), &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_remove(w->meta, S("b"), &id, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must(meta_upload_exists(w->meta, &id, &exists, &e));
        assert_true(exists);
        must(meta_upload_remove(w->meta, S("a/b"), &id, &e));
        must(meta_upload_exists(w->meta, &id, &exists, &e));
        assert_false(exists);
        must_fail(meta_upload_remove(w->meta, S("a/b"), &id, &e), ERR_BLOB_UPLOAD_UNKNOWN);
}

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

static void blob_lives_in_the_database_or_as_an_object(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct digest large = digest_of("large"), found, small = add_blob(w, S("a"), "small"), empty = add_blob(w, S("a"), "");
        struct meta_blob blob;
        bool surplus;

        must(meta_blob_get(w->meta, S("a"), &small, true, &w->arena, &blob, &e));
        assert_true(blob.in_database && slice_eq(blob.bytes, S("small")));
        must(meta_blob_get(w->meta, S("a"), &empty, true, &w->arena, &blob, &e));
        assert_true(blob.in_database && blob.size == 0 && blob.bytes.p && blob.bytes.n == 0);

        must(meta_upload_begin(w->meta, S("a"), &id, S("x"), &e));
        must(meta_upload_commit(w->meta, S("a"), &id, &large, 12345, SLICE_NONE, &surplus, &e));
        assert_false(surplus);
        must(meta_blob_get(w->meta, S("a"), &large, true, &w->arena, &blob, &e));
        assert_false(blob.in_database);
        assert_int_equal(blob.size, 12345);
        assert_string_equal(blob.id.s, id.s);
        must(meta_blob_of_upload(w->meta, &id, &found, &e));
        assert_true(digest_eq(&found, &large));
        must_fail(meta_upload_commit(w->meta, S("a"), &id, &large, 12345, SLICE_NONE, &surplus, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        id = upload_id_new();
        must_fail(meta_blob_of_upload(w->meta, &id, &found, &e), ERR_NOT_FOUND);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(session_is_kept_saved_and_removed),
                TEST(blob_lives_in_the_database_or_as_an_object),
        };

        return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
