/* The collector over real stores. Built with rules that can be broken (base/rules.h): for each rule there is a story whose end is
 * good, and that ends badly when the rule, and only it, is broken. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/rules.h"
#include "base/testing.h"
#include "registry/collect.h"
#include "registry/internal.h"
#include "registry/push.h"
#include "registry/scrub.h"
#include "store/blob/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

enum rule rule_broken = RULE_NONE;

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

enum { LARGE = 100 * 1000, SMALL = 1000 };
#define DUE (-1000000)                  /* a time that everything is over by now */
#define NOT_DUE INT64_C(3600000000)
#define REPOSITORY S("team/app")
#define OCI_MANIFEST S("application/vnd.oci.image.manifest.v1+json")
#define OCI_INDEX S("application/vnd.oci.image.index.v1+json")

struct world {
        char folder[64];
        struct registry *registry;
        struct arena arena;
        char bytes[LARGE];
};

static struct err e;

static struct collect_rules rules(int64_t grace_us, int64_t untagged_us, int64_t trash_us)
{
        return (struct collect_rules){ .names = { grace_us, untagged_us }, .trash_delay_us = trash_us, .upload_expiry_us = NOT_DUE };
}

/* --- A world ---------------------------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);
        struct registry_config config = { .data_dir = w->folder, .cache_bytes = 1 << 20 };

        snprintf(w->folder, sizeof w->folder, "/tmp/orlop-collect-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        w->arena = ARENA_INIT(64 * 1024 * 1024);
        for (size_t i = 0; i < sizeof w->bytes; i++)
                w->bytes[i] = (char)(i * 31 + i / 251);
        must(registry_open(&config, &w->registry, &e));
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

static unsigned files_seen;
static char last_file[4096];

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)ftw;
        if (type == FTW_F) {
                files_seen++;
                snprintf(last_file, sizeof last_file, "%s", path);
        }
        return 0;
}

/* Files below blobs/ and uploads/. */
static unsigned files(struct world *w)
{
        char path[128];

        files_seen = 0;
        snprintf(path, sizeof path, "%s/blobs", w->folder);
        nftw(path, count_entry, 16, FTW_PHYS);
        snprintf(path, sizeof path, "%s/uploads", w->folder);
        nftw(path, count_entry, 16, FTW_PHYS);
        return files_seen;
}

/* --- Pushing ---------------------------------------------------------------------------------------------------------- */

static struct digest push_blob(struct world *w, struct slice repository, size_t n, char first)
{
        _cleanup_(push_freep) struct push *push = NULL;
        struct digest digest;
        struct slice bytes = { w->bytes, n };

        w->bytes[0] = first;
        digest_of_bytes(SHA_256, bytes, &digest);
        must(push_begin(w->registry, repository, SHA_256, &push, &e));
        must(push_write(push, bytes, &e));
        must(push_commit(push, &digest, &e));
        return digest;
}

static struct result put(struct world *w, struct slice repository, struct slice reference, struct slice type, struct slice body,
                         struct digest *ret_digest)
{
        struct registry_manifest_request request = { .repository = repository, .reference = reference, .content_type = type, .body = body };
        struct registry_manifest_result result;

        TRY(registry_manifest_put(w->registry, &request, &w->arena, &result, &e));
        *ret_digest = result.digest;
        return OK;
}

static struct slice digest_of(struct world *w, struct slice body)
{
        struct digest digest;

        digest_of_bytes(SHA_256, body, &digest);
        return arena_printf(&w->arena, "%s", digest_format(&digest).s);
}

static struct slice descriptor(struct world *w, struct slice type, const struct digest *digest, size_t size)
{
        return arena_printf(&w->arena, "{\"mediaType\":\"%.*s\",\"digest\":\"%s\",\"size\":%zu}", SLICE_ARG(type),
                            digest_format(digest).s, size);
}

/* One blob is config and layer. */
static struct slice image(struct world *w, const struct digest *blob, size_t size, const char *more)
{
        struct slice part = descriptor(w, S("application/vnd.oci.image.config.v1+json"), blob, size);

