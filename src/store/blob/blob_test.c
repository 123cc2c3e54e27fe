/* The contract of a blob store, kept by files. */
#include "store/blob/blob.h"

#include "base/fs.h"
#include "base/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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
        struct blob_store *store;
};

static struct err e;

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "%s", "/tmp/orlop-blob-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        must(blob_fs_open(w->folder, &w->store, &e));
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        blob_store_free(w->store);
        remove_tree(w->folder);
        free(w);
        return 0;
}

static void upload_path(const struct world *w, const struct upload_id *id, char ret_path[static 256])
{
        snprintf(ret_path, 256, "%s/uploads/%s", w->folder, id->s);
}

static void object_path(const struct world *w, const struct digest *digest, const struct upload_id *id, char ret_path[static 256])
{
        struct digest_text text = digest_format(digest);
        char *hex = strchr(text.s, ':');

        *hex++ = 0;
        snprintf(ret_path, 256, "%s/blobs/%s/%.2s/%s.%s", w->folder, text.s, hex, hex, id->s);
}

/* An upload that holds these bytes, synced. */
static struct blob_upload *upload_of(struct world *w, const struct upload_id *id, struct slice bytes)
{
        struct blob_upload *upload;

        must(blob_upload_create(w->store, id, &upload, &e));
        must(blob_upload_write(upload, 0, bytes.p, bytes.n, &e));
        must(blob_upload_sync(upload, &e));
        return upload;
}

