/* The registry over its real stores, in a folder of its own. */
#include "registry/push.h"

#include "base/fs.h"
#include "base/testing.h"
#include "registry/internal.h"

#include <errno.h>
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

enum { LARGE = 300 * 1000, SMALL = 1000 };

struct world {
        char folder[64];
        struct registry *registry;
        struct arena arena;
        char bytes[LARGE];
};

static struct err e;

static void open_registry(struct world *w)
{
        struct registry_config config = { .data_dir = w->folder };

        must(registry_open(&config, &w->registry, &e));
}

/* What kill -9 leaves: nothing is flushed or tidied that was not before. */
static void reopen(struct world *w)
{
        registry_free(w->registry);
        open_registry(w);
}

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "/tmp/orlop-registry-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        w->arena = ARENA_INIT(64 * 1024 * 1024);
        for (size_t i = 0; i < sizeof w->bytes; i++)
                w->bytes[i] = (char)(i * 31 + i / 251);
        open_registry(w);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        registry_free(w->registry);
        arena_fini(&w->arena);
        remove_tree(w->folder);
        free(w);
        return 0;
}

static struct slice bytes_of(struct world *w, size_t n)
{
        return (struct slice){ w->bytes, n };
}

static struct digest push_blob(struct world *w, struct slice repository, struct slice bytes)
{
        _cleanup_(push_freep) struct push *push = NULL;
        struct digest digest;

        digest_of_bytes(SHA_256, bytes, &digest);
        must(push_begin(w->registry, repository, SHA_256, &push, &e));
        must(push_write(push, bytes, &e));
        must(push_commit(push, &digest, &e));
        return digest;
}

static void expect_blob(struct world *w, struct slice repository, const struct digest *digest, struct slice want)
{
        struct registry_blob blob;
        char *got = malloc(want.n + 1);
        size_t n;

        must(registry_blob_open(w->registry, repository, digest, &w->arena, &blob, &e));
        assert_int_equal(blob.size, want.n);
        if (blob.fd >= 0) {
                must(fs_read_at(blob.fd, 0, got, want.n, &n, "blob", &e));
                assert_int_equal(n, want.n);
                close(blob.fd);
        } else {
                assert_int_equal(blob.bytes.n, want.n);
                memcpy(got, blob.bytes.p, want.n);
        }
        assert_memory_equal(got, want.p, want.n);
        free(got);
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

static void blobs_of_every_size_come_back(void **state)
{
        struct world *w = *state;
        size_t sizes[] = { 0, 1, SMALL, PUSH_SMALL_MAX - 1, PUSH_SMALL_MAX, PUSH_SMALL_MAX + 1, LARGE };

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                struct digest digest = push_blob(w, S("a/b"), bytes_of(w, sizes[i]));

                expect_blob(w, S("a/b"), &digest, bytes_of(w, sizes[i]));
                reopen(w);
                expect_blob(w, S("a/b"), &digest, bytes_of(w, sizes[i]));
        }
}