        return arena_printf(&w->arena, "{\"schemaVersion\":2,\"mediaType\":\"%.*s\",\"config\":%.*s,\"layers\":[]%s}",
                            SLICE_ARG(OCI_MANIFEST), SLICE_ARG(part), more);
}

static struct slice index_of(struct world *w, struct slice child)
{
        struct digest digest;
        struct slice part;

        digest_of_bytes(SHA_256, child, &digest);
        part = descriptor(w, OCI_MANIFEST, &digest, child.n);
        return arena_printf(&w->arena, "{\"schemaVersion\":2,\"mediaType\":\"%.*s\",\"manifests\":[%.*s]}", SLICE_ARG(OCI_INDEX),
                            SLICE_ARG(part));
}

static struct slice referrer_of(struct world *w, const struct digest *blob, size_t size, struct slice subject, char kind)
{
        struct digest digest;
        struct slice part;
        struct slice more;

        digest_of_bytes(SHA_256, subject, &digest);
        part = descriptor(w, OCI_MANIFEST, &digest, subject.n);
        more = arena_printf(&w->arena, ",\"artifactType\":\"application/%c\",\"subject\":%.*s", kind, SLICE_ARG(part));
        return image(w, blob, size, more.p);
}

static bool has_blob(struct world *w, const struct digest *digest)
{
        uint64_t size;

        return registry_blob_stat(w->registry, REPOSITORY, digest, &w->arena, &size, &e).ok;
}

static bool has_manifest(struct world *w, struct slice reference)
{
        struct meta_manifest manifest;

        return registry_manifest_get(w->registry, REPOSITORY, reference, &w->arena, &manifest, &e).ok;
}

static bool blob_reads_well(struct world *w, const struct digest *digest, size_t n, char first)
{
        struct registry_blob blob;
        static char bytes[LARGE];
        struct digest have;
        size_t got = 0;

        (void)first;
        if (!registry_blob_open(w->registry, REPOSITORY, digest, &w->arena, &blob, &e).ok)
                return false;
        if (blob.fd < 0) {
                digest_of_bytes(SHA_256, blob.bytes, &have);
        } else {
                must(fs_read_at(blob.fd, 0, bytes, n, &got, "blob", &e));
                close(blob.fd);
                digest_of_bytes(SHA_256, (struct slice){ bytes, got }, &have);
        }
        return digest_eq(&have, digest);
}

static bool collect_all(struct world *w, struct collect_rules r, struct collected *ret_sum)
{
        struct collected sum = { 0 }, step = { .more = true };

        while (step.more) {
                if (!registry_collect(w->registry, &r, &step, &e).ok)
                        return false;
                collected_add(&sum, &step);
        }
        if (ret_sum)
                *ret_sum = sum;
        return true;
}

/* --- A story for each rule: does it end well? ------------------------------------------------------------------------- */

/* What the first round puts into the trash, the second may remove. */
static bool collect_twice(struct world *w, struct collect_rules r)
{
        bool first = collect_all(w, r, NULL);

        return collect_all(w, r, NULL) && first;
}

static bool same_bytes_again(struct world *w)
{
        struct digest digest = push_blob(w, REPOSITORY, LARGE, 'u');

        return collect_all(w, rules(DUE, 0, NOT_DUE), NULL) && (push_blob(w, REPOSITORY, LARGE, 'u'), true) &&
               collect_all(w, rules(NOT_DUE, 0, DUE), NULL) && blob_reads_well(w, &digest, LARGE, 'u');
}

static bool nothing_leaks(struct world *w)
{
        push_blob(w, REPOSITORY, LARGE, 'q');
        return collect_twice(w, rules(DUE, 0, DUE)) && files(w) == 0;
}

static bool fresh_blob_stays(struct world *w)
{
        struct digest digest = push_blob(w, REPOSITORY, LARGE, 'g');

        return collect_all(w, rules(NOT_DUE, 0, DUE), NULL) && blob_reads_well(w, &digest, LARGE, 'g');
}

