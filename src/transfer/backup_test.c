/* Backups and restores of a registry that is open, and of what interrupted ones leave. */
#include "transfer/backup.h"

#include "base/fs.h"
#include "base/testing.h"
#include "registry/push.h"
#include "store/blob/hold.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

enum { LAYER_BYTES = 100 * 1000, STEPS_MAX = 200, STATUS_INTERRUPTED = 9 };

struct world {
        char folder[64], data[80], to[80], restored[80];
        struct registry *registry;
        struct arena arena;
        char *layer;
};

static struct err e;

static struct registry *open_registry(const char *data)
{
        struct registry *registry = NULL;

        must(fs_mkdir(data, 0700, &e));
        must(registry_open(&(struct registry_config){ .data_dir = data }, &registry, &e));
        return registry;
}

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "/tmp/orlop-backup-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        snprintf(w->data, sizeof w->data, "%s/data", w->folder);
        snprintf(w->to, sizeof w->to, "%s/to", w->folder);
        snprintf(w->restored, sizeof w->restored, "%s/restored", w->folder);
        w->arena = ARENA_INIT(16 * 1024 * 1024);
        w->layer = malloc(LAYER_BYTES);
        w->registry = open_registry(w->data);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        registry_free(w->registry);
        arena_fini(&w->arena);
        remove_tree(w->folder);
        free(w->layer);
        free(w);
        return 0;
}

/* --- Content ---------------------------------------------------------------------------------------------------------- */

static struct digest push_blob(struct registry *registry, struct slice bytes)
{
        struct push *push;
        struct digest digest;

        digest_of_bytes(SHA_256, bytes, &digest);
        must(push_begin(registry, S("app"), SHA_256, &push, &e));
        must(push_write(push, bytes, &e));
        must(push_commit(push, &digest, &e));
        push_free(push);
        return digest;
}

static struct slice layer_of(struct world *w, char fill)
{
        memset(w->layer, fill, LAYER_BYTES);
        return (struct slice){ w->layer, LAYER_BYTES };
}

/* An image with one layer of LAYER_BYTES `fill`, tagged with that letter. */
static void push_image(struct world *w, struct registry *registry, char fill)
{
        struct digest config = push_blob(registry, S("{}")), layer = push_blob(registry, layer_of(w, fill));
        char text[1024], tag[] = { fill, 0 };
        struct registry_manifest_request request = { .repository = S("app"), .reference = slice_from(tag) };
        struct registry_manifest_result result;

        snprintf(text, sizeof text, "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{"
                 "\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":2},\"layers\":[{"
                 "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%d}]}",
                 digest_format(&config).s, digest_format(&layer).s, LAYER_BYTES);
        request.body = slice_from(text);
        must(registry_manifest_put(registry, &request, &w->arena, &result, &e));
}

/* Is the image of that letter in the registry, with its bytes? */
static bool has_image(struct world *w, struct registry *registry, char fill)
{
        struct meta_manifest manifest;
        struct registry_blob blob;
        char tag[] = { fill, 0 };
        struct digest digest, have;
        char *bytes;
        size_t n;

        if (!registry_manifest_get(registry, S("app"), slice_from(tag), &w->arena, &manifest, &e).ok) {
                assert_true(e.code == ERR_MANIFEST_UNKNOWN || e.code == ERR_NAME_UNKNOWN);
                return false;
        }
        digest_of_bytes(SHA_256, layer_of(w, fill), &digest);
        must(registry_blob_open(registry, S("app"), &digest, &w->arena, &blob, &e));
        bytes = malloc(LAYER_BYTES);
        must(fs_read_at(blob.fd, 0, bytes, LAYER_BYTES, &n, "layer", &e));
        digest_of_bytes(SHA_256, (struct slice){ bytes, n }, &have);
        assert_true(digest_eq(&digest, &have));
        free(bytes);
        close(blob.fd);
        return true;
}

static unsigned files_below;

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)path, (void)st, (void)ftw;
        files_below += type == FTW_F;
        return 0;
}

static unsigned count_objects(const char *data)
{
        char path[100];

        files_below = 0;
        snprintf(path, sizeof path, "%s/blobs", data);
        nftw(path, count_entry, 16, FTW_PHYS);
        return files_below;
}

static void damage_object(struct world *w, char fill, bool remove_it)
{
        struct digest_text text;
        struct digest digest;
        char pattern[300];
        glob_t found;

        digest_of_bytes(SHA_256, layer_of(w, fill), &digest);
        text = digest_format(&digest);
        snprintf(pattern, sizeof pattern, "%s/blobs/sha256/*/%s.*", w->data, strchr(text.s, ':') + 1);
        assert_int_equal(glob(pattern, 0, NULL, &found), 0);
        if (remove_it) {
                must(fs_remove(found.gl_pathv[0], &e));
        } else {
                int fd;

                assert_int_equal(chmod(found.gl_pathv[0], 0600), 0);
                fd = open(found.gl_pathv[0], O_WRONLY);
                must(fs_write_at(fd, 100, "X", 1, "object", &e));
                close(fd);
        }
        globfree(&found);
}

