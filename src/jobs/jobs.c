/* The thread and its clock. The jobs themselves: collect.c, scrub.c, copy.c. */
#include "jobs/internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum {
        STACK_BYTES = 256 * 1024,
        BUSY_US = 5000,                         /* between two looks whether requests still wait, */
        BUSY_LOOKS = 20,                        /* this many times: a busy registry is collected too, slowly */
        FIRST_US = 1000000,                     /* after the start */
        RETRY_US = 10000000,                    /* after a failure */
};

static const struct {
        const char *name;
        RESULT_FN(run, (struct jobs *jobs, int64_t *ret_next_us, struct err *e));
} table[JOB_COUNT] = {
        [JOB_COLLECT] = { "collection", job_collect },
        [JOB_SCRUB] = { "scrub", job_scrub },
        [JOB_COPY] = { "copy of the database", job_copy },
};

/* --- Waiting, with the lock held --------------------------------------------------------------------------------------- */

static void wait_until(struct jobs *jobs, int64_t until_us)
{
        struct timespec until = { .tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000 };

        pthread_cond_timedwait(&jobs->poke, &jobs->lock, &until);
}

static void wait_for(struct jobs *jobs, int64_t us)
{
        int64_t until_us = clock_mono_us() + us;

        while (!jobs->ending && clock_mono_us() < until_us)
                wait_until(jobs, until_us);
}

bool jobs_pause_for(struct jobs *jobs, int64_t us)
{
        bool ending;

        pthread_mutex_lock(&jobs->lock);
        if (us)
                wait_for(jobs, us);
        for (int i = 0; i < BUSY_LOOKS && !jobs->ending && jobs->config.is_busy(jobs->config.busy_arg); i++)
                wait_for(jobs, BUSY_US);
        ending = jobs->ending;
        pthread_mutex_unlock(&jobs->lock);
        return !ending;
}

bool jobs_others_due(struct jobs *jobs, enum job_id self)
{
        int64_t now_us = clock_mono_us();
        bool due = false;

        pthread_mutex_lock(&jobs->lock);
        for (int i = 0; i < JOB_COUNT; i++)
                due |= i != (int)self && jobs->due_us[i] <= now_us;
        pthread_mutex_unlock(&jobs->lock);
        return due;
}

/* --- The thread ------------------------------------------------------------------------------------------------------- */

static void note_failure(struct jobs *jobs, enum job_id job, const struct err *e)
{
        log_event(LOG_ERROR, "a job of the registry's own failed", LOG_C("job", table[job].name), LOG_C("error", e->message));
        pthread_mutex_lock(&jobs->lock);
        snprintf(jobs->status.failure, sizeof jobs->status.failure, "%s: %.200s", table[job].name, e->message);
        jobs->status.failure_us = clock_now_us();
        pthread_mutex_unlock(&jobs->lock);
}

static void run_job(struct jobs *jobs, enum job_id job)
{
        struct err e = ERR_INIT;
        int64_t next_us = RETRY_US;

        jobs->turn_us = clock_mono_us();
        if (!table[job].run(jobs, &next_us, &e).ok) {
                note_failure(jobs, job, &e);
                next_us = MAX(next_us, (int64_t)RETRY_US);
        }
        pthread_mutex_lock(&jobs->lock);
        jobs->due_us[job] = clock_mono_us() + next_us;
        pthread_mutex_unlock(&jobs->lock);
}

static enum job_id first_due(const struct jobs *jobs)
{
        enum job_id first = 0;

        for (enum job_id i = 1; i < JOB_COUNT; i++)
                if (jobs->due_us[i] < jobs->due_us[first])
                        first = i;
        return first;
}

static void *work(void *arg)
{
        struct jobs *jobs = arg;

        pthread_mutex_lock(&jobs->lock);
        while (!jobs->ending) {
                enum job_id job = first_due(jobs);

                if (jobs->due_us[job] > clock_mono_us()) {
                        wait_until(jobs, jobs->due_us[job]);
                        continue;
                }
                pthread_mutex_unlock(&jobs->lock);
                run_job(jobs, job);
                pthread_mutex_lock(&jobs->lock);
        }
        pthread_mutex_unlock(&jobs->lock);
        return NULL;
}

static int start_thread(struct jobs *jobs)
{
        pthread_attr_t attributes;
        int error;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        error = pthread_create(&jobs->thread, &attributes, work, jobs);
        pthread_attr_destroy(&attributes);
        return error;
}

/* --- Life ------------------------------------------------------------------------------------------------------------- */

RESULT jobs_new(const struct jobs_config *config, const struct jobs_settings *settings, struct jobs **ret_jobs, struct err *e)
{
        _cleanup_(jobs_freep) struct jobs *jobs = calloc(1, sizeof *jobs);
        pthread_condattr_t monotonic;
        int error;

        if (!jobs)
                return FAIL(e, ERR_NOMEM, ENOMEM, "begin the registry's own jobs");
        jobs->config = *config;
        pthread_mutex_init(&jobs->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&jobs->poke, &monotonic);
        pthread_condattr_destroy(&monotonic);
        jobs_set(jobs, settings);
        error = start_thread(jobs);
        if (error)
                return FAIL(e, ERR_NOMEM, error, "start a thread for the registry's own jobs");
        jobs->running = true;
        *ret_jobs = TAKE_PTR(jobs);
        return OK;
}

/* What was pushed since the last copy is in the next one, which is made now. */
static void copy_at_end(struct jobs *jobs)
{
        struct err e = ERR_INIT;
        int64_t ignored;

        jobs->at_end = true;
        if (!job_copy(jobs, &ignored, &e).ok)
                note_failure(jobs, JOB_COPY, &e);
}

void jobs_free(struct jobs *jobs)
{
        if (!jobs)
                return;
        pthread_mutex_lock(&jobs->lock);
        jobs->ending = true;
        pthread_cond_broadcast(&jobs->poke);
        pthread_mutex_unlock(&jobs->lock);
        if (jobs->running) {
                pthread_join(jobs->thread, NULL);
                copy_at_end(jobs);
        }
        pthread_cond_destroy(&jobs->poke);
        pthread_mutex_destroy(&jobs->lock);
        free(jobs);
}

/* All are due soon: an interval that became shorter counts from now. */
void jobs_set(struct jobs *jobs, const struct jobs_settings *settings)
{
        pthread_mutex_lock(&jobs->lock);
        jobs->settings = *settings;
        registry_set_stay(jobs->config.registry, &settings->rules.names);
        for (int i = 0; i < JOB_COUNT; i++)
                jobs->due_us[i] = clock_mono_us() + FIRST_US;
        pthread_cond_broadcast(&jobs->poke);
        pthread_mutex_unlock(&jobs->lock);
}

void jobs_get(struct jobs *jobs, struct jobs_settings *ret_settings)
{
        pthread_mutex_lock(&jobs->lock);
        *ret_settings = jobs->settings;
        pthread_mutex_unlock(&jobs->lock);
}

void jobs_status(struct jobs *jobs, struct jobs_status *ret_status)
{
        pthread_mutex_lock(&jobs->lock);
        *ret_status = jobs->status;
        pthread_mutex_unlock(&jobs->lock);
}