static bool named_blob_stays(struct world *w)
{
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'n'), ignored;

        must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &ignored));
        return collect_all(w, rules(DUE, 0, DUE), NULL) && blob_reads_well(w, &blob, LARGE, 'n');
}

static bool led_to_stays(struct world *w)
{
        struct digest blob = push_blob(w, REPOSITORY, SMALL, 'l'), ignored;
        struct slice child = image(w, &blob, SMALL, ""), index = index_of(w, child), referrer = referrer_of(w, &blob, SMALL, index, 'a');

        must(put(w, REPOSITORY, digest_of(w, child), OCI_MANIFEST, child, &ignored));
        must(put(w, REPOSITORY, S("v1"), OCI_INDEX, index, &ignored));
        must(put(w, REPOSITORY, digest_of(w, referrer), OCI_MANIFEST, referrer, &ignored));
        return collect_all(w, rules(DUE, DUE, DUE), NULL) && has_manifest(w, digest_of(w, child)) &&
               has_manifest(w, digest_of(w, referrer)) && has_manifest(w, S("v1"));
}

static bool asked_for_stays(struct world *w)
{
        const int64_t grace_us = 600 * 1000;
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'h'), ignored;
        struct collect_rules r = rules(grace_us, 0, DUE);

        registry_set_stay(w->registry, &r.names);
        poll(NULL, 0, 450);
        if (!has_blob(w, &blob))
                return false;
        poll(NULL, 0, 250);
        return collect_all(w, r, NULL) && put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &ignored).ok;
}

static bool bytes_go_later(struct world *w)
{
        push_blob(w, REPOSITORY, LARGE, 't');
        return collect_twice(w, rules(DUE, 0, NOT_DUE)) && files(w) == 1;
}

static bool caches_are_told(struct world *w)
{
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'c');

        struct registry_object *cached;
        bool told;

        if (!has_blob(w, &blob) || !collect_all(w, rules(DUE, 0, DUE), NULL))
                return false;
        cached = registry_blob_now(w->registry, REPOSITORY, slice_from(digest_format(&blob).s));
        told = !cached;
        registry_object_unref(cached);
        return told;
}

static const struct {
        enum rule rule;
        bool (*ends_well)(struct world *w);
} stories[] = {
        { RULE_UNIQUE_OBJECTS, same_bytes_again },
        { RULE_REVIEW_QUEUED, nothing_leaks },
        { RULE_GRACE, fresh_blob_stays },
        { RULE_USED_STAYS, named_blob_stays },
        { RULE_LED_TO_STAYS, led_to_stays },
        { RULE_ASKED_FOR_STAYS, asked_for_stays },
        { RULE_TRASH_DELAY, bytes_go_later },
        { RULE_CHANGES_TOLD, caches_are_told },
};

static void every_rule_is_kept_and_needed(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
                for (int broken = 0; broken < 2; broken++) {
                        void *world = NULL;
                        bool well;

                        set_up(&world);
                        rule_broken = broken ? stories[i].rule : RULE_NONE;
                        well = stories[i].ends_well(world);
                        rule_broken = RULE_NONE;
                        tear_down(&world);
                        if (well == broken)
                                fail_msg("rule %d, %s: the story ends %s", (int)stories[i].rule, broken ? "broken" : "kept",
                                         well ? "well" : "badly");
                }
        }
}

/* --- What goes, and what stays ---------------------------------------------------------------------------------------- */

static void disk_is_as_before(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'd'), manifest;
        struct collected sum;

        must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &manifest));
        assert_int_equal(files(w), 1);
        must(registry_manifest_delete(w->registry, REPOSITORY, slice_from(digest_format(&manifest).s), &e));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_true(collect_all(w, rules(DUE, 0, DUE), &sum));
        assert_int_equal(files(w), 0);
        assert_false(has_blob(w, &blob));
        assert_true(collect_all(w, rules(DUE, DUE, DUE), &sum));
        assert_int_equal(sum.bytes, 0);
}

