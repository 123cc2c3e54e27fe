/* Collection: on the thread with pauses, or for whoever asks for it now. */
#include "jobs/internal.h"

#include "base/clock.h"
#include "base/log.h"

static bool is_empty(const struct collected *c)
{
        return c->uploads == 0 && c->manifests == 0 && c->blobs == 0 && c->objects == 0;
}

/* A collection may last: what it has freed so far is told already. */
static void note_step(struct jobs *jobs, const struct collected *sum, const struct collected *step)
{
        if (is_empty(step))
                return;
        pthread_mutex_lock(&jobs->lock);
        jobs->status.gc_last = *sum;
        jobs->status.gc_last_us = clock_now_us();
        collected_add(&jobs->status.gc_sum, step);
        pthread_mutex_unlock(&jobs->lock);
}

static void note_end(struct jobs *jobs, const struct collected *sum)
{
        pthread_mutex_lock(&jobs->lock);
        jobs->status.gc_ended_us = clock_now_us();
        pthread_mutex_unlock(&jobs->lock);
        if (!is_empty(sum))
                log_event(LOG_INFO, "collected", LOG_U("manifests", sum->manifests), LOG_U("blobs", sum->blobs),
                          LOG_U("files", sum->objects), LOG_U("uploads", sum->uploads), LOG_U("bytes", sum->bytes));
}

/* What was removed before a failure counts too. */
RESULT job_collect(struct jobs *jobs, int64_t *ret_next_us, struct err *e)
{
        struct collected sum = { 0 }, step = { .more = true };
        struct jobs_settings settings;
        struct result result = OK;

        jobs_get(jobs, &settings);
        *ret_next_us = settings.gc_interval_us;
        while (step.more) {
                int64_t began_us = clock_mono_us();

                result = registry_collect(jobs->config.registry, &settings.rules, &step, e);
                if (!result.ok)
                        break;
                collected_add(&sum, &step);
                note_step(jobs, &sum, &step);
                if (!jobs_pause_for(jobs, step.more ? clock_mono_us() - began_us : 0))
                        break;
        }
        note_end(jobs, &sum);
        return result;
}

RESULT jobs_collect(struct jobs *jobs, const struct collect_rules *rules, const struct jobs_progress *progress,
                    struct collected *ret_sum, struct err *e)
{
        struct collected sum = { 0 }, step = { .more = true };
        struct result result = OK;

        while (step.more) {
                result = registry_collect(jobs->config.registry, rules, &step, e);
                if (!result.ok)
                        break;
                collected_add(&sum, &step);
                note_step(jobs, &sum, &step);
                if (!progress->step(progress->arg, &sum) || !jobs_pause_for(jobs, 0))
                        break;
        }
        note_end(jobs, &sum);
        *ret_sum = sum;
        return result;
}
