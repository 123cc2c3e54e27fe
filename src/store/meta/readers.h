/* Connections for reading, lent to whoever asks. A few, opened when they are needed, closed when they were idle for a while: each
 * has a cache of its own.
 *
 *      _cleanup_(reader_returnp) struct reader *reader = NULL;
 *
 *      TRY(reader_lend(&m->readers, &reader, e));
 *      ... reader->db ...
 *
 * Any thread; waits while all are lent. Who reads for seconds asks with reader_lend_long(): only one of these is served at a time, so
 * that there are always others for requests. */
#pragma once

#include "store/meta/db.h"

#include <pthread.h>

enum { READERS_MAX = 4 };

struct reader {
        struct db db;
        struct readers *readers;        /* borrowed, outlives it */
        struct reader *next;            /* among those at home */
        int64_t used_ms;
        bool is_long;
};

struct readers {
        const char *path;               /* borrowed */
        pthread_mutex_t lock;
        pthread_cond_t home;
        struct reader *first;           /* at home, the last used first */
        unsigned count, lent;
        bool long_lent;                 /* somebody reads for long */
        pthread_cond_t long_home;
        void (*opened)(void *arg);      /* for the keeper */
        void *opened_arg;
};

void readers_init(struct readers *readers, const char *path);
void readers_fini(struct readers *readers);             /* all are at home */
RESULT reader_lend(struct readers *readers, struct reader **ret_reader, struct err *e);
RESULT reader_lend_long(struct readers *readers, struct reader **ret_reader, struct err *e);
void reader_return(struct reader *reader);
DEFINE_CLEANUP(struct reader *, reader_return)
/* Closes all but one of those that were idle since `before_ms`, and empties the cache of the last. false: nothing is left to do. */
bool readers_trim(struct readers *readers, int64_t before_ms);