static void untagged_stays_unless_wanted(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, SMALL, 'u'), manifest, other;
        struct slice text;

        must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, SMALL, ""), &manifest));
        must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, SMALL, ",\"annotations\":{\"a\":\"b\"}"), &other));
        text = arena_printf(&w->arena, "%s", digest_format(&manifest).s);
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_true(has_manifest(w, text));
        assert_true(collect_all(w, rules(DUE, NOT_DUE, DUE), NULL));
        assert_true(has_manifest(w, text));
        assert_true(collect_all(w, rules(DUE, DUE, DUE), NULL));
        assert_false(has_manifest(w, text));
        assert_true(has_manifest(w, S("v1")));
}

/* A child that the index alone led to, its referrer, and the referrer's referrer go with the index; one with a tag stays. */
static void what_a_deleted_manifest_led_to_goes(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, SMALL, 'o'), ignored, index_digest;
        struct slice child = image(w, &blob, SMALL, ""), index = index_of(w, child), first = referrer_of(w, &blob, SMALL, index, 'a');
        struct slice second = referrer_of(w, &blob, SMALL, first, 'b'), tagged = referrer_of(w, &blob, SMALL, index, 'c');

        must(put(w, REPOSITORY, digest_of(w, child), OCI_MANIFEST, child, &ignored));
        must(put(w, REPOSITORY, S("v1"), OCI_INDEX, index, &index_digest));
        must(put(w, REPOSITORY, digest_of(w, first), OCI_MANIFEST, first, &ignored));
        must(put(w, REPOSITORY, digest_of(w, second), OCI_MANIFEST, second, &ignored));
        must(put(w, REPOSITORY, S("kept"), OCI_MANIFEST, tagged, &ignored));
        must(registry_manifest_delete(w->registry, REPOSITORY, digest_of(w, index), &e));
        assert_true(collect_all(w, rules(NOT_DUE, 0, DUE), NULL));
        assert_true(has_manifest(w, digest_of(w, child)));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_false(has_manifest(w, digest_of(w, child)));
        assert_false(has_manifest(w, digest_of(w, first)));
        assert_false(has_manifest(w, digest_of(w, second)));
        assert_true(has_manifest(w, S("kept")));
        assert_true(has_blob(w, &blob));
}

/* Referrers may be pushed before their subject: who never had one is only untagged. */
static void referrer_before_its_subject_stays(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, SMALL, 's'), ignored;
        struct slice subject = image(w, &blob, SMALL, ""), referrer = referrer_of(w, &blob, SMALL, subject, 'a');

        must(put(w, REPOSITORY, digest_of(w, referrer), OCI_MANIFEST, referrer, &ignored));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_true(has_manifest(w, digest_of(w, referrer)));
}

static void blob_stays_where_others_hold_it(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'm'), ignored;
        uint64_t size;

        must(registry_blob_mount(w->registry, REPOSITORY, S("other"), &blob, &e));
        must(put(w, S("other"), S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &ignored));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        must_fail(registry_blob_stat(w->registry, REPOSITORY, &blob, &w->arena, &size, &e), ERR_BLOB_UNKNOWN);
        must(registry_blob_stat(w->registry, S("other"), &blob, &w->arena, &size, &e));
        assert_int_equal(files(w), 1);
}

