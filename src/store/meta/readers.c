#include "store/meta/readers.h"

#include "base/clock.h"

#include <errno.h>

static void opened_nobody(void *arg)
{
        (void)arg;
}

void readers_init(struct readers *readers, const char *path)
{
        *readers = (struct readers){ .path = path, .opened = opened_nobody };
        pthread_mutex_init(&readers->lock, NULL);
        pthread_cond_init(&readers->home, NULL);
        pthread_cond_init(&readers->long_home, NULL);
}

static void reader_free(struct reader *reader)
{
        db_close(&reader->db);
        free(reader);
}

void readers_fini(struct readers *readers)
{
        CHECK(readers->lent == 0);
        for (struct reader *reader = readers->first, *next; reader; reader = next) {
                next = reader->next;
                reader_free(reader);
        }
        readers->first = NULL;
        pthread_mutex_destroy(&readers->lock);
        pthread_cond_destroy(&readers->home);
        pthread_cond_destroy(&readers->long_home);
}

static RESULT reader_open(struct readers *readers, struct reader **ret_reader, struct err *e)
{
        _cleanup_free_ struct reader *reader = calloc(1, sizeof *reader);

        if (!reader)
                return FAIL(e, ERR_NOMEM, ENOMEM, "read the database");
        TRY(db_open(readers->path, DB_READER, &reader->db, e));
        reader->readers = readers;
        *ret_reader = TAKE_PTR(reader);
        return OK;
}

/* Takes one from home, or the right to open one (NULL). */
static struct reader *take_or_reserve(struct readers *readers)
{
        struct reader *reader;

        pthread_mutex_lock(&readers->lock);
        while (!readers->first && readers->count == READERS_MAX)
                pthread_cond_wait(&readers->home, &readers->lock);
        reader = readers->first;
        if (reader)
                readers->first = reader->next;
        else
                readers->count++;
        readers->lent++;
        pthread_mutex_unlock(&readers->lock);
        return reader;
}

RESULT reader_lend(struct readers *readers, struct reader **ret_reader, struct err *e)
{
        struct reader *reader = take_or_reserve(readers);

        if (!reader && !reader_open(readers, &reader, e).ok) {
                pthread_mutex_lock(&readers->lock);
                readers->count--;
                readers->lent--;
                pthread_cond_signal(&readers->home);
                pthread_mutex_unlock(&readers->lock);
                return FAILED;
        }
        *ret_reader = reader;
        return OK;
}

static void end_long(struct readers *readers)
{
        pthread_mutex_lock(&readers->lock);
        readers->long_lent = false;
        pthread_cond_signal(&readers->long_home);
        pthread_mutex_unlock(&readers->lock);
}

RESULT reader_lend_long(struct readers *readers, struct reader **ret_reader, struct err *e)
{
        pthread_mutex_lock(&readers->lock);
        while (readers->long_lent)
                pthread_cond_wait(&readers->long_home, &readers->lock);
        readers->long_lent = true;
        pthread_mutex_unlock(&readers->lock);
        if (!reader_lend(readers, ret_reader, e).ok) {
                end_long(readers);
                return FAILED;
        }
        (*ret_reader)->is_long = true;
        return OK;
}

void reader_return(struct reader *reader)
{
        struct readers *readers = reader->readers;
        bool fresh = reader->used_ms == 0;

        if (reader->is_long)
                end_long(readers);
        reader->is_long = false;
        pthread_mutex_lock(&readers->lock);
        reader->used_ms = clock_mono_ms();
        reader->next = readers->first;
        readers->first = reader;
        readers->lent--;
        pthread_cond_signal(&readers->home);
        pthread_mutex_unlock(&readers->lock);
        if (fresh)
                readers->opened(readers->opened_arg);
}

bool readers_trim(struct readers *readers, int64_t before_ms)
{
        struct reader *idle = NULL, **last = &readers->first;
        bool more;

        pthread_mutex_lock(&readers->lock);
        while (*last && (last == &readers->first || (*last)->used_ms > before_ms))
                last = &(*last)->next;
        idle = *last;
        *last = NULL;
        for (struct reader *reader = idle; reader; reader = reader->next)
                readers->count--;
        if (readers->first && readers->first->used_ms <= before_ms)
                sqlite3_db_release_memory(readers->first->db.handle);
        more = readers->lent > 0 || readers->count > 1 || (readers->first && readers->first->used_ms > before_ms);
        pthread_mutex_unlock(&readers->lock);
        for (struct reader *reader = idle, *next; reader; reader = next) {
                next = reader->next;
                reader_free(reader);
        }
        return more;
}
