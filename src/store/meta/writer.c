#include "store/meta/writer.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/futex.h"
#include "store/meta/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

enum change_state { CHANGE_WAITS, CHANGE_LEADS, CHANGE_DONE };
enum { STALE_MAX = 4096, STALE_NAMES_MAX = 256 * 1024, BATCH_MAX = 256 };
enum { LEADERS = 3 };                   /* one commits, one syncs, one tells those of a batch before */

/* --- Sleeping and waking ---------------------------------------------------------------------------------------------- */

/* Each caller is woken alone: its change has ended, or it has the turn. */
static void wait_for(struct change *change)
{
        while (atomic_load(&change->state) == CHANGE_WAITS)
                futex_wait(&change->state, CHANGE_WAITS, -1);
}

static void wake(struct change *change, enum change_state state)
{
        CHECK(!change->done);
        atomic_store(&change->state, (int)state);
        futex_wake(&change->state);
}

static void end(struct change *change)
{
        if (change->done)
                change->done(change);
        else
                wake(change, CHANGE_DONE);
}

/* A caller that waits for its own change is not kept with those of others. */
static void give_turn(struct writer *w, struct change *next)
{
        if (next->run)
                pool_submit(w->leaders, &w->lead_task);
        else
                wake(next, CHANGE_LEADS);
}

/* --- What became stale ------------------------------------------------------------------------------------------------ */

static bool stale_grow(struct stale *stale)
{
        size_t capacity = MAX(stale->capacity * 2, (size_t)32);
        struct meta_change *items;

        if (capacity > STALE_MAX)
                return false;
        items = realloc(stale->items, capacity * sizeof *items);
        if (!items)
                return false;
        stale->items = items;
        stale->capacity = capacity;
        return true;
}

void tx_stale(struct tx *tx, struct slice repository, struct slice tag, const struct digest *digest)
{
        struct stale *stale = &tx->writer->stale;

        if (!repository.p || !tag.p || (stale->count == stale->capacity && !stale_grow(stale)))
                stale->all = true;
        else
                stale->items[stale->count++] = (struct meta_change){ .repository = repository, .tag = tag, .digest = *digest };
}

struct slice tx_keep(struct tx *tx, struct slice name)
{
        return arena_copy(&tx->writer->stale.names, name);
}

static void stale_reset(struct stale *stale)
{
        stale->count = 0;
        stale->all = false;
        arena_fini(&stale->names);
}

static void tell_stale(struct writer *w)
{
        struct stale *stale = &w->stale;
        struct meta_change all = { .repository = S(""), .tag = S("") };

        if (w->changed && stale->all)
                w->changed(w->changed_arg, &all, 1);
        else if (w->changed && stale->count)
                w->changed(w->changed_arg, stale->items, stale->count);
        stale_reset(stale);
}

/* --- The transaction -------------------------------------------------------------------------------------------------- */

static void roll_back(struct writer *w)
{
        struct err ignored;

        /* After some failures SQLite has rolled back by itself. */
        if (!sqlite3_get_autocommit(w->db.handle))
                IGNORE(db_change(&w->db, SQL_ROLLBACK, NO_VALUES, &ignored));
        stale_reset(&w->stale);
}

/* false: it failed and left rows behind, so that the transaction is spoiled. */
static bool run_change(struct tx *tx, struct change *change)
{
        struct writer *w = tx->writer;
        sqlite3_int64 before = sqlite3_total_changes64(w->db.handle);
        size_t stale_count = w->stale.count;

        change->result = change->run(tx, change->arg, change->e);
        if (change->result.ok)
                return true;
        w->stale.count = stale_count;
        return sqlite3_total_changes64(w->db.handle) == before && !sqlite3_get_autocommit(w->db.handle);
}

/* Runs changes from `first` up to, not including, `end`. */
static RESULT transact(struct writer *w, struct change *first, struct change *end, bool *ret_spoiled, struct err *e)
{
        struct tx tx = { .db = &w->db, .now_us = clock_now_us(), .writer = w };

        *ret_spoiled = false;
        TRY(db_change(&w->db, SQL_BEGIN, NO_VALUES, e));
        for (struct change *change = first; change != end; change = change->next) {
                if (!run_change(&tx, change)) {
                        *ret_spoiled = true;
                        roll_back(w);
                        return OK;
                }
        }
        if (!db_change(&w->db, SQL_COMMIT, NO_VALUES, e).ok) {
                roll_back(w);
                return FAILED;
        }
        w->commits++;
        return OK;
}

static void fail_all(struct change *first, struct change *end, const struct err *e)
{
        for (struct change *change = first; change != end; change = change->next) {
                if (!change->result.ok)
                        continue;                       /* it has its own reason */
                change->result = FAILED;
                *change->e = *e;
        }
}