static void abandoned_upload_goes_with_its_file(void **state)
{
        struct world *w = *state;
        struct collect_rules r = rules(NOT_DUE, 0, NOT_DUE);
        struct push *push, *used;
        struct upload_id id;
        struct collected sum;

        r.upload_expiry_us = DUE;
        must(push_begin(w->registry, REPOSITORY, SHA_256, &push, &e));
        must(push_write(push, (struct slice){ w->bytes, LARGE }, &e));
        must(push_save(push, &e));
        id = *push_id(push);
        push_free(push);
        must(push_begin(w->registry, REPOSITORY, SHA_256, &used, &e));
        must(push_write(used, (struct slice){ w->bytes, LARGE }, &e));
        assert_int_equal(files(w), 2);
        assert_true(collect_all(w, r, &sum));
        assert_int_equal(sum.uploads, 1);
        assert_int_equal(files(w), 1);
        must_fail(push_resume(w->registry, REPOSITORY, &id, &push, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must(push_save(used, &e));
        push_free(used);
}

static void backup_holds_objects(void **state)
{
        struct world *w = *state;
        int fd;

        push_blob(w, REPOSITORY, LARGE, 'b');
        must(hold_objects(w->folder, &fd, &e));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_int_equal(files(w), 1);
        close(fd);
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_int_equal(files(w), 0);
}

static unsigned told_count;

static RESULT count_garbage(void *arg, const struct meta_garbage *garbage, struct err *error)
{
        (void)error;
        told_count++;
        *(uint64_t *)arg += garbage->size;
        return OK;
}

static void dry_run_tells_what_would_go(void **state)
{
        struct world *w = *state;
        struct meta_rules all = { .grace_us = DUE, .untagged_us = 1 };
        struct digest blob = push_blob(w, REPOSITORY, SMALL, 'x'), manifest;
        struct collected sum;
        uint64_t bytes = 0;

        must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, SMALL, ""), &manifest));
        push_blob(w, REPOSITORY, LARGE, 'y');
        push_blob(w, REPOSITORY, LARGE, 'y');
        push_blob(w, S("other"), SMALL, 'x');
        told_count = 0;
        must(registry_garbage_each(w->registry, &all, count_garbage, &bytes, &e));
        assert_int_equal(told_count, 2);      /* the large blob, and the link of `other` */
        assert_int_equal(bytes, LARGE);
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        assert_true(collect_all(w, rules(DUE, 0, DUE), &sum));
        told_count = 0;
        must(registry_garbage_each(w->registry, &all, count_garbage, &bytes, &e));
        assert_int_equal(told_count, 0);
        assert_true(has_blob(w, &blob));
}

/* Its bytes are told once, and only if all the repositories that hold it would let it go. */
static void dry_run_counts_shared_blobs(void **state)
{
        static const struct slice names[] = { S("a"), S("b"), S("c") };
        struct world *w = *state;
        struct meta_rules all = { .grace_us = DUE, .untagged_us = 1 };
        struct digest blob = { 0 }, manifest;
        uint64_t bytes = 0;

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                blob = push_blob(w, names[i], LARGE, 'z');
        told_count = 0;
        must(registry_garbage_each(w->registry, &all, count_garbage, &bytes, &e));
        assert_int_equal(told_count, 3);
        assert_int_equal(bytes, LARGE);

        must(registry_blob_delete(w->registry, S("b"), &blob, &e));
        told_count = 0;
        bytes = 0;
        must(registry_garbage_each(w->registry, &all, count_garbage, &bytes, &e));
        assert_int_equal(told_count, 2);
        assert_int_equal(bytes, LARGE);

        must(put(w, S("c"), S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &manifest));
        told_count = 0;
        bytes = 0;
        must(registry_garbage_each(w->registry, &all, count_garbage, &bytes, &e));
        assert_int_equal(told_count, 1);
        assert_int_equal(bytes, 0);
}

/* --- Damage ----------------------------------------------------------------------------------------------------------- */

static bool keep_reading(void *arg, uint64_t bytes)
{
        (void)arg, (void)bytes;
        return true;
}

static enum scrub_verdict scrub_one(struct world *w)
{
        struct scrub_pace pace = { keep_reading, NULL };
        struct scrub_found found;

        must(registry_scrub_next(w->registry, 0, &pace, &found, &e));
        return found.verdict;
}

static void flip(const char *path)
{
        _cleanup_fd_ int fd = -1;
        char byte;
        size_t n;

        assert_int_equal(chmod(path, 0600), 0);
        fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        must(fs_read_at(fd, 5000, &byte, 1, &n, path, &e));
        byte ^= 1;
        must(fs_write_at(fd, 5000, &byte, 1, path, &e));
}