static void wrong_digest_is_refused_and_ends_the_session(void **state)
{
        struct world *w = *state;
        size_t sizes[] = { SMALL, LARGE };

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                _cleanup_(push_freep) struct push *push = NULL;
                struct push *again = NULL;
                struct digest digest;
                struct upload_id id;

                digest_of_bytes(SHA_256, S("something else"), &digest);
                must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
                id = *push_id(push);
                must(push_write(push, bytes_of(w, sizes[i]), &e));
                must_fail(push_commit(push, &digest, &e), ERR_DIGEST_INVALID);
                push_free(TAKE_PTR(push));
                must_fail(push_resume(w->registry, S("a"), &id, &again, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        }
}

/* In `steps` requests, each of which ends with a save; the daemon dies after each. */
static void push_in_steps(struct world *w, size_t total, size_t steps, enum sha_algorithm running, enum sha_algorithm wanted)
{
        struct push *push;
        struct digest digest;
        struct upload_id id;

        digest_of_bytes(wanted, bytes_of(w, total), &digest);
        must(push_begin(w->registry, S("a"), running, &push, &e));
        id = *push_id(push);
        push_free(push);
        for (size_t i = 0; i < steps; i++) {
                size_t from = total * i / steps, to = total * (i + 1) / steps;

                reopen(w);
                must(push_resume(w->registry, S("a"), &id, &push, &e));
                assert_int_equal(push_received(push), from);
                must(push_write(push, (struct slice){ w->bytes + from, to - from }, &e));
                must(push_save(push, &e));
                push_free(push);
        }
        reopen(w);
        must(push_resume(w->registry, S("a"), &id, &push, &e));
        assert_int_equal(push_received(push), total);
        must(push_commit(push, &digest, &e));
        push_free(push);
        expect_blob(w, S("a"), &digest, bytes_of(w, total));
}

static void upload_goes_on_after_restarts(void **state)
{
        struct world *w = *state;

        push_in_steps(w, SMALL, 3, SHA_256, SHA_256);
        push_in_steps(w, PUSH_SMALL_MAX * 2, 4, SHA_256, SHA_256);
        push_in_steps(w, LARGE, 3, SHA_512, SHA_512);
        push_in_steps(w, LARGE - 1, 1, SHA_256, SHA_512);
        push_in_steps(w, SMALL + 1, 2, SHA_512, SHA_256);
}

/* Bytes behind the saved state are kept: the connection broke or the daemon died in the middle of a request. */
static void bytes_behind_the_saved_state_count(void **state)
{
        struct world *w = *state;
        struct push *push;
        struct digest digest;
        struct upload_id id;

        digest_of_bytes(SHA_256, bytes_of(w, LARGE), &digest);
        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        id = *push_id(push);
        must(push_write(push, bytes_of(w, 100000), &e));
        must(push_save(push, &e));
        must(push_write(push, (struct slice){ w->bytes + 100000, 50000 }, &e));
        push_free(push);
        reopen(w);

        must(push_resume(w->registry, S("a"), &id, &push, &e));
        assert_int_equal(push_received(push), 150000);
        must(push_write(push, (struct slice){ w->bytes + 150000, LARGE - 150000 }, &e));
        must(push_commit(push, &digest, &e));
        push_free(push);
        expect_blob(w, S("a"), &digest, bytes_of(w, LARGE));
}

static bool has_file(struct world *w, const struct upload_id *id)
{
        char path[256];

        snprintf(path, sizeof path, "%s/uploads/%s", w->folder, id->s);
        return access(path, F_OK) == 0;
}

/* A request that writes these bytes and ends with a save, or is killed. */
static void one_request(struct world *w, const struct upload_id *id, size_t from, size_t to, bool save)
{
        struct push *push;

        must(push_resume(w->registry, S("a"), id, &push, &e));
        assert_int_equal(push_received(push), from);
        must(push_write(push, (struct slice){ w->bytes + from, to - from }, &e));
        if (save)
                must(push_save(push, &e));
        push_free(push);
        reopen(w);
}

static struct upload_id begin(struct world *w)
{
        struct upload_id id;
        struct push *push;

        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        id = *push_id(push);
        push_free(push);
        return id;
}

static void finish(struct world *w, const struct upload_id *id, size_t received)
{
        struct push *push;
        struct digest digest;

        digest_of_bytes(SHA_256, bytes_of(w, received), &digest);
        must(push_resume(w->registry, S("a"), id, &push, &e));
        assert_int_equal(push_received(push), received);
        must(push_commit(push, &digest, &e));
        push_free(push);
        expect_blob(w, S("a"), &digest, bytes_of(w, received));
        assert_false(has_file(w, id));
}

static void few_bytes_wait_without_a_file(void **state)
{
        struct world *w = *state;
        struct upload_id small = begin(w), large = begin(w);

        one_request(w, &small, 0, SMALL, true);
        one_request(w, &small, SMALL, PUSH_SMALL_MAX, true);
        assert_false(has_file(w, &small));
        finish(w, &small, PUSH_SMALL_MAX);

        one_request(w, &large, 0, SMALL, true);
        assert_false(has_file(w, &large));
        one_request(w, &large, SMALL, LARGE, true);
        assert_true(has_file(w, &large));
        finish(w, &large, LARGE);
}

/* Between two requests a session rests in memory: it goes on there, and no ghost stays of one that has ended elsewhere. */
static void sessions_rest_in_memory(void **state)
{
        enum { MANY = 300, BOUND = 128 };
        struct world *w = *state;
        struct upload_id ids[MANY], id = begin(w);
        struct push *push;
        bool expired;

        for (size_t n = 0; n < PUSH_SMALL_MAX + 4096; n += 1024) {
                must(push_resume(w->registry, S("a"), &id, &push, &e));
                assert_int_equal(push_received(push), n);
                must(push_write(push, (struct slice){ w->bytes + n, 1024 }, &e));
                must(push_save(push, &e));
                push_free(push);
        }
        finish(w, &id, PUSH_SMALL_MAX + 4096);
        must_fail(push_resume(w->registry, S("a"), &id, &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);

        for (size_t i = 0; i < MANY; i++)
                ids[i] = begin(w);
        assert_int_equal(w->registry->resting_count, BOUND);
        for (size_t i = 0; i < MANY; i++) {
                must(push_resume(w->registry, S("a"), &ids[i], &push, &e));
                push_free(push);
        }
        assert_int_equal(w->registry->resting_count, BOUND);

        must(push_expire(w->registry, S("a"), &ids[MANY - 1], INT64_MAX, &expired, &e));
        assert_true(expired);
        must_fail(push_resume(w->registry, S("a"), &ids[MANY - 1], &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must(push_resume(w->registry, S("a"), &ids[MANY - 2], &push, &e));
        must(push_write(push, bytes_of(w, SMALL), &e));
        push_free(push);                                        /* not saved: what was not answered for is forgotten */
        must(push_resume(w->registry, S("a"), &ids[MANY - 2], &push, &e));
        assert_int_equal(push_received(push), 0);
        must(push_cancel(push, &e));
        push_free(push);
        must_fail(push_resume(w->registry, S("a"), &ids[MANY - 2], &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
}

/* The first request that needs a file is killed: before its first byte was in it, or later, and before or after a reboot. */
static void file_of_a_killed_request(void **state)
{
        struct world *w = *state;
        struct upload_id id = begin(w), rebooted = begin(w), empty = begin(w);
        char path[256];

        one_request(w, &id, 0, SMALL, true);
        one_request(w, &id, SMALL, LARGE, false);
        finish(w, &id, LARGE);

        one_request(w, &rebooted, 0, SMALL, true);
        one_request(w, &rebooted, SMALL, LARGE - 1, false);
        w->registry->boot_id[0] ^= 1;
        finish(w, &rebooted, SMALL);

        one_request(w, &empty, 0, SMALL + 1, true);
        snprintf(path, sizeof path, "%s/uploads/%s", w->folder, empty.s);
        must(fs_publish_file(path, S("short"), 0600, &e));
        finish(w, &empty, SMALL + 1);
}

/* A power cut took the file's bytes, not the row: the upload is forgotten, not wrong. */
static void shortened_file_forgets_the_upload(void **state)
{
        struct world *w = *state;
        struct push *push;
        struct upload_id id;
        char path[256];

        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        id = *push_id(push);
        must(push_write(push, bytes_of(w, 100000), &e));
        must(push_save(push, &e));
        push_free(push);
        snprintf(path, sizeof path, "%s/uploads/%s", w->folder, id.s);
        assert_int_equal(truncate(path, 4096), 0);
        reopen(w);

        must_fail(push_resume(w->registry, S("a"), &id, &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        assert_int_equal(access(path, F_OK), -1);
}

static void one_request_at_a_time(void **state)
{
        struct world *w = *state;
        struct push *push, *other = NULL;

        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        must_fail(push_resume(w->registry, S("a"), push_id(push), &other, &e), ERR_BUSY);
        push_free(push);
}

static void session_belongs_to_its_repository(void **state)
{
        struct world *w = *state;
        struct push *push, *other = NULL;
        struct upload_id id;

        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        id = *push_id(push);
        push_free(push);
        must_fail(push_resume(w->registry, S("b"), &id, &other, &e), ERR_BLOB_UPLOAD_UNKNOWN);
}

static void limit_refuses_a_larger_blob(void **state)
{
        struct world *w = *state;
        struct push *push;

        registry_set_upload_bytes_max(w->registry, 100000);
        must(push_begin(w->registry, S("a"), SHA_256, &push, &e));
        must(push_write(push, bytes_of(w, 100000), &e));
        must_fail(push_write(push, bytes_of(w, 1), &e), ERR_LIMIT);
        push_free(push);
}

/* --- Small pushes that nobody waits for ------------------------------------------------------------------------------- */

struct ended {
        atomic_bool over;
        bool ok;
        enum err_code code;
};

static void note_end(void *arg, struct result result, const struct err *err)
{
        struct ended *ended = arg;

        ended->ok = result.ok;
        ended->code = result.ok ? ERR_NONE : err->code;
        atomic_store(&ended->over, true);
}

static enum err_code wait_for(struct ended *ended)
{
        while (!atomic_load(&ended->over))
                usleep(100);
        assert_int_equal(ended->ok, ended->code == ERR_NONE);
        return ended->code;
}

static enum err_code save_soon(struct push *push)
{
        struct ended ended = { 0 };

        push_save_soon(push, note_end, &ended);
        return wait_for(&ended);
}

static enum err_code commit_soon(struct push *push, const struct digest *want)
{
        struct ended ended = { 0 };

        push_commit_soon(push, want, note_end, &ended);
        return wait_for(&ended);
}

static struct upload_id begin_soon(struct world *w)
{
        struct upload_id id;
        struct push *push;

        assert_true(push_try_begin(w->registry, S("a"), SHA_256, &push));
        id = *push_id(push);
        assert_int_equal(save_soon(push), ERR_NONE);
        push_free(push);
        return id;
}

/* Each step's bytes are there after kill -9, and the digest of all is compared before anything is done. */
static void small_pushes_need_no_worker(void **state)
{
        struct world *w = *state;
        struct upload_id id = begin_soon(w);
        struct digest whole, half;
        struct push *push;

        digest_of_bytes(SHA_256, bytes_of(w, SMALL), &whole);
        digest_of_bytes(SHA_256, bytes_of(w, SMALL / 2), &half);
        assert_true(push_try_resume(w->registry, S("a"), &id, &push));
        assert_true(push_try_write(push, bytes_of(w, SMALL / 2)));
        assert_int_equal(save_soon(push), ERR_NONE);
        push_free(push);

        reopen(w);
        assert_false(push_try_resume(w->registry, S("a"), &id, &push));         /* it has to be read from the database */
        must(push_resume(w->registry, S("a"), &id, &push, &e));
        assert_int_equal(push_received(push), SMALL / 2);
        push_free(push);

        assert_true(push_try_resume(w->registry, S("a"), &id, &push));
        assert_true(push_will_be(push, SLICE_NONE, &half));
        assert_false(push_will_be(push, SLICE_NONE, &whole));
        assert_true(push_will_be(push, (struct slice){ w->bytes + SMALL / 2, SMALL / 2 }, &whole));
        assert_true(push_try_write(push, (struct slice){ w->bytes + SMALL / 2, SMALL / 2 }));
        assert_int_equal(commit_soon(push, &whole), ERR_NONE);
        push_free(push);
        assert_false(push_try_resume(w->registry, S("a"), &id, &push));
        must_fail(push_resume(w->registry, S("a"), &id, &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        reopen(w);
        expect_blob(w, S("a"), &whole, bytes_of(w, SMALL));
}

/* What a loop cannot do leaves everything as it was. */
static void what_is_not_small_needs_a_worker(void **state)
{
        struct world *w = *state;
        struct upload_id id = begin_soon(w);
        struct push *push, *other;
        struct digest other_kind;

        assert_false(push_try_resume(w->registry, S("b"), &id, &push));
        assert_true(push_try_resume(w->registry, S("a"), &id, &push));
        assert_false(push_try_resume(w->registry, S("a"), &id, &other));        /* one request at a time */
        assert_false(push_try_write(push, bytes_of(w, PUSH_SMALL_MAX + 1)));
        digest_of_bytes(SHA_512, S(""), &other_kind);
        assert_false(push_will_be(push, SLICE_NONE, &other_kind));
        assert_true(push_try_write(push, bytes_of(w, PUSH_SMALL_MAX)));
        assert_false(push_try_write(push, bytes_of(w, 1)));
        assert_int_equal(push_received(push), PUSH_SMALL_MAX);
        assert_int_equal(save_soon(push), ERR_NONE);
        push_free(push);

        registry_set_upload_bytes_max(w->registry, SMALL);
        assert_true(push_try_resume(w->registry, S("a"), &id, &push));
        assert_false(push_try_write(push, bytes_of(w, 1)));
        push_free(push);
        registry_set_upload_bytes_max(w->registry, 0);

        w->registry->space.reserve_bytes = INT64_MAX;           /* more than any disk has */
        assert_false(push_try_begin(w->registry, S("a"), SHA_256, &push));
        must_fail(push_begin(w->registry, S("a"), SHA_256, &push, &e), ERR_FULL);
        assert_false(push_try_begin(w->registry, S("a"), SHA_256, &push));
        w->registry->space.reserve_bytes = 0;

        must(push_resume(w->registry, S("a"), &id, &push, &e)); /* a worker goes on with what the loop began */
        must(push_write(push, (struct slice){ w->bytes + PUSH_SMALL_MAX, LARGE - PUSH_SMALL_MAX }, &e));
        must(push_save(push, &e));
        push_free(push);
        assert_false(push_try_resume(w->registry, S("a"), &id, &push));         /* it has a file now */
        finish(w, &id, LARGE);
}

/* Its row went in between: nobody is told that it was kept. */
static void lost_sessions_are_told(void **state)
{
        struct world *w = *state;
        struct upload_id id = begin_soon(w), other = begin_soon(w);
        struct digest digest;
        struct push *push;

        digest_of_bytes(SHA_256, bytes_of(w, SMALL), &digest);
        assert_true(push_try_resume(w->registry, S("a"), &id, &push));
        must(meta_upload_remove(w->registry->meta, S("a"), &id, &e));
        assert_true(push_try_write(push, bytes_of(w, SMALL)));
        assert_int_equal(save_soon(push), ERR_BLOB_UPLOAD_UNKNOWN);
        push_free(push);
        assert_false(push_try_resume(w->registry, S("a"), &id, &push));

        assert_true(push_try_resume(w->registry, S("a"), &other, &push));
        must(meta_upload_remove(w->registry->meta, S("a"), &other, &e));
        assert_true(push_try_write(push, bytes_of(w, SMALL)));
        assert_int_equal(commit_soon(push, &digest), ERR_BLOB_UPLOAD_UNKNOWN);
        push_free(push);
}

/* --- Crashes ---------------------------------------------------------------------------------------------------------- */

/* Between commit and rename: the row says that the blob exists, the file still lies in uploads/. */
static void commit_without_rename_is_finished(void **state)
{
        struct world *w = *state;
        struct digest digest = push_blob(w, S("a"), bytes_of(w, LARGE));
        struct digest_text text = digest_format(&digest);
        const char *hex = text.s + strlen("sha256:");
        char pattern[512], published[512], upload[512];
        FILE *found;

        snprintf(pattern, sizeof pattern, "ls %s/blobs/sha256/%.2s/%s.*", w->folder, hex, hex);
        found = popen(pattern, "r");
        assert_non_null(fgets(published, sizeof published, found));
        pclose(found);
        published[strcspn(published, "\n")] = 0;
        snprintf(upload, sizeof upload, "%s/uploads/%s", w->folder, strrchr(published, '.') + 1);

        assert_int_equal(rename(published, upload), 0);
        expect_blob(w, S("a"), &digest, bytes_of(w, LARGE));            /* whoever asks first finishes it */
        assert_int_equal(access(published, F_OK), 0);

        assert_int_equal(rename(published, upload), 0);
        reopen(w);                                                      /* or the next start */
        assert_int_equal(access(published, F_OK), 0);
        expect_blob(w, S("a"), &digest, bytes_of(w, LARGE));
}

static void unknown_files_in_uploads_are_removed(void **state)
{
        struct world *w = *state;
        char path[256];
        FILE *file;

        snprintf(path, sizeof path, "%s/uploads/0123456789abcdef0123456789abcdef", w->folder);
        file = fopen(path, "w");
        fclose(file);
        reopen(w);
        assert_int_equal(access(path, F_OK), -1);
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

#define IMAGE "application/vnd.oci.image.manifest.v1+json"
#define INDEX "application/vnd.oci.image.index.v1+json"

static struct result put(struct world *w, struct slice reference, struct slice type, struct slice body,
                         struct registry_manifest_result *result)
{
        struct registry_manifest_request request = {
                .repository = S("a"),
                .reference = reference,
                .content_type = type,
                .body = body,
        };

        return registry_manifest_put(w->registry, &request, &w->arena, result, &e);
}

static struct slice image_text(struct world *w, const struct digest *config, size_t size, const char *more)
{
        return arena_printf(&w->arena,
                            "{\"schemaVersion\":2,\"mediaType\":\"" IMAGE "\",\"config\":{\"mediaType\":\"application/x\","
                            "\"digest\":\"%s\",\"size\":%zu},\"layers\":[]%s}",
                            digest_format(config).s, size, more);
}

static void manifests_by_tag_and_digest(void **state)
{
        struct world *w = *state;
        struct digest config = push_blob(w, S("a"), bytes_of(w, SMALL));
        struct slice text = image_text(w, &config, SMALL, "");
        struct registry_manifest_result result;
        struct meta_manifest got;

        must(put(w, S("v1"), S(IMAGE), text, &result));
        must(registry_manifest_get(w->registry, S("a"), S("v1"), &w->arena, &got, &e));
        assert_true(slice_eq(got.payload, text));
        assert_true(slice_eq(got.media_type, S(IMAGE)));
        must(registry_manifest_get(w->registry, S("a"), slice_from(digest_format(&result.digest).s), &w->arena, &got, &e));
        assert_true(slice_eq(got.payload, text));

        must_fail(registry_blob_delete(w->registry, S("a"), &config, &e), ERR_DENIED);
        must(registry_manifest_delete(w->registry, S("a"), S("v1"), &e));
        must_fail(registry_manifest_get(w->registry, S("a"), S("v1"), &w->arena, &got, &e), ERR_MANIFEST_UNKNOWN);
}

static void manifest_needs_its_parts(void **state)
{
        struct world *w = *state;
        struct digest config = push_blob(w, S("a"), bytes_of(w, SMALL)), missing;
        struct registry_manifest_result result;

        digest_of_bytes(SHA_256, S("never pushed"), &missing);
        must_fail(put(w, S("v1"), S(IMAGE), image_text(w, &missing, SMALL, ""), &result), ERR_MANIFEST_BLOB_UNKNOWN);
        must_fail(put(w, S("v1"), S(IMAGE), image_text(w, &config, SMALL + 1, ""), &result), ERR_SIZE_INVALID);
        must_fail(put(w, slice_from(digest_format(&missing).s), S(IMAGE), image_text(w, &config, SMALL, ""), &result),
                  ERR_DIGEST_INVALID);
}

/* The same from a loop: what needs the store is told at the end, what does not is left to the other way. */
static enum err_code put_soon(struct world *w, struct slice reference, struct slice body, bool *ret_taken)
{
        struct registry_manifest_request request = {
                .repository = S("a"),
                .reference = reference,
                .content_type = S(IMAGE),
                .body = body,
        };
        struct registry_manifest_result result;
        struct registry_manifest_push *push = registry_manifest_try_put(w->registry, &request, &w->arena, &result);
        struct ended ended = { 0 };

        *ret_taken = push;
        if (!push)
                return ERR_NONE;
        registry_manifest_put_soon(w->registry, push, note_end, &ended);
        return wait_for(&ended);
}

static void manifests_that_nobody_waits_for(void **state)
{
        struct world *w = *state;
        struct digest config = push_blob(w, S("a"), bytes_of(w, SMALL)), missing;
        struct slice text = image_text(w, &config, SMALL, "");
        struct meta_manifest got;
        bool taken;

        assert_int_equal(put_soon(w, S("v1"), text, &taken), ERR_NONE);
        assert_true(taken);
        reopen(w);
        must(registry_manifest_get(w->registry, S("a"), S("v1"), &w->arena, &got, &e));
        assert_true(slice_eq(got.payload, text));

        digest_of_bytes(SHA_256, S("never pushed"), &missing);
        assert_int_equal(put_soon(w, S("v2"), image_text(w, &missing, SMALL, ""), &taken), ERR_MANIFEST_BLOB_UNKNOWN);
        assert_true(taken);
        put_soon(w, S("v2"), S("{"), &taken);
        assert_false(taken);
        put_soon(w, slice_from(digest_format(&missing).s), text, &taken);
        assert_false(taken);
        w->registry->space.reserve_bytes = INT64_MAX;
        put_soon(w, S("v2"), text, &taken);
        assert_false(taken);
        w->registry->space.reserve_bytes = 0;
        must_fail(registry_manifest_get(w->registry, S("a"), S("v2"), &w->arena, &got, &e), ERR_MANIFEST_UNKNOWN);
}

/* --- Referrers -------------------------------------------------------------------------------------------------------- */

static struct digest put_referrer(struct world *w, const struct digest *config, const struct digest *subject, int number)
{
        struct registry_manifest_result result;
        struct slice more = subject ? arena_printf(&w->arena,
                                                   ",\"artifactType\":\"type/%d\",\"subject\":{\"mediaType\":\"" IMAGE
                                                   "\",\"digest\":\"%s\",\"size\":1},\"annotations\":{\"n\":\"%d\"}",
                                                   number % 2, digest_format(subject).s, number)
                                    : arena_printf(&w->arena, ",\"artifactType\":\"type/%d\",\"annotations\":{\"n\":\"%d\"}",
                                                   number % 2, number);
        struct slice text = image_text(w, config, SMALL, more.p);
        struct digest digest;

        digest_of_bytes(SHA_256, text, &digest);
        must(put(w, slice_from(digest_format(&digest).s), S(IMAGE), text, &result));
        assert_int_equal(result.has_subject, subject != NULL);
        return digest;
}

/* An index under the fallback tag that lists `count` manifests. */
static void put_fallback(struct world *w, const struct digest *subject, const struct digest *listed, size_t count)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(64 * 1024);
        struct digest_text tag = digest_format(subject);
        struct registry_manifest_result result;
        struct meta_manifest row;

        *strchr(tag.s, ':') = '-';
        buf_put(&text, S("{\"schemaVersion\":2,\"mediaType\":\"" INDEX "\",\"manifests\":["));
        for (size_t i = 0; i < count; i++) {
                struct slice digest = slice_from(digest_format(&listed[i]).s);

                must(registry_manifest_get(w->registry, S("a"), digest, &w->arena, &row, &e));
                buf_printf(&text, "%s{\"mediaType\":\"" IMAGE "\",\"digest\":\"%.*s\",\"size\":%llu,\"artifactType\":\"type/1\"}",
                           i ? "," : "", SLICE_ARG(digest), (unsigned long long)row.size);
        }
        buf_put(&text, S("]}"));
        must(put(w, slice_from(tag.s), S(INDEX), buf_slice(&text), &result));
}

/* Pages of every size give each referrer once, in order. */
static void walk(struct world *w, const struct digest *subject, const struct slice *types, size_t type_count, size_t want)
{
        for (size_t n = 1; n <= want + 1; n++) {
                struct registry_referrers_request request = { .repository = S("a"), .subject = *subject, .n = n };
                struct registry_referrers_page page = { .more = true };
                size_t seen = 0;

                request.types = types;
                request.type_count = type_count;
                while (page.more) {
                        must(registry_referrers(w->registry, &request, &w->arena, &page, &e));
                        assert_true(page.count <= n);
                        for (size_t i = 0; i < page.count; i++) {
                                if (request.has_last)
                                        assert_true(digest_compare(&request.last, &page.referrers[i].digest) < 0);
                                request.has_last = true;
                                request.last = page.referrers[i].digest;
                        }
                        seen += page.count;
                        request.has_last = true;
                        request.last = page.last;
                }
                assert_int_equal(seen, want);
        }
}

static void referrers_with_fallback_in_pages(void **state)
{
        struct world *w = *state;
        struct digest config = push_blob(w, S("a"), bytes_of(w, SMALL)), subject, listed[8];
        struct slice type_0 = S("type/0");
        struct registry_referrers_request none = { .repository = S("nobody/here"), .n = 10 };
        struct registry_referrers_page page;

        digest_of_bytes(SHA_256, S("a subject that is not there"), &subject);
        for (int i = 0; i < 5; i++)
                listed[i] = put_referrer(w, &config, &subject, i);
        walk(w, &subject, NULL, 0, 5);
        for (int i = 5; i < 8; i++)
                listed[i] = put_referrer(w, &config, NULL, i);
        put_fallback(w, &subject, listed + 3, 5);       /* two of them are in the index of subjects, too */
        walk(w, &subject, NULL, 0, 8);
        walk(w, &subject, &type_0, 1, 3);

        none.subject = subject;
        must(registry_referrers(w->registry, &none, &w->arena, &page, &e));
        assert_int_equal(page.count, 0);
        assert_false(page.more);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(blobs_of_every_size_come_back),
                TEST(wrong_digest_is_refused_and_ends_the_session),
                TEST(upload_goes_on_after_restarts),
                TEST(bytes_behind_the_saved_state_count),
                TEST(few_bytes_wait_without_a_file),
                TEST(file_of_a_killed_request),
                TEST(sessions_rest_in_memory),
                TEST(shortened_file_forgets_the_upload),
                TEST(one_request_at_a_time),
                TEST(session_belongs_to_its_repository),
                TEST(limit_refuses_a_larger_blob),
                TEST(small_pushes_need_no_worker),
                TEST(what_is_not_small_needs_a_worker),
                TEST(lost_sessions_are_told),
                TEST(commit_without_rename_is_finished),
                TEST(unknown_files_in_uploads_are_removed),
                TEST(manifests_by_tag_and_digest),
                TEST(manifest_needs_its_parts),
                TEST(manifests_that_nobody_waits_for),
                TEST(referrers_with_fallback_in_pages),
        };

        return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