static void run_alone(struct writer *w, struct change *change)
{
        bool spoiled;
        struct err e;

        change->result = OK;
        if (!transact(w, change, change->next, &spoiled, &e).ok)
                fail_all(change, change->next, &e);
}

static void run_batch(struct writer *w, struct change *first)
{
        bool spoiled;
        struct err e;

        if (!transact(w, first, NULL, &spoiled, &e).ok)
                fail_all(first, NULL, &e);
        if (!spoiled || !first->next)
                return;
        for (struct change *change = first; change; change = change->next) {
                run_alone(w, change);
                tell_stale(w);
        }
}

/* --- The sync --------------------------------------------------------------------------------------------------------- */

static RESULT sync_log(struct writer *w, struct err *e)
{
        w->sync_count++;
        if (fs_sync(w->log_fd, w->log_path, e).ok)
                return OK;
        w->log_suspect = true;
        return FAILED;
}

/* After a failed sync the kernel may hold pages for clean that are not on the disk, and the next sync would say OK. So what the
 * log holds is copied into the database, which is synced by other pages, and the log begins anew. */
static RESULT restore_log(struct writer *w, struct err *e)
{
        int64_t busy;

        TRY(db_number(&w->db, "PRAGMA wal_checkpoint(TRUNCATE)", &busy, e));
        if (busy)
                return FAIL(e, ERR_TIMEOUT, 0, "the database's log is in use, it cannot be made anew after a failed sync");
        w->log_suspect = false;
        return OK;
}

/* --- The turn --------------------------------------------------------------------------------------------------------- */

static struct queue *queue_of(struct writer *w, const struct change *change)
{
        return change->synced ? &w->durable : &w->now;
}

/* true: nobody is at work, the turn is the caller's. */
static bool enqueue(struct writer *w, struct change *change)
{
        struct queue *queue = queue_of(w, change);
        bool mine;

        pthread_mutex_lock(&w->lock);
        *queue->last = change;
        queue->last = &change->next;
        mine = !w->busy && !(change->synced && w->syncing);
        if (mine)
                w->busy = true;
        pthread_mutex_unlock(&w->lock);
        return mine;
}

/* Takes the changes of a queue up to the first that wants to be alone, as many as a turn may hold; returns where the next may be
 * appended. */
static struct change **take(struct queue *queue, struct change **at)
{
        struct change **end = &queue->first;

        for (unsigned n = 0; *end && (*end)->run && n < BATCH_MAX; n++)
                end = &(*end)->next;
        if (end == &queue->first)
                return at;
        *at = queue->first;
        queue->first = *end;
        if (!queue->first)
                queue->last = &queue->first;
        *end = NULL;
        return end;
}

static struct change *take_batch(struct writer *w)
{
        struct change *batch = NULL, **at;

        pthread_mutex_lock(&w->lock);
        at = take(&w->now, &batch);
        if (!w->syncing)
                take(&w->durable, at);
        pthread_mutex_unlock(&w->lock);
        CHECK(batch);                   /* who has the turn has it for one of these */
        return batch;
}

static void take_alone(struct writer *w, struct change *change)
{
        pthread_mutex_lock(&w->lock);
        CHECK(w->now.first == change);
        w->now.first = change->next;
        if (!w->now.first)
                w->now.last = &w->now.first;
        pthread_mutex_unlock(&w->lock);
}

/* With the lock held: whose turn is it next? Where it is nobody's, the writer is not busy any more. */
static struct change *appoint_leader(struct writer *w)
{
        struct change *next = w->now.first;

        if (!next && !w->syncing)
                next = w->durable.first;
        w->busy = next != NULL;
        return next;
}

static void hand_on_turn(struct writer *w, bool to_sync)
{
        struct change *next;

        pthread_mutex_lock(&w->lock);
        if (to_sync)
                w->syncing = true;
        next = appoint_leader(w);
        pthread_mutex_unlock(&w->lock);
        if (next)
                give_turn(w, next);
}

static void end_sync(struct writer *w)
{
        struct change *next = NULL;

        pthread_mutex_lock(&w->lock);
        w->syncing = false;
        if (!w->busy)
                next = appoint_leader(w);
        pthread_mutex_unlock(&w->lock);
        if (next)
                give_turn(w, next);
}

/* Those of one kind leave; the leader is not woken, it is awake. Returns the others. */
static struct change *end_some(struct change *batch, const struct change *leader, bool synced)
{
        struct change *rest = NULL, **last = &rest;

        for (struct change *change = batch, *next; change; change = next) {
                next = change->next;
                if (change->synced == synced && change != leader) {
                        end(change);
                } else {
                        *last = change;
                        last = &change->next;
                }
        }
        *last = NULL;
        return rest;
}

