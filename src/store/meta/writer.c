#include "store/meta/writer.h"

#include "base/clock.h"
#include "base/fs.h"
#include "store/meta/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>

enum change_state { CHANGE_WAITS, CHANGE_LEADS, CHANGE_DONE };
enum { STALE_MAX = 4096, STALE_NAMES_MAX = 256 * 1024 };

/* --- Sleeping and waking ---------------------------------------------------------------------------------------------- */

/* A futex in the change itself: each caller is woken alone, and a wake that comes late, when the change's stack frame is gone,
 * does no harm. That of a condition variable would. */
static enum change_state wait_for_turn(struct change *change)
{
        int state;

        while ((state = atomic_load(&change->state)) == CHANGE_WAITS)
                syscall(SYS_futex, &change->state, FUTEX_WAIT_PRIVATE, CHANGE_WAITS, NULL, NULL, 0);
        return (enum change_state)state;
}

static void wake(struct change *change, enum change_state state)
{
        atomic_store(&change->state, (int)state);
        syscall(SYS_futex, &change->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
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

        for (struct change *change = first; change; change = change->next)
                change->result = OK;
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

static RESULT sync_locked(struct writer *w, uint64_t commit, struct err *e)
{
        uint64_t commits = w->commits;

        if (w->synced_commits >= commit)
                return OK;
        if (w->log_suspect)
                return FAIL(e, ERR_IO, EIO, "the database's log could not be synced just before");
        w->sync_count++;
        if (!fs_sync(w->log_fd, w->log_path, e).ok) {
                w->log_suspect = true;
                return FAILED;
        }
        w->synced_commits = commits;
        return OK;
}

/* Makes all commits up to this one durable. */
static RESULT sync_log(struct writer *w, uint64_t commit, struct err *e)
{
        struct result result;

        pthread_mutex_lock(&w->sync_lock);
        result = sync_locked(w, commit, e);
        pthread_mutex_unlock(&w->sync_lock);
        return result;
}

/* After a failed sync the kernel may hold pages for clean that are not on the disk, and the next sync would say OK. So what the
 * log holds is copied into the database, which is synced by other pages, and the log begins anew. */
static RESULT restore_log(struct writer *w, struct err *e)
{
        int64_t busy;

        if (!w->log_suspect)
                return OK;
        TRY(db_number(&w->db, "PRAGMA wal_checkpoint(TRUNCATE)", &busy, e));
        if (busy)
                return FAIL(e, ERR_TIMEOUT, 0, "the database's log is in use, it cannot be made anew after a failed sync");
        pthread_mutex_lock(&w->sync_lock);
        w->log_suspect = false;
        w->synced_commits = w->commits;
        pthread_mutex_unlock(&w->sync_lock);
        return OK;
}

/* --- The turn --------------------------------------------------------------------------------------------------------- */

/* true: nobody is at work, the turn is the caller's. */
static bool enqueue(struct writer *w, struct change *change)
{
        bool mine;

        pthread_mutex_lock(&w->lock);
        *w->last = change;
        w->last = &change->next;
        mine = !w->busy;
        w->busy = true;
        pthread_mutex_unlock(&w->lock);
        return mine;
}

/* All that wait, up to the first that wants to be alone; the caller is the first. */
static void take_batch(struct writer *w, struct change *leader)
{
        struct change **end = &leader->next;

        pthread_mutex_lock(&w->lock);
        CHECK(w->first == leader);
        while (leader->run && *end && (*end)->run)
                end = &(*end)->next;
        w->first = *end;
        if (!w->first)
                w->last = &w->first;
        *end = NULL;
        pthread_mutex_unlock(&w->lock);
}

static void hand_on_turn(struct writer *w)
{
        struct change *next;

        pthread_mutex_lock(&w->lock);
        next = w->first;
        if (!next)
                w->busy = false;
        pthread_mutex_unlock(&w->lock);
        if (next)
                wake(next, CHANGE_LEADS);
}

/* Those of one kind leave; the leader is not woken, it is awake. */
static struct change *wake_some(struct change *first, const struct change *leader, bool synced)
{
        struct change *rest = NULL, **last = &rest;

        for (struct change *change = first, *next; change; change = next) {
                next = change->next;
                if (change == leader)
                        continue;
                if (change->synced == synced) {
                        wake(change, CHANGE_DONE);
                } else {
                        *last = change;
                        last = &change->next;
                }
        }
        *last = NULL;
        return rest;
}

/* Did any of these change something that must be durable? */
static bool wants_sync(const struct change *leader, const struct change *rest)
{
        if (leader->synced && leader->result.ok)
                return true;
        for (const struct change *change = rest; change; change = change->next)
                if (change->result.ok)
                        return true;
        return false;
}

static void sync_batch(struct writer *w, struct change *leader, struct change *rest, uint64_t commit)
{
        struct err e;

        leader->next = NULL;
        if (wants_sync(leader, rest) && !sync_log(w, commit, &e).ok) {
                fail_all(rest, NULL, &e);
                if (leader->synced)
                        fail_all(leader, NULL, &e);
        }
        wake_some(rest, leader, true);
}

static void lead(struct writer *w, struct change *leader)
{
        uint64_t commits, count = 0;
        struct err e;

        take_batch(w, leader);
        for (struct change *change = leader; change; change = change->next)
                count++;
        w->change_count += count;
        if (restore_log(w, &e).ok)
                run_batch(w, leader);
        else
                fail_all(leader, NULL, &e);
        tell_stale(w);
        commits = w->commits;
        w->log_grew(w->log_grew_arg, w->log_pages);
        hand_on_turn(w);
        sync_batch(w, leader, wake_some(leader, leader, false), commits);
}

RESULT writer_run(struct writer *w, change_fn *run, void *arg, bool synced, struct err *e)
{
        struct change change = { .run = run, .arg = arg, .synced = synced, .e = e, .result = OK };

        if (enqueue(w, &change) || wait_for_turn(&change) == CHANGE_LEADS)
                lead(w, &change);
        return change.result;
}

RESULT writer_alone(struct writer *w, RESULT_FN(run, (struct writer *w, void *arg, struct err *e)), void *arg, struct err *e)
{
        struct change change = { .e = e };
        struct result result;

        if (!enqueue(w, &change))
                wait_for_turn(&change);
        take_batch(w, &change);
        result = run(w, arg, e);
        hand_on_turn(w);
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
        pthread_mutex_init(&w->sync_lock, NULL);
        w->last = &w->first;
        TRY(db_open(path, DB_WRITER, &w->db, e));
        sqlite3_wal_hook(w->db.handle, note_log_pages, w);
        TRY(schema_migrate(&w->db, e));
        return open_log(w, path, e);
}

void writer_close(struct writer *w)
{
        CHECK(!w->busy);
        if (w->log_fd >= 0)
                close(w->log_fd);
        if (w->db.handle)
                db_close(&w->db);
        stale_reset(&w->stale);
        free(w->stale.items);
        free(w->log_path);
        pthread_mutex_destroy(&w->lock);
        pthread_mutex_destroy(&w->sync_lock);
}