static void shorten(const char *path)
{
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(truncate(path, 100), 0);
}

static void lose(const char *path)
{
        assert_int_equal(unlink(path), 0);
}

/* Found by the scrub; told to be absent; not mounted, not named, not served; mended by the next push; its old file goes. */
static void damage_is_found_and_mended(void **state)
{
        void (*const damages[])(const char *path) = { flip, shorten, lose };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
                void *world = NULL;
                struct world *w;
                struct digest blob, ignored;
                struct registry_blob open;

                set_up(&world);
                w = world;
                blob = push_blob(w, REPOSITORY, LARGE, 'f');
                must(put(w, REPOSITORY, S("v1"), OCI_MANIFEST, image(w, &blob, LARGE, ""), &ignored));
                assert_true(has_blob(w, &blob));
                assert_int_equal(scrub_one(w), SCRUB_GOOD);
                files(w);
                damages[i](last_file);
                assert_int_equal(scrub_one(w), SCRUB_DAMAGED);
                assert_int_equal(scrub_one(w), SCRUB_KNOWN);
                assert_false(has_blob(w, &blob));
                must_fail(registry_blob_open(w->registry, REPOSITORY, &blob, &w->arena, &open, &e), ERR_CORRUPT);
                must_fail(registry_blob_mount(w->registry, S(""), S("other"), &blob, &e), ERR_BLOB_UNKNOWN);
                must_fail(put(w, REPOSITORY, S("v2"), OCI_MANIFEST, image(w, &blob, LARGE, ",\"annotations\":{}"), &ignored),
                          ERR_MANIFEST_BLOB_UNKNOWN);
                push_blob(w, REPOSITORY, LARGE, 'f');
                assert_true(has_blob(w, &blob));
                assert_true(blob_reads_well(w, &blob, LARGE, 'f'));
                assert_int_equal(scrub_one(w), SCRUB_GOOD);
                assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
                assert_int_equal(files(w), 1);
                assert_true(blob_reads_well(w, &blob, LARGE, 'f'));
                tear_down(&world);
        }
}

/* As a loop opens it: with what memory knows of the file. A rename anywhere on the machine may come between: more than one try. */
static bool opens_now(struct world *w, const struct digest *digest)
{
        struct registry_object *known = registry_blob_now(w->registry, REPOSITORY, slice_from(digest_format(digest).s));
        bool opens = false;
        int fd;

        for (int i = 0; known && i < 100 && !opens; i++)
                opens = registry_blob_open_now(w->registry, known, &fd);
        registry_object_unref(known);
        if (opens)
                close(fd);
        return opens;
}

static void file_opens_at_once_only_while_it_is_as_its_row_says(void **state)
{
        void (*const damages[])(const char *path) = { shorten, lose };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
                void *world = NULL;
                struct world *w;
                struct digest small, large;

                set_up(&world);
                w = world;
                small = push_blob(w, REPOSITORY, 10, 's');
                assert_true(has_blob(w, &small));
                assert_false(opens_now(w, &small));                     /* it has no file */
                large = push_blob(w, REPOSITORY, LARGE, 'n');
                assert_true(has_blob(w, &large));
                assert_true(opens_now(w, &large));
                assert_int_equal(files(w), 1);
                damages[i](last_file);
                assert_false(opens_now(w, &large));
                tear_down(&world);
        }
}

/* What an opening sees needs no scrub. */
static void missing_file_is_seen_by_a_pull(void **state)
{
        struct world *w = *state;
        struct digest blob = push_blob(w, REPOSITORY, LARGE, 'p');
        struct registry_blob open;

        assert_true(has_blob(w, &blob));
        files(w);
        lose(last_file);
        must_fail(registry_blob_open(w->registry, REPOSITORY, &blob, &w->arena, &open, &e), ERR_CORRUPT);
        assert_false(has_blob(w, &blob));
        push_blob(w, REPOSITORY, LARGE, 'p');
        assert_true(blob_reads_well(w, &blob, LARGE, 'p'));
}