static void expect_object(struct world *w, const struct digest *digest, const struct upload_id *id, struct slice want)
{
        char got[256];
        uint64_t size;
        size_t n;
        int fd;

        must(blob_open(w->store, digest, id, &fd, &size, &e));
        assert_int_equal(size, want.n);
        must(fs_read_at(fd, 0, got, sizeof got, &n, "object", &e));
        assert_int_equal(n, want.n);
        assert_memory_equal(got, want.p, n);
        close(fd);
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

static void upload_grows_and_goes_on(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct blob_upload *upload;
        char got[16];
        size_t n;

        must(blob_upload_create(w->store, &id, &upload, &e));
        assert_int_equal(blob_upload_size(upload), 0);
        must(blob_upload_write(upload, 0, "hello ", 6, &e));
        must(blob_upload_write(upload, 6, "world", 5, &e));
        assert_int_equal(blob_upload_size(upload), 11);
        blob_upload_free(upload);

        must(blob_upload_open(w->store, &id, &upload, &e));
        assert_int_equal(blob_upload_size(upload), 11);
        must(blob_upload_read(upload, 6, got, sizeof got, &n, &e));
        assert_int_equal(n, 5);
        assert_memory_equal(got, "world", 5);
        must(blob_upload_write(upload, 3, "HELLO", 5, &e));             /* within: no longer than before */
        assert_int_equal(blob_upload_size(upload), 11);
        must(blob_upload_truncate(upload, 4, &e));
        assert_int_equal(blob_upload_size(upload), 4);
        must(blob_upload_read(upload, 4, got, sizeof got, &n, &e));
        assert_int_equal(n, 0);
        blob_upload_free(upload);
}

static void upload_that_is_not_there(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct blob_upload *upload = NULL;

        must_fail(blob_upload_open(w->store, &id, &upload, &e), ERR_NOT_FOUND);
        must(blob_upload_remove(w->store, &id, &e));
        blob_upload_free(upload_of(w, &id, S("x")));
        must_fail(blob_upload_create(w->store, &id, &upload, &e), ERR_IO);
        must(blob_upload_remove(w->store, &id, &e));
        must_fail(blob_upload_open(w->store, &id, &upload, &e), ERR_NOT_FOUND);
        assert_null(upload);
        blob_upload_free(NULL);
}

struct listed {
        struct upload_id ids[8];
        size_t count, fail_at;
};

static RESULT note(void *arg, const struct upload_id *id, struct err *err)
{
        struct listed *listed = arg;

        if (listed->count == listed->fail_at)
                return FAIL(err, ERR_TIMEOUT, 0, "enough");
        listed->ids[listed->count++] = *id;
        return OK;
}

static void list_tells_uploads_only(void **state)
{
        struct world *w = *state;
        struct listed all = { .fail_at = SIZE_MAX }, some = { .fail_at = 1 };
        char path[256];

        for (int i = 0; i < 3; i++) {
                struct upload_id id = upload_id_new();

                blob_upload_free(upload_of(w, &id, S("x")));
        }
        snprintf(path, sizeof path, "%s/uploads/README", w->folder);
        close(open(path, O_CREAT | O_WRONLY, 0600));
        must(blob_upload_list(w->store, note, &all, &e));
        assert_int_equal(all.count, 3);
        must_fail(blob_upload_list(w->store, note, &some, &e), ERR_TIMEOUT);
        assert_int_equal(some.count, 1);
}

/* --- Objects ---------------------------------------------------------------------------------------------------------- */

static void published_object_is_read_only_and_keeps_its_place(void **state)
{
        struct world *w = *state;
        enum sha_algorithm algorithms[] = { SHA_256, SHA_512 };

        for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
                struct upload_id id = upload_id_new();
                struct blob_upload *upload = upload_of(w, &id, S("bytes"));
                struct digest digest;
                struct stat st;
                char path[256];

                digest_of_bytes(algorithms[i], S("bytes"), &digest);
                must(blob_upload_publish(upload, &digest, &e));
                blob_upload_free(upload);
                expect_object(w, &digest, &id, S("bytes"));

                object_path(w, &digest, &id, path);
                assert_int_equal(stat(path, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0444);
                upload_path(w, &id, path);
                assert_int_equal(access(path, F_OK), -1);
        }
}

/* A crash between commit and rename: whoever opens it first finishes it. */
static void object_under_its_uploads_name_is_found(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct digest digest;
        char path[256];

        digest_of_bytes(SHA_256, S("left over"), &digest);
        blob_upload_free(upload_of(w, &id, S("left over")));
        expect_object(w, &digest, &id, S("left over"));
        object_path(w, &digest, &id, path);
        assert_int_equal(access(path, F_OK), 0);
        expect_object(w, &digest, &id, S("left over"));
}

/* A rename anywhere on the machine may come between: more than one try. */
static bool opens_now(struct world *w, const struct digest *digest, const struct upload_id *id, uint64_t *ret_size)
{
        bool opens = false;
        int fd;

        for (int i = 0; i < 100 && !opens; i++)
                opens = blob_open_now(w->store, digest, id, &fd, ret_size);
        if (opens)
                close(fd);
        return opens;
}

/* What is in its place, and was looked at a moment ago, opens without waiting. All else is for blob_open(). */
static void object_in_its_place_opens_at_once(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct digest digest;
        uint64_t size;
        char path[256];

        digest_of_bytes(SHA_256, S("at once"), &digest);
        blob_upload_free(upload_of(w, &id, S("at once")));
        assert_false(opens_now(w, &digest, &id, &size));
        expect_object(w, &digest, &id, S("at once"));           /* gives it its place */
        assert_true(opens_now(w, &digest, &id, &size));
        assert_int_equal(size, 7);
        object_path(w, &digest, &id, path);
        assert_int_equal(unlink(path), 0);
        assert_false(opens_now(w, &digest, &id, &size));
}

/* Two uploads of one digest are two objects: removing the one leaves the other. */
static void objects_of_one_digest_are_apart(void **state)
{
        struct world *w = *state;
        struct upload_id ids[2] = { upload_id_new(), upload_id_new() };
        struct digest digest;
        uint64_t size;
        int fd = -1;

        digest_of_bytes(SHA_256, S("same"), &digest);
        for (size_t i = 0; i < 2; i++) {
                struct blob_upload *upload = upload_of(w, &ids[i], S("same"));

                must(blob_upload_publish(upload, &digest, &e));
                blob_upload_free(upload);
        }
        must(blob_remove(w->store, &digest, &ids[0], &e));
        must_fail(blob_open(w->store, &digest, &ids[0], &fd, &size, &e), ERR_NOT_FOUND);
        assert_int_equal(fd, -1);
        expect_object(w, &digest, &ids[1], S("same"));
        must(blob_remove(w->store, &digest, &ids[0], &e));              /* again is fine */
}

static void removal_takes_the_uploads_name_too(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct digest digest;
        uint64_t size;
        int fd;

        digest_of_bytes(SHA_256, S("never renamed"), &digest);
        blob_upload_free(upload_of(w, &id, S("never renamed")));
        must(blob_remove(w->store, &digest, &id, &e));
        must_fail(blob_open(w->store, &digest, &id, &fd, &size, &e), ERR_NOT_FOUND);
}

/* --- The store -------------------------------------------------------------------------------------------------------- */

static void store_is_found_again(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        struct blob_upload *upload = upload_of(w, &id, S("kept"));
        struct digest digest;

        digest_of_bytes(SHA_256, S("kept"), &digest);
        must(blob_upload_publish(upload, &digest, &e));
        blob_upload_free(upload);
        blob_store_free(w->store);
        must(blob_fs_open(w->folder, &w->store, &e));
        expect_object(w, &digest, &id, S("kept"));
}

static void probe_leaves_nothing(void **state)
{
        struct world *w = *state;
        uint64_t space, total;
        char command[128];

        must(blob_store_probe(w->store, &e));
        snprintf(command, sizeof command, "! ls -A %s | grep -q probe", w->folder);
        assert_int_equal(system(command), 0);
        must(blob_store_space(w->store, &space, &total, &e));
        assert_true(space > 0 && space <= total);
}

static void trouble_has_a_code(void **state)
{
        struct world *w = *state;
        char path[256], too_long[5000];
        struct blob_store *store = NULL;

        memset(too_long, 'a', sizeof too_long - 1);
        too_long[0] = '/';
        too_long[sizeof too_long - 1] = 0;
        must_fail(blob_fs_open(too_long, &store, &e), ERR_INVALID);
        snprintf(path, sizeof path, "%s/file", w->folder);
        close(open(path, O_CREAT | O_WRONLY, 0600));
        must_fail(blob_fs_open(path, &store, &e), ERR_IO);
        assert_null(store);
        blob_store_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(upload_grows_and_goes_on),
                TEST(upload_that_is_not_there),
                TEST(list_tells_uploads_only),
                TEST(published_object_is_read_only_and_keeps_its_place),
                TEST(object_under_its_uploads_name_is_found),
                TEST(object_in_its_place_opens_at_once),
                TEST(objects_of_one_digest_are_apart),
                TEST(removal_takes_the_uploads_name_too),
                TEST(store_is_found_again),
                TEST(probe_leaves_nothing),
                TEST(trouble_has_a_code),
        };

        return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
