#include "model.h"

#include "base/check.h"
#include "base/clock.h"

#include <stdlib.h>

#define NEVER INT64_MAX

static void init_facts(struct facts *facts)
{
        for (int i = 0; i < BLOBS; i++)
                facts->blobs[i].absent_us = 1;
        for (int i = 0; i < MANIFESTS; i++)
                facts->manifests[i].absent_us = 1;
        for (int i = 0; i < TAGS; i++) {
                facts->tags[i].shown[NO_MANIFEST] = (struct shown){ 1, 1 };
                facts->tags[i].written_us[NO_MANIFEST] = 1;
        }
}

void model_init(struct model *model, const struct content *content, const struct times *times)
{
        *model = (struct model){ .content = content, .times = *times, .history = history_new() };
        for (int i = 0; i < REPOSITORIES; i++) {
                pthread_mutex_init(&model->repositories[i].lock, NULL);
                init_facts(&model->repositories[i].facts);
        }
}

void model_fini(struct model *model)
{
        for (int i = 0; i < REPOSITORIES; i++)
                pthread_mutex_destroy(&model->repositories[i].lock);
        history_free(model->history);
        free(model->story);
}

/* --- Windows ---------------------------------------------------------------------------------------------------------- */

static void lock(struct window *w)
{
        struct repository *repository = &w->model->repositories[w->repository];

        pthread_mutex_lock(&repository->lock);
        w->now = &repository->facts;
}

static void unlock(struct window *w)
{
        w->now = NULL;
        pthread_mutex_unlock(&w->model->repositories[w->repository].lock);
}

void window_open(struct window *w, struct model *model, int repository, int thread)
{
        w->model = model;
        w->repository = repository;
        w->thread = thread;
        lock(w);
        w->began_us = clock_mono_us();
        w->before = *w->now;
}

void window_run(struct window *w)
{
        unlock(w);
}

void window_close(struct window *w)
{
        lock(w);
        w->ended_us = clock_mono_us();
}

void window_end(struct window *w)
{
        unlock(w);
}

/* --- Presence --------------------------------------------------------------------------------------------------------- */

static bool may_be_removed_since(const struct presence *now, int64_t began_us)
{
        return now->removing || now->removed_us >= began_us;
}

static bool may_be_swept_since(const struct window *w, int64_t began_us)
{
        return w->now->sweeping || w->now->swept_us >= began_us;
}

static int64_t sure_by_promise(const struct window *w, const struct presence *now, const struct shown *shown, int64_t promise_us)
{
        if (!shown->began_us || may_be_removed_since(now, shown->began_us) || may_be_swept_since(w, shown->began_us))
                return NEVER;
        return w->ended_us < shown->began_us + promise_us ? shown->ended_us : NEVER;
}

static int64_t sure_by_tag(const struct window *w, int tag, int manifest)
{
        const struct shown *shown = &w->before.tags[tag].shown[manifest];
        const struct pointer *now = &w->now->tags[tag];

        if (!shown->began_us || may_be_removed_since(&w->now->manifests[manifest], shown->began_us))
                return NEVER;
        for (int value = 0; value <= NO_MANIFEST; value++) {
                if (value != manifest && (now->writing[value] || now->written_us[value] >= shown->began_us))
                        return NEVER;
        }
        return shown->ended_us;
}

static int64_t sure_since(const struct window *w, int manifest);

/* As long as the subject is there nobody collects what was there beside it, or what was promised to stay until it came. */
/* NOLINTNEXTLINE(misc-no-recursion): along the content's links, which end */
static int64_t sure_by_subject(const struct window *w, int manifest, const struct shown *shown, int64_t promise_us)
{
        int subject = w->model->content->manifests[manifest].subject;
        int64_t since_us;

        if (subject < 0 || !shown->began_us || may_be_removed_since(&w->now->manifests[manifest], shown->began_us))
                return NEVER;
        since_us = sure_since(w, subject);
        if (since_us < shown->began_us)
                return shown->ended_us;
        if (since_us < shown->began_us + promise_us && !may_be_swept_since(w, shown->began_us))
                return MAX(shown->ended_us, since_us);
        return NEVER;
}

