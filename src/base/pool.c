#include "base/pool.h"

#include "base/cleanup.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

enum { IDLE_SECONDS = 30, STACK_BYTES = 512 * 1024 };

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t work;            /* a task was queued, or the pool ends */
        pthread_cond_t gone;            /* a thread has ended */
        struct pool_task *first, **last;
        unsigned queued, threads, idle, max;
        bool ending;
};

/* Waits for work with the lock held; NULL when the thread should end. The last thread does not end by being idle. */
static struct pool_task *next_task(struct pool *pool)
{
        struct timespec until;
        struct pool_task *task;
        int error = 0;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        pool->idle++;
        while (!pool->first && !pool->ending && (error != ETIMEDOUT || pool->threads == 1))
                error = pool->threads == 1 ? pthread_cond_wait(&pool->work, &pool->lock)
                                           : pthread_cond_timedwait(&pool->work, &pool->lock, &until);
        pool->idle--;
        task = pool->first;
        if (!task)
                return NULL;
        pool->first = task->next;
        if (!pool->first)
                pool->last = &pool->first;
        pool->queued--;
        return task;
}

static void *worker(void *arg)
{
        struct pool *pool = arg;
        struct pool_task *task;

        pthread_mutex_lock(&pool->lock);
        while ((task = next_task(pool))) {
                pthread_mutex_unlock(&pool->lock);
                task->run(task);
                pthread_mutex_lock(&pool->lock);
        }
        pool->threads--;
        pthread_cond_signal(&pool->gone);
        pthread_mutex_unlock(&pool->lock);
        return NULL;
}

/* With the lock held. */
static int start_thread(struct pool *pool)
{
        pthread_attr_t attributes;
        pthread_t thread;
        int error;

        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        error = pthread_create(&thread, &attributes, worker, pool);
        if (!error)
                pool->threads++;
        pthread_attr_destroy(&attributes);
        return error;
}

RESULT pool_new(unsigned max, struct pool **ret_pool, struct err *e)
{
        struct pool *pool = calloc(1, sizeof *pool);
        pthread_condattr_t monotonic;
        int error;

        if (!pool)
                return FAIL(e, ERR_NOMEM, ENOMEM, "make a thread pool");
        pthread_mutex_init(&pool->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&pool->work, &monotonic);
        pthread_cond_init(&pool->gone, NULL);
        pthread_condattr_destroy(&monotonic);
        pool->max = MAX(max, 1u);
        pool->last = &pool->first;
        pthread_mutex_lock(&pool->lock);
        error = start_thread(pool);
        pthread_mutex_unlock(&pool->lock);
        if (error) {
                pool_free(pool);
                return FAIL(e, ERR_NOMEM, error, "start a worker thread");
        }
        *ret_pool = pool;
        return OK;
}

void pool_submit(struct pool *pool, struct pool_task *task)
{
        pthread_mutex_lock(&pool->lock);
        task->next = NULL;
        *pool->last = task;
        pool->last = &task->next;
        pool->queued++;
        /* one more thread if there can be one; otherwise the queue waits for those that run */
        if (pool->queued <= pool->idle || pool->threads >= pool->max || start_thread(pool) != 0)
                pthread_cond_signal(&pool->work);
        pthread_mutex_unlock(&pool->lock);
}

unsigned pool_queued(struct pool *pool)
{
        unsigned queued;

        pthread_mutex_lock(&pool->lock);
        queued = pool->queued;
        pthread_mutex_unlock(&pool->lock);
        return queued;
}

void pool_free(struct pool *pool)
{
        if (!pool)
                return;
        pthread_mutex_lock(&pool->lock);
        pool->ending = true;
        pthread_cond_broadcast(&pool->work);
        while (pool->threads)
                pthread_cond_wait(&pool->gone, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
        pthread_mutex_destroy(&pool->lock);
        pthread_cond_destroy(&pool->work);
        pthread_cond_destroy(&pool->gone);
        free(pool);
}
