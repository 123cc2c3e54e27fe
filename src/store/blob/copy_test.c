/* Holds, and copies of a store's objects. */
#include "store/blob/copy.h"

#include "base/fs.h"
#include "base/testing.h"
#include "store/blob/hold.h"

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

enum { BYTES = 3 * 1024 * 1024 + 17 };

struct world {
        char folder[64], from[80], to[80];
        struct blob_store *store;
        struct copy *copy;
        struct copy_item item;
        char *bytes;
};

static struct err e;

/* An object of BYTES bytes, published. */
static struct copy_item add_object(struct world *w, char fill)
{
        struct copy_item item = { .id = upload_id_new(), .size = BYTES };
        struct blob_upload *upload;

        memset(w->bytes, fill, BYTES);
        digest_of_bytes(SHA_256, (struct slice){ w->bytes, BYTES }, &item.digest);
        must(blob_upload_create(w->store, &item.id, &upload, &e));
        must(blob_upload_write(upload, 0, w->bytes, BYTES, &e));
        must(blob_upload_sync(upload, &e));
        must(blob_upload_publish(upload, &item.digest, &e));
        blob_upload_free(upload);
        return item;
}

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "/tmp/orlop-copy-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        snprintf(w->from, sizeof w->from, "%s/from", w->folder);
        snprintf(w->to, sizeof w->to, "%s/to", w->folder);
        must(fs_mkdir(w->from, 0700, &e));
        must(fs_mkdir(w->to, 0700, &e));
        w->bytes = malloc(BYTES);
        must(blob_fs_open(w->from, &w->store, &e));
        must(copy_open(w->from, w->to, &w->copy, &e));
        w->item = add_object(w, 'a');
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        copy_free(w->copy);
        blob_store_free(w->store);
        remove_tree(w->folder);
        free(w->bytes);
        free(w);
        return 0;
}

static void path_of(const char *dir, const struct copy_item *item, char path[static 300])
{
        struct digest_text text = digest_format(&item->digest);

        snprintf(path, 300, "%s/blobs/sha256/%.2s/%s.%s", dir, text.s + 7, text.s + 7, item->id.s);
}

static void damage(const char *path)
{
        int fd;

        assert_int_equal(chmod(path, 0600), 0);
        fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, "X", 1, 1000), 1);
        close(fd);
}

static void object_is_copied_once(void **state)
{
        struct world *w = *state;
        char path[300];
        struct stat st;
        enum copy_way way;

        must(copy_object(w->copy, &w->item, true, &way, &e));
        assert_int_not_equal(way, COPY_KEPT);
        path_of(w->to, &w->item, path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0444);
        assert_int_equal(st.st_size, BYTES);
        must(copy_object(w->copy, &w->item, true, &way, &e));
        assert_int_equal(way, COPY_KEPT);
        must(copy_sync(w->copy, &e));
}

/* A file of the right size and other bytes, and one that is too short. */
static void damaged_copy_is_fetched_again(void **state)
{
        struct world *w = *state;
        char path[300], folder[300];
        enum copy_way way;

        path_of(w->to, &w->item, path);
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        must(fs_mkdir(folder, 0755, &e));
        memset(w->bytes, 'b', BYTES);
        must(fs_publish_file(path, (struct slice){ w->bytes, BYTES }, 0444, &e));
        must(copy_object(w->copy, &w->item, false, &way, &e));
        assert_int_equal(way, COPY_KEPT);       /* nobody looked */
        must(copy_object(w->copy, &w->item, true, &way, &e));
        assert_int_not_equal(way, COPY_KEPT);
        must(fs_remove(path, &e));
        must(fs_publish_file(path, S("short"), 0444, &e));
        must(copy_object(w->copy, &w->item, false, &way, &e));
        assert_int_not_equal(way, COPY_KEPT);
}

static void damaged_source_is_told(void **state)
{
        struct world *w = *state;
        char path[300];
        enum copy_way way;
        struct copy_item lost = add_object(w, 'l');

        path_of(w->from, &w->item, path);
        damage(path);
        must_fail(copy_object(w->copy, &w->item, true, &way, &e), ERR_CORRUPT);
        assert_int_equal(truncate(path, 5), 0);
        must_fail(copy_object(w->copy, &w->item, true, &way, &e), ERR_CORRUPT);
        path_of(w->from, &lost, path);
        must(fs_remove(path, &e));
        must_fail(copy_object(w->copy, &lost, false, &way, &e), ERR_NOT_FOUND);
}

static RESULT wants_the_first(void *arg, const struct copy_item *item, bool *ret_wanted, struct err *err)
{
        (void)err;
        *ret_wanted = digest_eq(&item->digest, &((struct world *)arg)->item.digest);
        return OK;
}

static void sweep_leaves_what_is_wanted(void **state)
{
        struct world *w = *state;
        struct copy_item other = add_object(w, 'o');
        char path[300], stray[320];
        struct copy_swept swept;
        enum copy_way way;

        must(copy_object(w->copy, &w->item, false, &way, &e));
        must(copy_object(w->copy, &other, false, &way, &e));
        path_of(w->to, &w->item, path);
        snprintf(stray, sizeof stray, "%s.tmp", path);
        must(fs_publish_file(stray, S("left by a crash"), 0600, &e));
        must(copy_sweep(w->to, wants_the_first, w, &swept, &e));
        assert_int_equal(swept.files, 2);
        assert_int_equal(swept.bytes, BYTES + strlen("left by a crash"));
        assert_int_equal(access(path, F_OK), 0);
        assert_int_not_equal(access(stray, F_OK), 0);
        path_of(w->from, &other, path);         /* the source keeps all */
        assert_int_equal(access(path, F_OK), 0);
}

static void removal_waits_for_readers(void **state)
{
        struct world *w = *state;
        int first, second, removal;

        must(hold_objects(w->from, &first, &e));
        must(hold_objects(w->from, &second, &e));
        must_fail(hold_begin_removal(w->from, &removal, &e), ERR_BUSY);
        close(first);
        must_fail(hold_begin_removal(w->from, &removal, &e), ERR_BUSY);
        close(second);
        must(hold_begin_removal(w->from, &removal, &e));
        close(removal);
        must_fail(hold_objects("/tmp/orlop-no-such-store", &first, &e), ERR_NOT_FOUND);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(object_is_copied_once),
                TEST(damaged_copy_is_fetched_again),
                TEST(damaged_source_is_told),
                TEST(sweep_leaves_what_is_wanted),
                TEST(removal_waits_for_readers),
        };

        return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