static void reserve_refuses_pushes(void **state)
{
        struct world *w = *state;
        struct digest digest = push_blob(w, REPOSITORY, LARGE, 'r');
        struct push *push;

        registry_set_disk_reserve(w->registry, INT64_MAX);
        must_fail(push_begin(w->registry, REPOSITORY, SHA_256, &push, &e), ERR_FULL);
        must_fail(registry_blob_mount(w->registry, S(""), S("other"), &digest, &e), ERR_FULL);
        assert_true(blob_reads_well(w, &digest, LARGE, 'r'));
        must(registry_blob_delete(w->registry, REPOSITORY, &digest, &e));
        assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
        registry_set_disk_reserve(w->registry, 1);
        push_blob(w, REPOSITORY, LARGE, 'r');
}

/* A request that ran into a full disk has changed nothing, whether the session has bytes in its row or in a file. */
static void full_disk_leaves_a_session_as_it_was(void **state)
{
        static const size_t befores[] = { 0, 100, PUSH_SMALL_MAX, PUSH_SMALL_MAX + 1, LARGE };
        struct world *w = *state;
        char bytes[2 * LARGE];
        struct digest digest;

        memset(bytes, 'f', sizeof bytes);
        digest_of_bytes(SHA_256, (struct slice){ bytes, sizeof bytes }, &digest);
        for (size_t i = 0; i < ARRAY_LEN(befores); i++) {
                _cleanup_(push_freep) struct push *push = NULL;
                struct upload_id id;

                must(push_begin(w->registry, REPOSITORY, SHA_256, &push, &e));
                id = *push_id(push);
                must(push_write(push, (struct slice){ bytes, befores[i] }, &e));
                must(push_save(push, &e));
                push_free(TAKE_PTR(push));

                must(push_resume(w->registry, REPOSITORY, &id, &push, &e));
                must(push_write(push, (struct slice){ bytes, PUSH_SMALL_MAX + 10 }, &e));
                registry_set_disk_reserve(w->registry, INT64_MAX);
                must_fail(push_write(push, (struct slice){ bytes, 10 }, &e), ERR_FULL);
                push_free(TAKE_PTR(push));
                assert_int_equal(files(w), befores[i] > PUSH_SMALL_MAX);

                must(push_resume(w->registry, REPOSITORY, &id, &push, &e));     /* to look, or to cancel */
                assert_int_equal(push_received(push), befores[i]);
                must_fail(push_check_room(push, 10, &e), ERR_FULL);
                push_free(TAKE_PTR(push));

                registry_set_disk_reserve(w->registry, 1);
                must(push_resume(w->registry, REPOSITORY, &id, &push, &e));
                must(push_write(push, (struct slice){ bytes, sizeof bytes - befores[i] }, &e));
                must(push_commit(push, &digest, &e));
                push_free(TAKE_PTR(push));
                must(registry_blob_delete(w->registry, REPOSITORY, &digest, &e));
                assert_true(collect_all(w, rules(DUE, 0, DUE), NULL));
                assert_int_equal(files(w), 0);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_rule_is_kept_and_needed),
                TEST(disk_is_as_before),
                TEST(untagged_stays_unless_wanted),
                TEST(what_a_deleted_manifest_led_to_goes),
                TEST(referrer_before_its_subject_stays),
                TEST(blob_stays_where_others_hold_it),
                TEST(abandoned_upload_goes_with_its_file),
                TEST(backup_holds_objects),
                TEST(dry_run_tells_what_would_go),
                TEST(dry_run_counts_shared_blobs),
                cmocka_unit_test(damage_is_found_and_mended),
                cmocka_unit_test(file_opens_at_once_only_while_it_is_as_its_row_says),
                TEST(missing_file_is_seen_by_a_pull),
                TEST(reserve_refuses_pushes),
                TEST(full_disk_leaves_a_session_as_it_was),
        };

        return cmocka_run_group_tests_name("collect", tests, NULL, NULL);
}
