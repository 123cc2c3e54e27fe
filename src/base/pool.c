/* A task goes straight to a worker that sleeps: to the one that fell asleep last, whose memory is the warmest, so that those which
 * are not needed stay asleep and end. Only when nobody sleeps does it wait in the queue. */
#include "base/pool.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/futex.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

enum { IDLE_MS = 30000, STACK_BYTES = 512 * 1024 };
enum { WORKER_ASLEEP, WORKER_AWAKE };

struct worker {
        struct worker *next;            /* among those that sleep */
        struct pool_task *task;         /* what it was woken for; NULL: to end */
        atomic_int state;
};

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t gone;            /* a thread has ended */
        struct worker *sleepers;        /* the last that fell asleep is the first */
        struct pool_task *first, **last;
        unsigned queued, threads, max;
        bool ending;
};

/* --- Workers ---------------------------------------------------------------------------------------------------------- */

static struct pool_task *take_queued(struct pool *pool)
{
        struct pool_task *task = pool->first;

        if (!task)
                return NULL;
        pool->first = task->next;
        if (!pool->first)
                pool->last = &pool->first;
        pool->queued--;
        return task;
}

static void wake(struct worker *worker, struct pool_task *task)
{
        worker->task = task;
        atomic_store(&worker->state, WORKER_AWAKE);
        futex_wake(&worker->state);
}

/* With the lock held, and the last that a thread does with the pool: it may be gone afterwards. */
static void retire(struct pool *pool)
{
        pool->threads--;
        pthread_cond_signal(&pool->gone);
}

/* The next task in the queue; otherwise the worker is among the sleepers, or it has retired because the pool ends. */
static struct pool_task *take_or_sleep(struct pool *pool, struct worker *worker, bool *ret_retired)
{
        struct pool_task *task;

        pthread_mutex_lock(&pool->lock);
        task = take_queued(pool);
        *ret_retired = !task && pool->ending;
        if (*ret_retired) {
                retire(pool);
        } else if (!task) {
                *worker = (struct worker){ .next = pool->sleepers, .state = WORKER_ASLEEP };
                pool->sleepers = worker;
        }
        pthread_mutex_unlock(&pool->lock);
        return task;
}

/* After a long sleep. Not the last worker, and not one that was taken to be woken. */
static bool retire_sleeper(struct pool *pool, const struct worker *worker)
{
        struct worker **at = &pool->sleepers;
        bool found;

        pthread_mutex_lock(&pool->lock);
        while (*at && *at != worker)
                at = &(*at)->next;
        found = *at && pool->threads > 1;
        if (found) {
                *at = worker->next;
                retire(pool);
        }
        pthread_mutex_unlock(&pool->lock);
        return found;
}

/* NULL: the pool ends, or the worker has retired. */
static struct pool_task *sleep_for_task(struct pool *pool, struct worker *worker, bool *ret_retired)
{
        int64_t until_ms = clock_mono_ms() + IDLE_MS;

        while (atomic_load(&worker->state) == WORKER_ASLEEP) {
                int64_t rest_ms = until_ms - clock_mono_ms();

                if (rest_ms > 0) {
                        futex_wait(&worker->state, WORKER_ASLEEP, rest_ms);
                        continue;
                }
                *ret_retired = retire_sleeper(pool, worker);
                if (*ret_retired)
                        return NULL;
                until_ms += IDLE_MS;
        }
        return worker->task;
}

/* A thread has the priority of who started it, which may be a loop's. */
static void take_common_priority(void)
{
        setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, (id_t)getpid()));
}

static void *worker_main(void *arg)
{
        struct pool *pool = arg;
        struct worker worker;
        bool retired = false;

        take_common_priority();
        while (!retired) {
                struct pool_task *task = take_or_sleep(pool, &worker, &retired);

                if (!task && !retired)
                        task = sleep_for_task(pool, &worker, &retired);
                if (task)
                        task->run(task);
        }
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
        error = pthread_create(&thread, &attributes, worker_main, pool);
        if (!error)
                pool->threads++;
        pthread_attr_destroy(&attributes);
        return error;
}

RESULT pool_new(unsigned max, struct pool **ret_pool, struct err *e)
{
        struct pool *pool = calloc(1, sizeof *pool);
        int error;

        if (!pool)
                return FAIL(e, ERR_NOMEM, ENOMEM, "make a thread pool");
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->gone, NULL);
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

/* With the lock held. */
static void enqueue(struct pool *pool, struct pool_task *task)
{
        task->next = NULL;
        *pool->last = task;
        pool->last = &task->next;
        pool->queued++;
}

void pool_submit(struct pool *pool, struct pool_task *task)
{
        struct worker *sleeper;

        pthread_mutex_lock(&pool->lock);
        sleeper = pool->sleepers;
        if (sleeper) {
                pool->sleepers = sleeper->next;
        } else {
                enqueue(pool, task);
                /* one more thread if there can be one; otherwise the queue waits for those that run */
                if (pool->threads < pool->max)
                        start_thread(pool);
        }
        pthread_mutex_unlock(&pool->lock);
        if (sleeper)
                wake(sleeper, task);
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
        for (struct worker *sleeper = pool->sleepers, *next; sleeper; sleeper = next) {
                next = sleeper->next;
                wake(sleeper, NULL);
        }
        pool->sleepers = NULL;
        while (pool->threads)
                pthread_cond_wait(&pool->gone, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
        pthread_mutex_destroy(&pool->lock);
        pthread_cond_destroy(&pool->gone);
        free(pool);
}
