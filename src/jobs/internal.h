/* What the files of jobs/ share. */
#pragma once

#include "jobs/jobs.h"

#include <pthread.h>

enum job_id { JOB_COLLECT, JOB_SCRUB, JOB_COPY, JOB_COUNT };

struct jobs {
        struct jobs_config config;
        pthread_t thread;
        bool running;

        pthread_mutex_t lock;                   /* guards all below */
        pthread_cond_t poke;                    /* the settings changed, or it ends */
        bool ending;
        struct jobs_settings settings;
        struct jobs_status status;

        int64_t due_us[JOB_COUNT];              /* on the monotonic clock */

        /* the thread's own */
        int64_t turn_us;                        /* when the job that runs began */
        uint64_t copied_commits;                /* of the database, when it was last copied, */
        int64_t copied_mono_us;                 /* and when that was; 0: not since the start */
        bool at_end;                            /* the thread has ended */
        int64_t scrub_total_us;                 /* when the bytes to scrub were last counted, */
        uint64_t scrub_total_bytes;             /* and how many they were */
};

/* One turn of a job. *ret_next_us: how long until its next. */
RESULT job_collect(struct jobs *jobs, int64_t *ret_next_us, struct err *e);
RESULT job_scrub(struct jobs *jobs, int64_t *ret_next_us, struct err *e);
RESULT job_copy(struct jobs *jobs, int64_t *ret_next_us, struct err *e);

/* Has one of the others come due? Then a long job gives way. */
bool jobs_others_due(struct jobs *jobs, enum job_id self);