/* From when on, until the window's end, the manifest is surely there. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static int64_t sure_since(const struct window *w, int manifest)
{
        const struct presence *before = &w->before.manifests[manifest], *now = &w->now->manifests[manifest];
        int64_t promise_us = MIN(w->model->times.grace_us, w->model->times.untagged_us), since_us;

        since_us = MIN(sure_by_promise(w, now, &before->kept, promise_us), sure_by_promise(w, now, &before->asked, promise_us / 2));
        since_us = MIN(since_us, sure_by_subject(w, manifest, &before->kept, promise_us));
        since_us = MIN(since_us, sure_by_subject(w, manifest, &before->asked, promise_us / 2));
        for (int tag = 0; tag < TAGS; tag++)
                since_us = MIN(since_us, sure_by_tag(w, tag, manifest));
        for (int parent = FIRST_INDEX; parent < FIRST_REFERRER; parent++) {
                if (w->model->content->manifests[parent].children & 1u << manifest)
                        since_us = MIN(since_us, sure_since(w, parent));
        }
        return since_us;
}

bool manifest_is_sure(const struct window *w, int manifest)
{
        return sure_since(w, manifest) != NEVER;
}

bool blob_is_sure(const struct window *w, int blob)
{
        const struct presence *before = &w->before.blobs[blob], *now = &w->now->blobs[blob];
        int64_t grace_us = w->model->times.grace_us;

        return sure_by_promise(w, now, &before->kept, grace_us) != NEVER || sure_by_promise(w, now, &before->asked, grace_us / 2) != NEVER ||
               blob_is_named(w, blob);
}

static bool is_absent(const struct presence *before, const struct presence *now)
{
        return !now->adding && now->added_us < before->absent_us;
}

bool blob_is_absent(const struct window *w, int blob)
{
        return is_absent(&w->before.blobs[blob], &w->now->blobs[blob]);
}

bool manifest_is_absent(const struct window *w, int manifest)
{
        return is_absent(&w->before.manifests[manifest], &w->now->manifests[manifest]);
}

static bool any_manifest(const struct window *w, int number, bool of_blob, bool sure)
{
        for (int i = 0; i < MANIFESTS; i++) {
                const struct image *manifest = &w->model->content->manifests[i];

                if ((of_blob ? manifest->blobs : manifest->children) & 1u << number &&
                    (sure ? manifest_is_sure(w, i) : !manifest_is_absent(w, i)))
                        return true;
        }
        return false;
}

bool blob_may_be_named(const struct window *w, int blob)
{
        return any_manifest(w, blob, true, false);
}

bool blob_is_named(const struct window *w, int blob)
{
        return any_manifest(w, blob, true, true);
}

bool manifest_may_be_named(const struct window *w, int manifest)
{
        return any_manifest(w, manifest, false, false);
}

bool manifest_is_named(const struct window *w, int manifest)
{
        return any_manifest(w, manifest, false, true);
}

/* --- Tags ------------------------------------------------------------------------------------------------------------- */

/* Who deletes a manifest takes its tags away. */
static bool may_lose_its_manifest(const struct window *w, const struct pointer *now)
{
        for (int i = 0; i < MANIFESTS; i++) {
                if (w->now->manifests[i].removing && (now->writing[i] || now->written_us[i]))
                        return true;
        }
        return false;
}

