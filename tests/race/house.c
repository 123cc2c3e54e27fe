/* What the daemon does by itself, faster than any daemon: collection without a pause, scrub, and now and then a sweep. */
#include "race.h"

#include "base/clock.h"
#include "base/cleanup.h"
#include "registry/remove.h"
#include "registry/scrub.h"
#include "store/blob/hold.h"

enum { SWEEP_EVERY_MS = 500, DUE_US = -1000000 };       /* DUE_US: a time that everything is over by now */

static void unexpected(struct racer *racer, const char *what)
{
        struct window w;

        window_open(&w, &racer->race->model, 0, racer->number);
        w.ended_us = w.began_us;
        violation(&w, THING_NONE, 0, "%s: %s", what, racer->e.message);
        window_end(&w);
}

static bool collect(struct racer *racer, const struct collect_rules *rules)
{
        struct collected collected = { .more = true };

        while (collected.more) {
                if (!registry_collect(racer->race->registry, rules, &collected, &racer->e).ok) {
                        unexpected(racer, "collect");
                        return false;
                }
        }
        return true;
}

void sweep(struct racer *racer)
{
        struct race *race = racer->race;
        struct window windows[REPOSITORIES];
        struct collect_rules rules = race->rules;
        bool ended;

        rules.names = (struct meta_rules){ .grace_us = DUE_US, .untagged_us = DUE_US };
        for (int i = 0; i < REPOSITORIES; i++) {
                window_open(&windows[i], &race->model, i, racer->number);
                windows[i].now->sweeping++;
                window_run(&windows[i]);
        }
        ended = collect(racer, &rules);
        for (int i = 0; i < REPOSITORIES; i++) {
                window_close(&windows[i]);
                windows[i].now->sweeping--;
                record(&windows[i], "sweep", THING_NONE, 0, "", ended ? "ok" : racer->e.message);
                if (ended)
                        note_swept(&windows[i]);
                window_end(&windows[i]);
        }
        race->sweeps++;
}

void *collect_until_end(void *arg)
{
        struct racer *racer = arg;
        int64_t swept_ms = clock_mono_ms();

        while (!racer->race->model.ended) {
                if (!collect(racer, &racer->race->rules))
                        break;
                pause_up_to(racer, 4000);
                if (clock_mono_ms() < swept_ms + SWEEP_EVERY_MS)
                        continue;
                sweep(racer);
                swept_ms = clock_mono_ms();
        }
        return NULL;
}

/* A backup holds all objects in place: what has a row now can be opened as long as that lasts. */
static void hold(struct racer *racer)
{
        struct race *race = racer->race;
        _cleanup_fd_ int hold_fd = -1;

        if (!hold_objects(race->folder, &hold_fd, &racer->e).ok) {
                unexpected(racer, "hold the objects");
                return;
        }
        for (int i = 0; i < REPOSITORIES; i++)
                open_late(racer, i, FIRST_FILE + (int)pick(racer, BLOBS - FIRST_FILE), 2 * race->model.times.trash_us);
}

static bool no_manifest_came(const struct window *w)
{
        for (int i = 0; i < MANIFESTS; i++) {
                if (w->now->manifests[i].adding || w->now->manifests[i].added_us >= w->began_us)
                        return false;
        }
        return true;
}

static void mark_removing(const struct window *w, int change)
{
        for (int i = 0; i < MANIFESTS; i++)
                w->now->manifests[i].removing += change;
}

/* All manifests of a repository, as `orlop rm` takes them. */
static void strip(struct racer *racer)
{
        struct meta_stripping stripping = { 0 };
        int repository = (int)pick(racer, REPOSITORIES);
        struct result result = OK;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        mark_removing(&w, 1);
        window_run(&w);
        while (result.ok && !stripping.ended)
                result = registry_repository_strip(racer->race->registry, repository_name(repository), &stripping, &racer->e);
        window_close(&w);
        mark_removing(&w, -1);
        record(&w, "remove all", THING_NONE, 0, "", outcome(result, &racer->e));
        if (!result.ok && racer->e.code != ERR_NAME_UNKNOWN)
                violation(&w, THING_NONE, 0, "remove a repository: %s", racer->e.message);
        for (int i = 0; i < MANIFESTS; i++) {
                note_maybe_removed(&w, i);
                if (no_manifest_came(&w))
                        note_absent(&w, &w.now->manifests[i]);
        }
        window_end(&w);
}

static bool go_on(void *arg, uint64_t bytes)
{
        struct racer *racer = arg;

        (void)bytes;
        return !racer->race->model.ended;
}

/* Between two rounds: a second collector, for several at once do no harm; a backup's hold; a repository that is emptied. */
static void do_something_else(struct racer *racer)
{
        collect(racer, &racer->race->rules);
        if (chance(racer, 3))
                hold(racer);
        if (chance(racer, 2))
                strip(racer);
        arena_reset(&racer->arena);
}

void *scrub_until_end(void *arg)
{
        struct racer *racer = arg;
        struct scrub_pace pace = { go_on, racer };
        struct scrub_found found = { 0 };

        while (!racer->race->model.ended) {
                struct result result = registry_scrub_next(racer->race->registry, found.id, &pace, &found, &racer->e);

                if (!result.ok && racer->e.code != ERR_NOT_FOUND && racer->e.code != ERR_CLOSED)
                        unexpected(racer, "scrub");
                if (!result.ok) {
                        found.id = 0;
                        do_something_else(racer);
                } else if (found.verdict != SCRUB_GOOD && found.verdict != SCRUB_GONE) {
                        err_set(&racer->e, ERR_CORRUPT, 0, "%s", found.what);
                        unexpected(racer, "the scrub finds damage that nobody did");
                }
                pause_up_to(racer, 5000);
        }
        return NULL;
}
