/* Writes: one connection, and group commit.
 *
 * A change is a function that runs inside a transaction. Callers queue theirs and wait; who finds nobody at work takes the turn, runs
 * all that are queued in one transaction and commits. For those that came meanwhile a thread of the writer's does the same. So one
 * that is alone waits for nobody and no thread is switched, and many together share one commit.
 *
 * A commit is visible to readers at once. Its sync comes after the turn was handed on. Until that is over only changes that need
 * no sync are run; those that do gather, and share the next commit and the next sync:
 *
 *      a (synced)     [BEGIN a COMMIT][------- sync -------]
 *      b (unsynced)     b waits       [BEGIN b COMMIT]
 *      c, d (synced)        c waits     d waits            [BEGIN c d COMMIT][------- sync -------]
 *
 * Unsynced changes return after the commit: their bytes are with the kernel, which outlives the daemon.
 *
 * Nobody has to wait: a change that was submitted with writer_start() is told of its end, on the thread that had the turn.
 *
 * A change that fails leaves the others alone. As a rule it fails before it has changed a row, and then nothing must be undone;
 * otherwise the transaction is rolled back and each change of it runs again by itself. So a change may run twice: it only reads
 * its arguments and writes its results. */
#pragma once

#include "base/pool.h"
#include "store/meta/db.h"
#include "store/meta/meta.h"

#include <pthread.h>
#include <stdatomic.h>

struct tx {
        struct db *db;
        int64_t now_us;
        struct writer *writer;
};

typedef struct result change_fn(struct tx *tx, void *arg, struct err *e);

struct change {
        change_fn *run;                         /* NULL: alone, see writer_alone() */
        void *arg;
        bool synced;
        struct err *e;                          /* borrowed from the caller, which lives until the change has ended */
        void (*done)(struct change *change);    /* NULL: the caller waits. Called at the end, and the change may be gone then */
        struct result result;
        struct change *next;
        atomic_int state;                       /* enum change_state, and what its caller sleeps on */
};

struct stale {                                  /* what a transaction made stale */
        struct meta_change *items;              /* owned */
        size_t count, capacity;
        struct arena names;                     /* for those that no caller holds */
        bool all;                               /* more than fits */
};

struct queue {
        struct change *first, **last;
};

struct writer_counters {
        uint64_t changes, commits, syncs;
};

struct writer {
        struct db db;
        char *log_path;                         /* owned; SQLite's write-ahead log */
        int log_fd;                             /* owned */

        pthread_mutex_t lock;                   /* guards the queues and the turn */
        struct queue now;                       /* unsynced, and those that want to be alone */
        struct queue durable;                   /* synced */
        bool busy;                              /* somebody has the turn */
        bool syncing;                           /* somebody syncs what was committed */
        struct pool *leaders;                   /* owned; take the turn for what came while somebody had it */
        struct pool_task lead_task;             /* to take the turn; of one at a time */

        /* of whoever has the turn */
        struct stale stale;
        meta_changed_fn *changed;
        void *changed_arg;

        atomic_bool log_suspect;                /* a sync failed: the log may not be on the disk, whatever a later sync says */
        _Atomic uint64_t commits, change_count, sync_count;
        atomic_int log_pages;                   /* in the log since it began anew */
        void (*log_grew)(void *arg, int pages); /* for the keeper; after each commit */
        void *log_grew_arg;
};

/* Opens, creates, migrates. */
RESULT writer_open(struct writer *w, const char *path, struct err *e);
void writer_close(struct writer *w);
/* OK: committed, and on stable storage where `synced`. */
RESULT writer_run(struct writer *w, change_fn *run, void *arg, bool synced, struct err *e);
/* The same without waiting, on any thread. The caller has set run, arg, synced, e and done; done may be called before this
 * returns. */
void writer_start(struct writer *w, struct change *change);
/* Runs while no transaction is open and none begins. */
RESULT writer_alone(struct writer *w, RESULT_FN(run, (struct writer *w, void *arg, struct err *e)), void *arg, struct err *e);
struct writer_counters writer_counters(struct writer *w);

/* Notes what a change makes stale. The names must live until the change's caller returns; tx_keep() copies one that does not. */
void tx_stale(struct tx *tx, struct slice repository, struct slice tag, const struct digest *digest);
struct slice tx_keep(struct tx *tx, struct slice name);
