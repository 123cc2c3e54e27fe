/* What the daemon does by itself, on one thread that sleeps while nothing is due:
 *
 *      collection      every gc_interval: what nobody names goes (registry/collect.h)
 *      scrub           stored content is read again, all of it once in scrub_period (registry/scrub.h)
 *      copy            the database is copied every copy_interval, and when the daemon ends, if something changed
 *
 *      TRY(jobs_new(&config, &settings, &jobs, e));
 *      jobs_set(jobs, &settings);                      at any time; counts at once
 *      jobs_free(jobs);                                ends what runs, between two steps
 *
 * Jobs work in short steps, pause as long as they worked, and stand back while requests wait for a thread. Each failure is logged
 * once, here, and the job is tried again with its next turn. Times are microseconds.
 *
 * Any thread may call jobs_set(), jobs_status() and jobs_collect(). */
#pragma once

#include "base/cleanup.h"
#include "registry/collect.h"

struct jobs;

struct jobs_settings {
        struct collect_rules rules;
        int64_t gc_interval_us;
        int64_t scrub_period_us;        /* 0: no scrub */
        uint64_t scrub_rate_bytes;      /* a second, at most */
        int64_t copy_interval_us;       /* 0: no copies */
};

struct jobs_config {
        struct registry *registry;      /* borrowed, outlives the jobs */
        bool (*is_busy)(void *arg);     /* do requests wait? */
        void *busy_arg;
};

RESULT jobs_new(const struct jobs_config *config, const struct jobs_settings *settings, struct jobs **ret_jobs, struct err *e);
void jobs_free(struct jobs *jobs);
DEFINE_CLEANUP(struct jobs *, jobs_free)
void jobs_set(struct jobs *jobs, const struct jobs_settings *settings);
void jobs_get(struct jobs *jobs, struct jobs_settings *ret_settings);

struct jobs_status {
        int64_t gc_ended_us;            /* of the last collection; 0: none yet */
        struct collected gc_last;       /* what the last one that removed something removed, */
        int64_t gc_last_us;             /* and when */
        struct collected gc_sum;        /* since the start */
        uint64_t scrubbed_blobs, scrubbed_bytes, scrub_damaged;        /* since the start */
        int64_t copied_us;              /* the copy of the database is of then; 0: none was made since the start */
        char failure[256];              /* of the last job that failed, "": none */
        int64_t failure_us;
};
void jobs_status(struct jobs *jobs, struct jobs_status *ret_status);

/* A collection now, by these rules, on the caller's thread; without pauses, but standing back while requests wait. `progress` is
 * called after each step and may end it (false). */
struct jobs_progress {
        bool (*step)(void *arg, const struct collected *sum);
        void *arg;
};
RESULT jobs_collect(struct jobs *jobs, const struct collect_rules *rules, const struct jobs_progress *progress,
                    struct collected *ret_sum, struct err *e);
/* For whoever works in steps on the registry: waits, and longer while requests wait. false: the daemon ends. */
bool jobs_pause_for(struct jobs *jobs, int64_t us);
