/* Large bodies come and go by threads that hash, write and encrypt, and keep processors busy for long. A loop has little to do, and
 * all its connections wait for it: so while such a transfer runs, the loops go before those threads, where the system lets them (root,
 * CAP_SYS_NICE, LimitNICE=). p99 of small requests beside large transfers over TLS: 6.9 ms without, 2.9 with. (At -10 it is 1.8, and
 * pushes of small images cost 15 % more: loops come too early to find several things to do.)
 *
 * Only so long: where clients run on the same machine, loops that go before them find one request at a time, and each costs a third
 * more. */
#include "http/connection.h"

#include <sys/resource.h>
#include <unistd.h>

enum { LOOP_NICE = -4 };

void priority_init(struct priority *priority)
{
        pthread_mutex_init(&priority->lock, NULL);
}

void priority_fini(struct priority *priority)
{
        pthread_mutex_destroy(&priority->lock);
}

/* With the lock held. A system that does not allow it leaves the loops where they are. */
static void set_loop(const struct priority *priority, pid_t thread)
{
        setpriority(PRIO_PROCESS, (id_t)thread, getpriority(PRIO_PROCESS, (id_t)getpid()) + (priority->transfers ? LOOP_NICE : 0));
}

void priority_add_loop(struct priority *priority)
{
        pthread_mutex_lock(&priority->lock);
        priority->loops[priority->loop_count++] = gettid();
        set_loop(priority, gettid());
        pthread_mutex_unlock(&priority->lock);
}

static void count_transfers(struct priority *priority, int change)
{
        bool changes;

        pthread_mutex_lock(&priority->lock);
        changes = priority->transfers == 0 || priority->transfers + change == 0;
        priority->transfers += change;
        for (unsigned i = 0; changes && i < priority->loop_count; i++)
                set_loop(priority, priority->loops[i]);
        pthread_mutex_unlock(&priority->lock);
}

void priority_raise(struct exchange *ex)
{
        if (!ex->is_large)
                count_transfers(&ex->connection->home->server->priority, 1);
        ex->is_large = true;
}

void priority_drop(struct exchange *ex)
{
        if (ex->is_large)
                count_transfers(&ex->connection->home->server->priority, -1);
        ex->is_large = false;
}
