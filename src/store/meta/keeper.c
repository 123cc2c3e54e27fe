#include "store/meta/keeper.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>

enum {
        LOG_PAGES = 2000,               /* 8 MiB: read again in some 5 ms when the daemon was killed */
        IDLE_MS = 1000,                 /* without commits, then all is copied */
        TRIM_MS = 10000,                /* without reads, then readers are closed */
        STACK_BYTES = 128 * 1024,
};

/* --- Waking ----------------------------------------------------------------------------------------------------------- */

static void log_grew(void *arg, int pages)
{
        struct keeper *keeper = arg;

        if (pages < keeper->wake_at)
                return;
        pthread_mutex_lock(&keeper->lock);
        pthread_cond_signal(&keeper->poke);
        pthread_mutex_unlock(&keeper->lock);
}

static void reader_opened(void *arg)
{
        struct keeper *keeper = arg;

        pthread_mutex_lock(&keeper->lock);
        keeper->readers_opened = true;
        pthread_cond_signal(&keeper->poke);
        pthread_mutex_unlock(&keeper->lock);
}

static void wait_ms(struct keeper *keeper, int64_t ms)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += ms % 1000 * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_nsec -= 1000000000;
                until.tv_sec++;
        }
        pthread_cond_timedwait(&keeper->poke, &keeper->lock, &until);
}

/* --- Checkpoints ------------------------------------------------------------------------------------------------------ */

/* Copies what is not in use. *ret_whole: nothing is left. */
static RESULT copy_log(struct db *db, bool *ret_whole, struct err *e)
{
        int pages = 0, copied = 0;

        if (sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied) != SQLITE_OK)
                return db_fail(db, "copy the log into the database", e);
        *ret_whole = copied == pages;
        return OK;
}

static RESULT copy_rest(struct writer *w, void *arg, struct err *e)
{
        struct keeper *keeper = arg;
        bool whole = false;

        TRY(copy_log(&w->db, &whole, e));
        if (whole) {
                keeper->copied_pages = w->log_pages;
                keeper->due_pages = LOG_PAGES;
        }
        return OK;
}

/* Somebody who reads for long (a backup) may keep it from being whole: then it is not tried again at each commit. */
static RESULT checkpoint(struct keeper *keeper, struct err *e)
{
        bool whole = false;

        keeper->copied_pages = -1;
        keeper->due_pages = keeper->writer->log_pages + LOG_PAGES / 2;
        if (!keeper->db.handle)
                TRY(db_open(keeper->path, DB_KEEPER, &keeper->db, e));
        TRY(copy_log(&keeper->db, &whole, e));
        return writer_alone(keeper->writer, copy_rest, keeper, e);
}

static RESULT release_writer(struct writer *w, void *arg, struct err *e)
{
        (void)arg, (void)e;
        sqlite3_db_release_memory(w->db.handle);
        return OK;
}

/* --- The thread ------------------------------------------------------------------------------------------------------- */

static bool log_is_copied(const struct keeper *keeper)
{
        return keeper->writer->log_pages == keeper->copied_pages;
}

static bool log_is_idle(struct keeper *keeper)
{
        if (keeper->writer->log_pages != keeper->seen_pages) {
                keeper->seen_pages = keeper->writer->log_pages;
                keeper->grew_ms = clock_mono_ms();
        }
        return clock_mono_ms() - keeper->grew_ms >= IDLE_MS;
}

/* Sleeps until there is something to do, with the lock held. */
static void sleep_some(struct keeper *keeper)
{
        bool copied = log_is_copied(keeper);

        keeper->wake_at = copied ? 1 : keeper->due_pages;
        /* a commit that came before has not seen wake_at */
        if (log_is_copied(keeper) != copied || (!copied && keeper->writer->log_pages >= keeper->due_pages))
                return;
        if (!copied)
                wait_ms(keeper, IDLE_MS / 2);
        else if (keeper->readers_opened)
                wait_ms(keeper, TRIM_MS / 2);
        else
                pthread_cond_wait(&keeper->poke, &keeper->lock);
        keeper->wake_at = INT_MAX;
}

/* A failure is not told to anybody here: the next commit meets it, or the next checkpoint does better. */
static void tend_log(struct keeper *keeper)
{
        bool idle = log_is_idle(keeper);
        struct err ignored;

        if (!log_is_copied(keeper) && (idle || keeper->writer->log_pages >= keeper->due_pages))
                IGNORE(checkpoint(keeper, &ignored));
        if (idle && keeper->db.handle) {
                db_close(&keeper->db);
                IGNORE(writer_alone(keeper->writer, release_writer, NULL, &ignored));
        }
}

static void *keeper_main(void *arg)
{
        struct keeper *keeper = arg;

        pthread_mutex_lock(&keeper->lock);
        while (!keeper->ending) {
                bool trim;

                sleep_some(keeper);
                trim = keeper->readers_opened;
                keeper->readers_opened = false;
                pthread_mutex_unlock(&keeper->lock);
                tend_log(keeper);
                trim = trim && readers_trim(keeper->readers, clock_mono_ms() - TRIM_MS);
                pthread_mutex_lock(&keeper->lock);
                keeper->readers_opened = keeper->readers_opened || trim;
        }
        pthread_mutex_unlock(&keeper->lock);
        return NULL;
}

RESULT keeper_start(struct keeper *keeper, struct writer *writer, struct readers *readers, const char *path, struct err *e)
{
        pthread_attr_t attributes;
        pthread_condattr_t monotonic;
        int error;

        *keeper = (struct keeper){ .writer = writer, .readers = readers, .path = path, .due_pages = LOG_PAGES };
        pthread_mutex_init(&keeper->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&keeper->poke, &monotonic);
        pthread_condattr_destroy(&monotonic);
        writer->log_grew_arg = readers->opened_arg = keeper;
        writer->log_grew = log_grew;
        readers->opened = reader_opened;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        error = pthread_create(&keeper->thread, &attributes, keeper_main, keeper);
        pthread_attr_destroy(&attributes);
        if (error)
                return FAIL(e, ERR_NOMEM, error, "start the database's housekeeping");
        keeper->running = true;
        return OK;
}

void keeper_stop(struct keeper *keeper)
{
        if (!keeper->running)
                return;
        pthread_mutex_lock(&keeper->lock);
        keeper->ending = true;
        pthread_cond_signal(&keeper->poke);
        pthread_mutex_unlock(&keeper->lock);
        pthread_join(keeper->thread, NULL);
        if (keeper->db.handle)
                db_close(&keeper->db);
        pthread_mutex_destroy(&keeper->lock);
        pthread_cond_destroy(&keeper->poke);
        keeper->running = false;
}