/* Did any of these change something that must be durable? */
static bool wants_sync(const struct change *batch)
{
        for (const struct change *change = batch; change; change = change->next)
                if (change->synced && change->result.ok)
                        return true;
        return false;
}

static void fail_synced(struct change *batch, const struct err *e)
{
        for (struct change *change = batch; change; change = change->next)
                if (change->synced)
                        fail_all(change, change->next, e);
}

static void commit_batch(struct writer *w, struct change *batch)
{
        struct err e;

        for (struct change *change = batch; change; change = change->next) {
                change->result = OK;
                w->change_count++;
        }
        if (w->log_suspect && wants_sync(batch) && !restore_log(w, &e).ok)
                fail_all(batch, NULL, &e);
        else
                run_batch(w, batch);
        tell_stale(w);
        w->log_grew(w->log_grew_arg, w->log_pages);
}

/* leader: the change whose caller has the turn; NULL: a thread of ours has it. */
static void lead(struct writer *w, struct change *leader)
{
        struct change *batch = take_batch(w);
        bool to_sync;
        struct err e;

        commit_batch(w, batch);
        to_sync = wants_sync(batch);
        hand_on_turn(w, to_sync);
        batch = end_some(batch, leader, false);
        if (to_sync) {
                if (!sync_log(w, &e).ok)
                        fail_synced(batch, &e);
                end_sync(w);
        }
        end_some(batch, leader, true);
}

static void lead_for_others(struct pool_task *task)
{
        lead(CONTAINER_OF(task, struct writer, lead_task), NULL);
}

void writer_start(struct writer *w, struct change *change)
{
        change->result = OK;
        if (enqueue(w, change))
                give_turn(w, change);
}

RESULT writer_run(struct writer *w, change_fn *run, void *arg, bool synced, struct err *e)
{
        struct change change = { .run = run, .arg = arg, .synced = synced, .e = e, .result = OK };

        if (enqueue(w, &change))
                lead(w, &change);
        else
                wait_for(&change);
        return change.result;
}

RESULT writer_alone(struct writer *w, RESULT_FN(run, (struct writer *w, void *arg, struct err *e)), void *arg, struct err *e)
{
        struct change change = { .e = e };
        struct result result;

        if (!enqueue(w, &change))
                wait_for(&change);
        take_alone(w, &change);
        result = run(w, arg, e);
        hand_on_turn(w, false);
        return result;
}

struct writer_counters writer_counters(struct writer *w)
{
        return (struct writer_counters){ .changes = w->change_count, .commits = w->commits, .syncs = w->sync_count };
}

/* --- Life ------------------------------------------------------------------------------------------------------------- */

static int note_log_pages(void *arg, sqlite3 *handle, const char *name, int pages)
{
        struct writer *w = arg;

        (void)handle, (void)name;
        w->log_pages = pages;
        return SQLITE_OK;
}

static void log_grew_nowhere(void *arg, int pages)
{
        (void)arg, (void)pages;
}

/* The log is there once the database was read. Its name must be on the disk before the first sync of its bytes counts. */
static RESULT open_log(struct writer *w, const char *path, struct err *e)
{
        char folder[PATH_MAX];
        const char *slash = strrchr(path, '/');

        if (asprintf(&w->log_path, "%s-wal", path) < 0)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the database's log");
        w->log_fd = open(w->log_path, O_RDONLY | O_CLOEXEC);
        if (w->log_fd < 0)
                return FAIL(e, ERR_IO, errno, "open %s", w->log_path);
        snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
        TRY(fs_sync(w->log_fd, w->log_path, e));
        return fs_sync_dir(*folder ? folder : "/", e);
}

RESULT writer_open(struct writer *w, const char *path, struct err *e)
{
        *w = (struct writer){ .log_fd = -1, .log_grew = log_grew_nowhere, .stale.names = ARENA_INIT(STALE_NAMES_MAX) };
        pthread_mutex_init(&w->lock, NULL);
        w->now.last = &w->now.first;
        w->durable.last = &w->durable.first;
        w->lead_task.run = lead_for_others;
        TRY(pool_new(LEADERS, &w->leaders, e));
        TRY(db_open(path, DB_WRITER, &w->db, e));
        sqlite3_wal_hook(w->db.handle, note_log_pages, w);
        TRY(schema_migrate(&w->db, e));
        return open_log(w, path, e);
}

void writer_close(struct writer *w)
{
        pool_free(w->leaders);
        CHECK(!w->busy && !w->syncing);
        if (w->log_fd >= 0)
                close(w->log_fd);
        if (w->db.handle)
                db_close(&w->db);
        stale_reset(&w->stale);
        free(w->stale.items);
        free(w->log_path);
        pthread_mutex_destroy(&w->lock);
}
