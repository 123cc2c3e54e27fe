#include "net/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum { EVENTS_A_ROUND = 128 };

struct queue {
        struct loop_message *first, **last;
};

struct loop {
        int epoll_fd, wake_fd;          /* owned */
        struct timer_wheel timers;
        int64_t now_ms;
        void (*late)(void *arg);
        void *late_arg;
        struct loop_watch wake;
        unsigned expected;              /* messages that may come quietly */
        struct queue put_off;
        pthread_mutex_t lock;           /* for what stands below */
        struct queue posted;
        bool awake;                     /* the loop looks at its messages before it sleeps */
        bool stopping;
};

static void queue_init(struct queue *queue)
{
        *queue = (struct queue){ .last = &queue->first };
}

static void queue_add(struct queue *queue, struct loop_message *message)
{
        message->next = NULL;
        *queue->last = message;
        queue->last = &message->next;
}

static void take_wake(struct loop_watch *watch, uint32_t events)
{
        struct loop *loop = CONTAINER_OF(watch, struct loop, wake);
        eventfd_t value;

        (void)events;
        (void)!eventfd_read(loop->wake_fd, &value);     /* its only use was to end the wait */
}

RESULT loop_new(struct loop **ret_loop, struct err *e)
{
        _cleanup_(loop_freep) struct loop *loop = calloc(1, sizeof *loop);

        if (!loop)
                return FAIL(e, ERR_NOMEM, ENOMEM, "make an event loop");
        pthread_mutex_init(&loop->lock, NULL);
        queue_init(&loop->put_off);
        queue_init(&loop->posted);
        loop->awake = true;
        loop->wake.ready = take_wake;
        loop->now_ms = clock_mono_ms();
        timer_wheel_init(&loop->timers, loop->now_ms);
        loop->wake_fd = -1;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0)
                return FAIL(e, ERR_IO, errno, "make an epoll instance");
        loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (loop->wake_fd < 0)
                return FAIL(e, ERR_IO, errno, "make an eventfd");
        TRY(loop_watch(loop, &loop->wake, loop->wake_fd, EPOLLIN, e));
        *ret_loop = TAKE_PTR(loop);
        return OK;
}

void loop_free(struct loop *loop)
{
        if (!loop)
                return;
        cleanup_fd(&loop->epoll_fd);
        cleanup_fd(&loop->wake_fd);
        pthread_mutex_destroy(&loop->lock);
        free(loop);
}

RESULT loop_watch(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, struct err *e)
{
        struct epoll_event event = { .events = events | EPOLLET, .data.ptr = watch };

        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return FAIL(e, ERR_IO, errno, "watch a descriptor");
        return OK;
}

void loop_on_round(struct loop *loop, void (*late)(void *arg), void *arg)
{
        loop->late = late;
        loop->late_arg = arg;
}

/* With the lock held. true: whoever calls wakes it. */
static bool rouse(struct loop *loop)
{
        bool asleep = !loop->awake;

        loop->awake = true;
        return asleep;
}

void loop_post(struct loop *loop, struct loop_message *message)
{
        bool wake;

        pthread_mutex_lock(&loop->lock);
        queue_add(&loop->posted, message);
        wake = rouse(loop);
        pthread_mutex_unlock(&loop->lock);
        if (wake)
                CHECK(eventfd_write(loop->wake_fd, 1) == 0);
}

void loop_expect(struct loop *loop, struct loop_message *message)
{
        message->expected = true;
        atomic_store(&message->hurry, false);
        loop->expected++;
}

void loop_hurry(struct loop_message *message)
{
        atomic_store(&message->hurry, true);
}

/* Whoever hurries is the loop itself: it looks at its messages afterwards, with the lock held. So either it finds this one then, or
 * this finds that there is a hurry. */
void loop_post_quietly(struct loop *loop, struct loop_message *message)
{
        bool wake;

        pthread_mutex_lock(&loop->lock);
        queue_add(&loop->posted, message);
        wake = atomic_load(&message->hurry) && rouse(loop);
        pthread_mutex_unlock(&loop->lock);
        if (wake)
                CHECK(eventfd_write(loop->wake_fd, 1) == 0);
}

void loop_put_off(struct loop *loop, struct loop_message *message)
{
        queue_add(&loop->put_off, message);
}

static void run_put_off(struct loop *loop)
{
        struct loop_message *message = loop->put_off.first;

        if (!message)
                return;
        loop->put_off.first = message->next;
        if (!message->next)
                queue_init(&loop->put_off);
        message->run(message);
}

void loop_stop(struct loop *loop)
{
        bool wake;

        pthread_mutex_lock(&loop->lock);
        loop->stopping = true;
        wake = rouse(loop);
        pthread_mutex_unlock(&loop->lock);
        if (wake)
                CHECK(eventfd_write(loop->wake_fd, 1) == 0);
}

/* Runs what was posted, then says whether it may sleep. Posting between this and the wait finds awake = false and wakes it. */
static bool run_messages(struct loop *loop, bool *ret_stopping)
{
        struct loop_message *first;

        pthread_mutex_lock(&loop->lock);
        first = loop->posted.first;
        queue_init(&loop->posted);
        loop->awake = first || loop->put_off.first;
        *ret_stopping = loop->stopping && !loop->awake;
        pthread_mutex_unlock(&loop->lock);
        for (struct loop_message *message = first, *next; message; message = next) {
                next = message->next;
                loop->expected -= message->expected;
                message->expected = false;
                message->run(message);
        }
        return !first && !loop->put_off.first;
}

static int wait_ms(struct loop *loop)
{
        int ms = timer_wheel_wait_ms(&loop->timers, loop->now_ms);

        return loop->expected && (ms < 0 || ms > LOOP_QUIET_MS) ? LOOP_QUIET_MS : ms;
}

void loop_run(struct loop *loop)
{
        struct epoll_event events[EVENTS_A_ROUND];

        for (;;) {
                bool stopping, may_sleep = run_messages(loop, &stopping);
                int n;

                if (stopping)
                        return;
                if (loop->late)
                        loop->late(loop->late_arg);
                n = epoll_wait(loop->epoll_fd, events, EVENTS_A_ROUND, may_sleep ? wait_ms(loop) : 0);
                CHECK(n >= 0 || errno == EINTR);
                pthread_mutex_lock(&loop->lock);
                loop->awake = true;
                pthread_mutex_unlock(&loop->lock);
                loop->now_ms = clock_mono_ms();
                for (int i = 0; i < n; i++) {
                        struct loop_watch *watch = events[i].data.ptr;

                        watch->ready(watch, events[i].events);
                }
                timer_wheel_run(&loop->timers, loop->now_ms);
                run_put_off(loop);
        }
}

struct timer_wheel *loop_timers(struct loop *loop)
{
        return &loop->timers;
}

int64_t loop_now_ms(const struct loop *loop)
{
        return loop->now_ms;
}