/* Not after it was shown to have another value, unless somebody may have written this one since. */
bool may_point_to(const struct window *w, int tag, int manifest)
{
        const struct pointer *before = &w->before.tags[tag], *now = &w->now->tags[tag];
        int64_t other_us = 0;

        for (int value = 0; value <= NO_MANIFEST; value++) {
                if (value != manifest)
                        other_us = MAX(other_us, before->shown[value].began_us);
        }
        if (manifest != NO_MANIFEST)
                other_us = MAX(other_us, w->before.manifests[manifest].absent_us);
        if (now->writing[manifest] || now->written_us[manifest] >= other_us)
                return true;
        return manifest == NO_MANIFEST && may_lose_its_manifest(w, now);
}

void count_answer(const struct window *w, bool strict)
{
        if (strict)
                w->model->strict++;
        else
                w->model->free++;
}

/* --- Notes ------------------------------------------------------------------------------------------------------------ */

void note_shown(const struct window *w, struct shown *shown)
{
        if (w->began_us > shown->began_us)
                *shown = (struct shown){ w->began_us, w->ended_us };
}

void note_absent(const struct window *w, struct presence *presence)
{
        presence->absent_us = MAX(presence->absent_us, w->began_us);
}

void note_maybe_removed(const struct window *w, int manifest)
{
        w->now->manifests[manifest].removed_us = w->ended_us;
        for (int tag = 0; tag < TAGS; tag++) {
                if (may_point_to(w, tag, manifest))
                        w->now->tags[tag].written_us[NO_MANIFEST] = w->ended_us;
        }
}

/* What it named was there, and its time begins anew. */
void note_removed(const struct window *w, int manifest)
{
        const struct image *image = &w->model->content->manifests[manifest];

        note_maybe_removed(w, manifest);
        note_absent(w, &w->now->manifests[manifest]);
        for (int i = 0; i < BLOBS; i++) {
                if (image->blobs & 1u << i)
                        note_shown(w, &w->now->blobs[i].kept);
        }
        for (int i = 0; i < MANIFESTS; i++) {
                if (image->children & 1u << i)
                        note_shown(w, &w->now->manifests[i].kept);
        }
}

/* It was gone before the sweep, or went with it. If somebody else removed it meanwhile, the sweep may have come too early for what
 * it led to. */
static bool is_gone(const struct window *w, int manifest)
{
        const struct presence *now = &w->now->manifests[manifest];

        if (manifest_is_absent(w, manifest))
                return true;
        return !now->adding && now->added_us < MIN(w->began_us, now->absent_us) && !may_be_removed_since(now, w->began_us);
}

static bool sweep_took_manifest(const struct window *w, int manifest)
{
        const struct content *content = w->model->content;
        const struct presence *now = &w->now->manifests[manifest];
        int subject = content->manifests[manifest].subject;

        if (now->adding || now->added_us >= w->began_us || (subject >= 0 && !is_gone(w, subject)))
                return false;
        for (int tag = 0; tag < TAGS; tag++) {
                if (may_point_to(w, tag, manifest))
                        return false;
        }
        for (int i = FIRST_INDEX; i < FIRST_REFERRER; i++) {
                if (content->manifests[i].children & 1u << manifest && !is_gone(w, i))
                        return false;
        }
        return true;
}

static bool sweep_took_blob(const struct window *w, int blob)
{
        const struct presence *now = &w->now->blobs[blob];

        if (now->adding || now->added_us >= w->began_us)
                return false;
        for (int i = 0; i < MANIFESTS; i++) {
                if (w->model->content->manifests[i].blobs & 1u << blob && !is_gone(w, i))
                        return false;
        }
        return true;
}

/* What nothing led to, or only what went with the same sweep, is gone. Whatever led to something and went is found in a few rounds. */
void note_swept(const struct window *w)
{
        for (int round = 0; round < 4; round++) {
                for (int i = 0; i < MANIFESTS; i++) {
                        if (sweep_took_manifest(w, i))
                                note_absent(w, &w->now->manifests[i]);
                }
        }
        for (int i = 0; i < BLOBS; i++) {
                if (sweep_took_blob(w, i))
                        note_absent(w, &w->now->blobs[i]);
        }
        w->now->swept_us = w->ended_us;
}
