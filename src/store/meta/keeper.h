/* The store's housekeeping, on a thread of its own that sleeps while there is nothing to do.
 *
 * Checkpoints: what the log holds is copied into the database while writers go on. A log that is copied whole begins anew with
 * the next commit; where writers were faster, the rest is copied while they wait (a few pages). So the log stays near
 * LOG_PAGES, and after a second without commits nothing is left to be read again by the next start.
 * Memory: after a while without use, caches are emptied and surplus connections closed. */
#pragma once

#include "store/meta/readers.h"
#include "store/meta/writer.h"

struct keeper {
        struct writer *writer;          /* borrowed */
        struct readers *readers;        /* borrowed */
        const char *path;               /* borrowed */
        struct db db;                   /* open while there is work */
        pthread_t thread;
        bool running;

        pthread_mutex_t lock;
        pthread_cond_t poke;
        bool ending, readers_opened;
        int copied_pages;               /* of the log, when it was last copied whole; -1: it could not be */
        int due_pages;                  /* at which it is copied, busy or not */
        int64_t grew_ms;                /* when its size was last seen to change, */
        int seen_pages;                 /* to this */
        atomic_int wake_at;             /* pages at which a commit wakes the keeper */
};

RESULT keeper_start(struct keeper *keeper, struct writer *writer, struct readers *readers, const char *path, struct err *e);
void keeper_stop(struct keeper *keeper);