/* --- Tests ------------------------------------------------------------------------------------------------------------ */

static struct backup backup_of(struct world *w)
{
        return (struct backup){ .kind = BACKUP_TAKE, .from = w->data, .to = w->to, .verify = true };
}

static void backup_is_a_store(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;

        push_image(w, w->registry, 'a');
        push_image(w, w->registry, 'b');
        must(backup_run(&backup, &report, &e));
        assert_int_equal(report.totals.repositories, 1);
        assert_int_equal(report.totals.manifests, 2);
        assert_int_equal(report.totals.objects, 2);
        assert_int_equal(report.ways[COPY_KEPT].files, 0);
        copy = open_registry(w->to);
        assert_true(has_image(w, copy, 'a'));
        assert_true(has_image(w, copy, 'b'));
        assert_false(has_image(w, copy, 'c'));
        registry_free(copy);
}

static void second_run_takes_what_is_new(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;

        push_image(w, w->registry, 'a');
        must(backup_run(&backup, &report, &e));
        copy = open_registry(w->to);            /* served meanwhile, and closed; nothing was pushed */
        assert_true(has_image(w, copy, 'a'));
        registry_free(copy);
        push_image(w, w->registry, 'b');
        must(backup_run(&backup, &report, &e));
        assert_int_equal(report.ways[COPY_KEPT].files, 1);
        assert_int_equal(report.totals.objects, 2);
        assert_int_equal(report.swept.files, 0);
        copy = open_registry(w->to);
        assert_true(has_image(w, copy, 'b'));
        registry_free(copy);
}

/* The source forgets an image: here by another source. */
static void what_is_gone_is_removed(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;

        push_image(w, w->registry, 'a');
        must(backup_run(&backup, &report, &e));
        registry_free(w->registry);
        remove_tree(w->data);
        w->registry = open_registry(w->data);
        push_image(w, w->registry, 'z');
        must(backup_run(&backup, &report, &e));
        assert_int_equal(report.swept.files, 1);
        assert_int_equal(count_objects(w->to), 1);
        copy = open_registry(w->to);
        assert_false(has_image(w, copy, 'a'));
        assert_true(has_image(w, copy, 'z'));
        registry_free(copy);
}

