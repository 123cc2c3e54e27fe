/* The cache's promises: what was forgotten is not there, what was read before a change is not put in after it, memory is bounded. */
#include "registry/cache.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct err e;

static int set_up(void **state)
{
        struct cache *cache;

        assert_true(cache_new(1024 * 1024, &cache, &e).ok);
        *state = cache;
        return 0;
}

static int tear_down(void **state)
{
        cache_free(*state);
        return 0;
}

static struct cache_content content_of(struct slice bytes)
{
        struct cache_content content = { .kind = REGISTRY_MANIFEST, .media_type = S("type"), .bytes = bytes, .size = bytes.n };

        digest_of_bytes(SHA_256, bytes, &content.digest);
        content.until_us = INT64_MAX;
        return content;
}

static void put(struct cache *cache, struct slice repository, struct slice name, struct slice bytes)
{
        struct cache_content content = content_of(bytes);

        cache_put(cache, repository, name, &content, cache_version(cache, repository, name));
}

static bool has(struct cache *cache, struct slice repository, struct slice name)
{
        struct registry_object *object = cache_get(cache, REGISTRY_MANIFEST, repository, name);
        bool found = object != NULL;

        registry_object_unref(object);
        return found;
}

static void gives_what_was_put(void **state)
{
        struct cache *cache = *state;
        struct registry_object *object;

        put(cache, S("a/b"), S("v1"), S("hello"));
        object = cache_get(cache, REGISTRY_MANIFEST, S("a/b"), S("v1"));
        assert_non_null(object);
        assert_true(slice_eq(object->bytes, S("hello")));
        assert_true(slice_eq(object->media_type, S("type")));
        assert_true(slice_starts(object->digest, S("sha256:2cf24dba")));
        assert_true(object->etag.p[0] == '"' && object->etag.p[object->etag.n - 1] == '"');
        assert_null(cache_get(cache, REGISTRY_BLOB, S("a/b"), S("v1")));
        assert_null(cache_get(cache, REGISTRY_MANIFEST, S("a"), S("bv1")));      /* where the names are cut matters */

        cache_forget(cache, S("a/b"), S("v1"));
        assert_false(has(cache, S("a/b"), S("v1")));
        assert_true(slice_eq(object->bytes, S("hello")));       /* whoever has it keeps it */
        registry_object_unref(object);
}

static void what_was_read_before_a_change_stays_out(void **state)
{
        struct cache *cache = *state;
        struct cache_content content = content_of(S("old"));
        uint64_t version = cache_version(cache, S("a"), S("v1"));

        cache_forget(cache, S("a"), S("v1"));
        cache_put(cache, S("a"), S("v1"), &content, version);
        assert_false(has(cache, S("a"), S("v1")));

        version = cache_version(cache, S("a"), S("v1"));
        cache_forget_all(cache);
        cache_put(cache, S("a"), S("v1"), &content, version);
        assert_false(has(cache, S("a"), S("v1")));
}

static void promises_end(void **state)
{
        struct cache *cache = *state;
        struct cache_content content = content_of(S("blob"));

        content.until_us = clock_now_us() - 1;
        cache_put(cache, S("a"), S("v1"), &content, cache_version(cache, S("a"), S("v1")));
        assert_false(has(cache, S("a"), S("v1")));
        content.until_us = clock_now_us() + 60 * 1000000ll;
        cache_put(cache, S("a"), S("v1"), &content, cache_version(cache, S("a"), S("v1")));
        assert_true(has(cache, S("a"), S("v1")));
}

/* A hundred times more than fits: the newest are there, and what is asked for again and again stays. */
static void memory_is_bounded(void **state)
{
        struct cache *cache = *state;
        static char bytes[10000];
        char name[32];
        size_t found = 0;

        for (int i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "tag-%d", i);
                put(cache, S("a"), slice_from(name), (struct slice){ bytes, sizeof bytes });
                assert_true(has(cache, S("a"), S("tag-0")));
        }
        for (int i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "tag-%d", i);
                found += has(cache, S("a"), slice_from(name));
        }
        assert_in_range(found, 50, 1024 * 1024 / 10000);
        assert_true(has(cache, S("a"), slice_from(name)));
}

/* Clients that read slowly hold objects that others have driven out: then nothing new is kept until they let go. */
static void what_is_held_outside_is_bounded(void **state)
{
        enum { PUTS = 1000 };
        struct cache *cache = *state;
        static struct registry_object *held[PUTS];
        static char bytes[10000];
        char name[32];
        size_t found = 0;

        for (int i = 0; i < PUTS; i++) {
                snprintf(name, sizeof name, "tag-%d", i);
                put(cache, S("a"), slice_from(name), (struct slice){ bytes, sizeof bytes });
                held[i] = cache_get(cache, REGISTRY_MANIFEST, S("a"), slice_from(name));
                found += held[i] != NULL;
        }
        assert_in_range(found, 50, 2 * 1024 * 1024 / 10000 + 1);
        for (int i = 0; i < PUTS; i++)
                registry_object_unref(held[i]);
        put(cache, S("a"), S("v1"), S("x"));
        assert_true(has(cache, S("a"), S("v1")));
}

static void too_large_ones_drive_nobody_out(void **state)
{
        struct cache *cache = *state;
        static char large[64 * 1024];

        put(cache, S("a"), S("v1"), S("x"));
        put(cache, S("a"), S("large"), (struct slice){ large, sizeof large });
        assert_true(has(cache, S("a"), S("v1")));
        assert_false(has(cache, S("a"), S("large")));
}

/* Threads that read, put and forget the same name: a value is never older than the last change that was answered before. */
struct race {
        struct cache *cache;
        _Atomic uint64_t database;      /* the value, as the database has it */
        _Atomic uint64_t told;          /* the value that the writer has heard of as done */
        _Atomic bool ended;
        _Atomic uint64_t stale, seen;
};

static void *reader(void *arg)
{
        struct race *race = arg;

        while (!race->ended) {
                uint64_t told = race->told, value;
                struct registry_object *object = cache_get(race->cache, REGISTRY_MANIFEST, S("a"), S("v1"));

                if (object) {
                        memcpy(&value, object->bytes.p, sizeof value);
                        race->seen++;
                        race->stale += value < told;
                        registry_object_unref(object);
                } else {
                        uint64_t version = cache_version(race->cache, S("a"), S("v1"));
                        struct cache_content content;

                        value = race->database;
                        content = content_of((struct slice){ (const char *)&value, sizeof value });
                        cache_put(race->cache, S("a"), S("v1"), &content, version);
                }
        }
        return NULL;
}

/* As the store's writer does: the change is made, then it is forgotten here. */
static void *writer(void *arg)
{
        struct race *race = arg;

        for (int i = 0; i < 20000 || race->seen < 1000; i++) {
                race->database++;
                cache_forget(race->cache, S("a"), S("v1"));
                race->told = race->database;
                sched_yield();
        }
        race->ended = true;
        return NULL;
}

static void no_reader_sees_what_was_before_a_change(void **state)
{
        struct race race = { .cache = *state };
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, i ? reader : writer, &race), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        assert_true(race.seen > 0);
        assert_int_equal(race.stale, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(gives_what_was_put),
                TEST(what_was_read_before_a_change_stays_out),
                TEST(promises_end),
                TEST(memory_is_bounded),
                TEST(what_is_held_outside_is_bounded),
                TEST(too_large_ones_drive_nobody_out),
                TEST(no_reader_sees_what_was_before_a_change),
        };

        return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
