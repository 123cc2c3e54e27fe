/* Races of push, pull, mount, HEAD, deletion, scrub and collection on equal digests in several repositories, with every answer held
 * against a model (race.h, model.h); and, with one rule of base/rules.h broken after the other, that the race notices.
 *
 *      TEST_RACE_SECONDS       of the race in which all rules are kept (10)
 *      TEST_RACE_SEED          what the racers do is repeated, though not when
 *      TEST_RACE_TELL          print what was found of each broken rule
 *      TMPDIR                  where the store is; in memory (/dev/shm) nothing is synced, and much more happens */
#include "race.h"

#include "base/clock.h"
#include "base/rand.h"
#include "base/rules.h"
#include "base/testing.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum rule rule_broken = RULE_NONE;

enum { SECONDS = 10, BROKEN_SECONDS = 60, CACHE_BYTES = 96 * 1024 };    /* a cache that has to forget */

static const struct times times = { .grace_us = 300 * 1000, .untagged_us = 450 * 1000, .trash_us = 120 * 1000, .expiry_us = 250 * 1000 };

/* --- A race ----------------------------------------------------------------------------------------------------------- */

static uint64_t setting(const char *name, uint64_t otherwise)
{
        const char *text = getenv(name);
        uint64_t value;

        return text && slice_to_u64(slice_from(text), &value) ? value : otherwise;
}

static void set_up(struct race *race)
{
        struct registry_config config = { .data_dir = race->folder, .cache_bytes = CACHE_BYTES };
        const char *place = getenv("TMPDIR");
        struct err e;

        content_make(&race->content);
        model_init(&race->model, &race->content, &times);
        rand_bytes(&race->seed, sizeof race->seed);
        race->seed = setting("TEST_RACE_SEED", race->seed >> 32);
        race->rules = (struct collect_rules){ .names = { times.grace_us, times.untagged_us }, .trash_delay_us = times.trash_us,
                                              .upload_expiry_us = times.expiry_us };
        snprintf(race->folder, sizeof race->folder, "%s/orlop-race-test-XXXXXX", place ? place : "/tmp");
        assert_non_null(mkdtemp(race->folder));
        if (!registry_open(&config, &race->registry, &e).ok)
                fail_msg("%s", e.message);
        registry_set_stay(race->registry, &race->rules.names);
}

static void tear_down(struct race *race)
{
        registry_free(race->registry);
        remove_tree(race->folder);
        model_fini(&race->model);
        content_free(&race->content);
        free(race);
}

static void *race_until_end(void *arg)
{
        struct racer *racer = arg;

        while (!racer->race->model.ended)
                step(racer);
        return NULL;
}

/* The registry goes by the clock of the day. Who sets it ends all promises. */
static int64_t clock_offset_us(void)
{
        return clock_now_us() - clock_mono_us();
}

/* false: a violation was found. */
static bool run(struct race *race, uint64_t seconds)
{
        void *(*const lives[])(void *) = { [COLLECTOR] = collect_until_end, [SCRUBBER] = scrub_until_end };
        int64_t end_ms = clock_mono_ms() + (int64_t)seconds * 1000, offset_us = clock_offset_us();
        struct racer racers[ENDER + 1];
        pthread_t threads[ENDER];

        for (int i = 0; i <= ENDER; i++)
                racer_init(&racers[i], race, i);
        for (int i = 0; i < ENDER; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, i < RACERS ? race_until_end : lives[i], &racers[i]), 0);
        while (!race->model.ended && clock_mono_ms() < end_ms)
                poll(NULL, 0, 20);
        race->model.ended = true;
        for (int i = 0; i < ENDER; i++)
                pthread_join(threads[i], NULL);
        if (!race->model.violated)
                check_end(&racers[ENDER]);
        for (int i = 0; i <= ENDER; i++)
                racer_fini(&racers[i]);
        if (llabs(clock_offset_us() - offset_us) > 50 * 1000)
                fail_msg("somebody set the clock: run it again");
        return !race->model.violated;
}

/* --- The tests -------------------------------------------------------------------------------------------------------- */

static void no_answer_is_wrong(void **state)
{
        struct race *race = calloc(1, sizeof *race);
        char story[16 * 1024] = "";
        uint64_t seconds = setting("TEST_RACE_SECONDS", SECONDS), seed;

        (void)state;
        set_up(race);
        seed = race->seed;
        printf("# seed %llu, %llu seconds\n", (unsigned long long)seed, (unsigned long long)seconds);
        fflush(stdout);
        if (!run(race, seconds))
                snprintf(story, sizeof story, "%.*s", (int)sizeof story - 1, race->model.story);
        printf("# %llu steps, %llu answers of which only one was right, %llu others, %llu sweeps; at the end %llu manifests, %llu blobs\n",
               (unsigned long long)race->steps, (unsigned long long)race->model.strict, (unsigned long long)race->model.free,
               (unsigned long long)race->sweeps, (unsigned long long)race->kept_manifests, (unsigned long long)race->kept_blobs);
        tear_down(race);
        if (*story) {
                fprintf(stderr, "TEST_RACE_SEED=%llu\n%s", (unsigned long long)seed, story);
                fail_msg("a wrong answer, see above");
        }
}

/* The story is printed where somebody asks for it: is it one that a person understands? */
static void broken_rule_is_noticed(void **state)
{
        struct race *race = calloc(1, sizeof *race);
        int64_t began_ms = clock_mono_ms();
        bool noticed;

        set_up(race);
        rule_broken = *(const enum rule *)*state;
        noticed = !run(race, setting("TEST_RACE_BROKEN_SECONDS", BROKEN_SECONDS));
        rule_broken = RULE_NONE;
        if (noticed)
                printf("# noticed after %lld ms, %llu steps: %.*s\n", (long long)(clock_mono_ms() - began_ms), (unsigned long long)race->steps,
                       (int)strcspn(race->model.story, "\n"), race->model.story);
        if (noticed && getenv("TEST_RACE_TELL"))
                fprintf(stderr, "%s", race->model.story);
        tear_down(race);
        assert_true(noticed);
}

#define BROKEN(name) { "broken_" #name "_is_noticed", broken_rule_is_noticed, NULL, NULL, (enum rule[]){ name } }

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_answer_is_wrong),
                BROKEN(RULE_UNIQUE_OBJECTS),
                BROKEN(RULE_REVIEW_QUEUED),
                BROKEN(RULE_GRACE),
                BROKEN(RULE_USED_STAYS),
                BROKEN(RULE_LED_TO_STAYS),
                BROKEN(RULE_ASKED_FOR_STAYS),
                BROKEN(RULE_TRASH_DELAY),
                BROKEN(RULE_CHANGES_TOLD),
        };

        return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
