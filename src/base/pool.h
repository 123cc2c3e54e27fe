/* Worker threads for what may block. One runs from the start, so that a full machine cannot leave work without a thread; others
 * are started when they are needed, up to `max`, and end after some idle time.
 *
 *      struct job { struct pool_task task; ... };
 *      job->task.run = job_run;  pool_submit(pool, &job->task);
 *
 * The task belongs to the pool until run() is called, to the caller from then on. Order: first in, first out. Any thread may
 * submit. pool_free() runs what is queued, then joins. */
#pragma once

#include "base/err.h"

struct pool;

struct pool_task {
        void (*run)(struct pool_task *task);
        struct pool_task *next;
};

RESULT pool_new(unsigned max, struct pool **ret_pool, struct err *e);
void pool_free(struct pool *pool);
void pool_submit(struct pool *pool, struct pool_task *task);
unsigned pool_queued(struct pool *pool);        /* tasks that wait for a thread */