static void unfinished_uploads_stay_behind(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;
        struct push *push;
        struct upload_id id;

        must(push_begin(w->registry, S("app"), SHA_256, &push, &e));
        must(push_write(push, layer_of(w, 'u'), &e));
        must(push_save(push, &e));
        id = *push_id(push);
        push_free(push);
        must(backup_run(&backup, &report, &e));
        copy = open_registry(w->to);
        must_fail(push_resume(copy, S("app"), &id, &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        registry_free(copy);
        must(push_resume(w->registry, S("app"), &id, &push, &e));
        push_free(push);
}

/* The progress report of step `left` ends the process. */
static unsigned left;

static void interrupt(void *arg, const char *what, uint64_t done, uint64_t total)
{
        (void)arg, (void)what, (void)done, (void)total;
        if (left-- == 0)
                _exit(STATUS_INTERRUPTED);
}

/* true: it came to its end. */
static bool run_until(const struct backup *backup, unsigned step)
{
        struct backup interrupted = *backup;
        struct backup_report report;
        int status;
        pid_t pid;

        interrupted.progress.tell = interrupt;
        left = step;
        pid = fork();
        if (pid == 0) {
                struct err err = ERR_INIT;

                _exit(backup_run(&interrupted, &report, &err).ok ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == STATUS_INTERRUPTED);
        return WEXITSTATUS(status) == 0;
}

/* At each step the target is the older state, or nothing that can be opened; and the next run ends well. */
static void interrupted_anywhere_it_goes_on(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct registry *copy = NULL;
        unsigned step = 0;

        push_image(w, w->registry, 'a');
        push_image(w, w->registry, 'b');
        while (!run_until(&backup, step)) {
                must_fail(registry_open(&(struct registry_config){ .data_dir = w->to }, &copy, &e), ERR_CORRUPT);
                assert_true(++step < STEPS_MAX);
        }
        assert_true(step >= 3);                 /* the database and two layers */
        push_image(w, w->registry, 'c');
        for (step = 0; !run_until(&backup, step); step++) {
                copy = open_registry(w->to);
                assert_true(has_image(w, copy, 'a') && has_image(w, copy, 'b'));
                assert_false(has_image(w, copy, 'c'));
                registry_free(copy);
                assert_true(step < STEPS_MAX);
        }
        copy = open_registry(w->to);
        assert_true(has_image(w, copy, 'a') && has_image(w, copy, 'b') && has_image(w, copy, 'c'));
        registry_free(copy);
        assert_int_equal(count_objects(w->to), 3);
}

static void foreign_folders_are_refused(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *other;
        char path[100];

        other = open_registry(w->to);
        must_fail(backup_run(&backup, &report, &e), ERR_EXISTS);
        registry_free(other);
        backup.to = w->restored;
        must(fs_mkdir(w->restored, 0700, &e));
        snprintf(path, sizeof path, "%s/letter.txt", w->restored);
        must(fs_publish_file(path, S("Dear all"), 0600, &e));
        must_fail(backup_run(&backup, &report, &e), ERR_EXISTS);
        backup.to = w->data;
        must_fail(backup_run(&backup, &report, &e), ERR_INVALID);
        backup.from = w->restored;
        must_fail(backup_run(&backup, &report, &e), ERR_NOT_FOUND);
}

static void backup_that_was_pushed_to_is_kept(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;

        push_image(w, w->registry, 'a');
        must(backup_run(&backup, &report, &e));
        copy = open_registry(w->to);
        push_image(w, copy, 'p');
        registry_free(copy);
        must_fail(backup_run(&backup, &report, &e), ERR_EXISTS);
        copy = open_registry(w->to);
        assert_true(has_image(w, copy, 'p'));
        registry_free(copy);
        backup.force = true;
        must(backup_run(&backup, &report, &e));
        assert_int_equal(report.swept.files, 1);
}

static unsigned complaints;

static void complain(void *arg, const char *message)
{
        (void)arg;
        assert_non_null(strstr(message, "sha256:"));
        complaints++;
}

static void damage_is_told_and_the_rest_is_copied(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        struct registry *copy;

        push_image(w, w->registry, 'a');
        push_image(w, w->registry, 'b');
        push_image(w, w->registry, 'c');
        damage_object(w, 'a', true);
        damage_object(w, 'b', false);
        complaints = 0;
        backup.progress.complain = complain;
        must(backup_run(&backup, &report, &e));
        assert_int_equal(report.damaged, 2);
        assert_int_equal(complaints, 2);
        copy = open_registry(w->to);
        assert_true(has_image(w, copy, 'c'));
        registry_free(copy);
}

static void restore_makes_a_store_of_its_own(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup restore = { .kind = BACKUP_RESTORE, .from = w->to, .to = w->restored, .verify = true };
        struct backup_report report;
        struct registry *copy;
        char path[120];
        struct stat st;

        push_image(w, w->registry, 'a');
        snprintf(path, sizeof path, "%s/tls", w->data);
        must(fs_mkdir(path, 0700, &e));
        snprintf(path, sizeof path, "%s/tls/ca.key", w->data);
        must(fs_publish_file(path, S("secret"), 0600, &e));
        must_fail(backup_run(&restore, &report, &e), ERR_NOT_FOUND);
        must(backup_run(&backup, &report, &e));
        assert_false(run_until(&restore, 1));
        must_fail(registry_open(&(struct registry_config){ .data_dir = w->restored }, &copy, &e), ERR_CORRUPT);
        must(backup_run(&restore, &report, &e));
        must_fail(backup_run(&restore, &report, &e), ERR_EXISTS);
        snprintf(path, sizeof path, "%s/tls/ca.key", w->restored);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        copy = open_registry(w->restored);
        assert_true(has_image(w, copy, 'a'));
        registry_free(copy);
}

static void try_removal(void *arg, const char *what, uint64_t done, uint64_t total)
{
        struct world *w = arg;
        int fd;

        (void)what, (void)done, (void)total;
        must_fail(hold_begin_removal(w->data, &fd, &e), ERR_BUSY);
        left++;
}

static void collector_waits_for_the_backup(void **state)
{
        struct world *w = *state;
        struct backup backup = backup_of(w);
        struct backup_report report;
        int fd;

        push_image(w, w->registry, 'a');
        backup.progress = (struct progress){ .tell = try_removal, .arg = w };
        left = 0;
        must(backup_run(&backup, &report, &e));
        assert_int_equal(left, 2);              /* the database, a layer */
        must(hold_begin_removal(w->data, &fd, &e));
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(backup_is_a_store),
                TEST(second_run_takes_what_is_new),
                TEST(what_is_gone_is_removed),
                TEST(unfinished_uploads_stay_behind),
                TEST(interrupted_anywhere_it_goes_on),
                TEST(foreign_folders_are_refused),
                TEST(backup_that_was_pushed_to_is_kept),
                TEST(damage_is_told_and_the_rest_is_copied),
                TEST(restore_makes_a_store_of_its_own),
                TEST(collector_waits_for_the_backup),
        };

        return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
