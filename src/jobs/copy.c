/* Copies of the database: from time to time, and at the end, if something changed since. */
#include "jobs/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "registry/copy.h"

static bool is_due(struct jobs *jobs, uint64_t commits)
{
        if (jobs->copied_mono_us)
                return commits != jobs->copied_commits;
        return commits > 0 || !registry_copy_is_current(jobs->config.registry);
}

RESULT job_copy(struct jobs *jobs, int64_t *ret_next_us, struct err *e)
{
        uint64_t commits = registry_commits(jobs->config.registry);
        struct jobs_settings settings;
        int64_t since_us = clock_mono_us() - jobs->copied_mono_us;

        jobs_get(jobs, &settings);
        *ret_next_us = settings.copy_interval_us ? settings.copy_interval_us : INT64_C(3600000000);
        if (!settings.copy_interval_us || !is_due(jobs, commits))
                return OK;
        if (jobs->copied_mono_us && since_us < settings.copy_interval_us && !jobs->at_end) {
                *ret_next_us = settings.copy_interval_us - since_us;
                return OK;
        }
        TRY(registry_copy(jobs->config.registry, e));
        jobs->copied_commits = commits;
        jobs->copied_mono_us = clock_mono_us();
        log_event(LOG_DEBUG, "database copied");
        pthread_mutex_lock(&jobs->lock);
        jobs->status.copied_us = clock_now_us();
        pthread_mutex_unlock(&jobs->lock);
        return OK;
}
