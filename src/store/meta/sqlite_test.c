/* What the metadata store promises beyond its contract because it is SQLite: group commit, crashes, failures below it, old and
 * foreign files, and that no query walks a table. */
#include "store/meta/internal.h"
#include "store/meta/testing.h"

#include "base/fs.h"
#include "store/meta/schema.h"

#include <signal.h>
#include <sys/wait.h>

static void database_path(const struct world *w, char ret_path[static 128])
{
        snprintf(ret_path, 128, "%s/orlop.db", w->folder);
}

/* Changes the file behind the store's back, while it is closed. */
static void script(const struct world *w, const char *text)
{
        char path[128];
        sqlite3 *handle;

        database_path(w, path);
        assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
        if (sqlite3_exec(handle, text, NULL, NULL, NULL) != SQLITE_OK)
                fail_msg("%s: %s", text, sqlite3_errmsg(handle));
        sqlite3_close(handle);
}

static int64_t number(struct world *w, const char *text)
{
        struct reader *reader;
        int64_t n;

        must(reader_lend(&w->meta->readers, &reader, &e));
        must(db_number(&reader->db, text, &n, &e));
        reader_return(reader);
        return n;
}

/* --- Queries ---------------------------------------------------------------------------------------------------------- */

static void expect_plan(struct world *w, const char *name, const char *text)
{
        char query[2048];
        sqlite3_stmt *statement;
        struct reader *reader;

        snprintf(query, sizeof query, "EXPLAIN QUERY PLAN %s", text);
        must(reader_lend(&w->meta->readers, &reader, &e));
        assert_int_equal(sqlite3_prepare_v2(reader->db.handle, query, -1, &statement, NULL), SQLITE_OK);
        while (sqlite3_step(statement) == SQLITE_ROW) {
                const char *step = (const char *)sqlite3_column_text(statement, 3);

                if (strstr(step, "SCAN") || strstr(step, "TEMP B-TREE") || strstr(step, "AUTOMATIC"))
                        fail_msg("%s: %s", name, step);
        }
        sqlite3_finalize(statement);
        reader_return(reader);
}

static void no_query_walks_a_table(void **state)
{
#define X(name, text) expect_plan(*state, #name, text);
        META_STATEMENTS(X)
#undef X
}

/* The rows that a foreign key refers to are found by an index, too, or a deletion would walk the table that names them. */
static void references_are_indexed(void **state)
{
        struct world *w = *state;

        expect_plan(w, "manifests of blobs", "SELECT 1 FROM manifest_blobs WHERE blob_id = 1 AND repository_id = 1");
        expect_plan(w, "links of a blob", "SELECT 1 FROM repository_blobs WHERE blob_id = 1");
        expect_plan(w, "blobs of a manifest", "SELECT 1 FROM manifest_blobs WHERE manifest_id = 1");
        expect_plan(w, "children", "SELECT 1 FROM manifest_references WHERE parent_id = 1");
        expect_plan(w, "parents", "SELECT 1 FROM manifest_references WHERE child_id = 1");
        expect_plan(w, "tags of a manifest", "SELECT 1 FROM tags WHERE manifest_id = 1");
        expect_plan(w, "queued manifests", "SELECT 1 FROM gc_manifest_queue WHERE manifest_id = 1");
        expect_plan(w, "due manifests", "SELECT 1 FROM gc_manifest_queue WHERE orphaned = 1 AND since_us < 1 ORDER BY since_us");
        expect_plan(w, "due objects", "SELECT 1 FROM object_trash WHERE since_us < 1 ORDER BY since_us");
}

/* --- Versions and foreign files --------------------------------------------------------------------------------------- */

static void newer_store_is_refused(void **state)
{
        struct world *w = *state;
        char text[64];

        put(w, S("a"), S("{}"), S("x"));
        meta_free(TAKE_PTR(w->meta));
        snprintf(text, sizeof text, "PRAGMA user_version = %d", schema_version() + 1);
        script(w, text);
        must_fail(meta_sqlite_open(w->folder, &w->meta, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.message, "newer"));
        assert_null(w->meta);
        snprintf(text, sizeof text, "PRAGMA user_version = %d", schema_version());
        script(w, text);
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        assert_int_equal(number(w, "SELECT count(*) FROM tags"), 1);
}

static void foreign_files_are_refused(void **state)
{
        static const struct {
                const char *name;
                enum err_code code;
        } cases[] = {
                { "garbage", ERR_CORRUPT },
                { "somebody else's database", ERR_CORRUPT },
                { "a folder", ERR_IO },
                { "no data folder", ERR_IO },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct world w = { .folder = "/tmp/orlop-meta-test-XXXXXX" };
                char path[128], command[256];

                assert_non_null(mkdtemp(w.folder));
                database_path(&w, path);
                if (i == 0)
                        must(fs_publish_file(path, S("this is no database, however long one looks at it, it stays a text"), 0600, &e));
                else if (i == 1)
                        script(&w, "CREATE TABLE wine (name TEXT)");
                else if (i == 2)
                        must(fs_mkdir(path, 0700, &e));
                else
                        assert_int_equal(rmdir(w.folder), 0);
                assert_false(meta_sqlite_open(w.folder, &w.meta, &e).ok);
                if (e.code != cases[i].code)
                        fail_msg("%s: error %d: %s", cases[i].name, (int)e.code, e.message);
                snprintf(command, sizeof command, "rm -rf %s", w.folder);
                assert_int_equal(system(command), 0);
        }
}

static void damage_is_found(void **state)
{
        struct world *w = *state;

        put_index(w, S("a"), S("{index}"), (put(w, S("a"), S("{child}"), S("")), S("{child}")), S("x"));
        meta_free(TAKE_PTR(w->meta));
        script(w, "PRAGMA foreign_keys = OFF; DELETE FROM manifests WHERE id = 1");
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        must_fail(meta_check(w->meta, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.message, "names a row of manifests"));
        meta_free(TAKE_PTR(w->meta));
        script(w, "DELETE FROM manifest_references; DELETE FROM gc_manifest_queue;"
                  "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'tags_manifest'");
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        must_fail(meta_check(w->meta, &e), ERR_CORRUPT);
}

/* --- Group commit ----------------------------------------------------------------------------------------------------- */

enum { CROWD = 16 };

struct job {
        struct world *w;
        pthread_t thread;
        change_fn *run;
        struct slice name;
        bool synced;
        struct result result;
        struct err err;
};

static RESULT add_repository(struct tx *tx, void *arg, struct err *err)
{
        struct job *job = arg;
        struct repository repository;

        return repository_find_or_add(tx, job->name, &repository, err);
}

static RESULT refuse(struct tx *tx, void *arg, struct err *err)
{
        (void)tx, (void)arg;
        return FAIL(err, ERR_DENIED, 0, "refused before anything was changed");
}

static RESULT change_and_fail(struct tx *tx, void *arg, struct err *err)
{
        TRY(add_repository(tx, arg, err));
        return FAIL(err, ERR_EXISTS, 0, "refused after a change");
}

/* A reference to nothing that is looked at only when the transaction is committed. */
static RESULT spoil_commit(struct tx *tx, void *arg, struct err *err)
{
        struct job *job = arg;

        TRY(db_script(tx->db, "PRAGMA defer_foreign_keys = ON", err));
        return db_change(tx->db, SQL_UPLOAD_ADD, VALUES(V_T(job->name), V_I(999), V_B(S("x")), V_I(1)), err);
}

static void *run_job(void *arg)
{
        struct job *job = arg;

        job->result = writer_run(&job->w->meta->writer, job->run, job, job->synced, &job->err);
        return NULL;
}

static size_t waiting(struct writer *w)
{
        size_t n = 0;

        pthread_mutex_lock(&w->lock);
        for (struct change *change = w->now.first; change; change = change->next)
                n++;
        for (struct change *change = w->durable.first; change; change = change->next)
                n++;
        pthread_mutex_unlock(&w->lock);
        return n;
}

/* While nobody else may work: starts the jobs and waits until all are queued. */
static RESULT gather(struct writer *w, void *arg, struct err *err)
{
        struct job *jobs = arg;

        (void)err;
        for (size_t i = 0; i < CROWD; i++)
                assert_int_equal(pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]), 0);
        while (waiting(w) < CROWD)
                usleep(1000);
        return OK;
}

/* Runs all jobs together; gives what it cost. */
static struct writer_counters run_together(struct world *w, struct job jobs[static CROWD])
{
        struct writer_counters before = writer_counters(&w->meta->writer), after;

        for (size_t i = 0; i < CROWD; i++) {
                jobs[i].w = w;
                jobs[i].name = arena_printf(&w->arena, "repository-%zu", i);
                if (!jobs[i].run)
                        jobs[i].run = add_repository;
        }
        must(writer_alone(&w->meta->writer, gather, jobs, &e));
        for (size_t i = 0; i < CROWD; i++)
                pthread_join(jobs[i].thread, NULL);
        after = writer_counters(&w->meta->writer);
        return (struct writer_counters){
                .changes = after.changes - before.changes,
                .commits = after.commits - before.commits,
                .syncs = after.syncs - before.syncs,
        };
}

static void those_who_wait_share_a_commit_and_a_sync(void **state)
{
        struct world *w = *state;
        struct job jobs[CROWD] = { 0 };
        struct writer_counters cost;

        for (size_t i = 0; i < CROWD; i++)
                jobs[i].synced = true;
        cost = run_together(w, jobs);
        assert_int_equal(cost.changes, CROWD);
        assert_int_equal(cost.commits, 1);
        assert_int_equal(cost.syncs, 1);
        assert_int_equal(number(w, "SELECT count(*) FROM repositories"), CROWD);
}

struct started {
        struct change change;
        struct job job;
        struct err err;
        atomic_int *over;
};

static void note_end(struct change *change)
{
        struct started *started = CONTAINER_OF(change, struct started, change);

        atomic_fetch_add(started->over, 1);
}

/* Changes that nobody waits for, beside some that are waited for: each is told of its end once, and all is durable then. */
static void nobody_has_to_wait(void **state)
{
        enum { STARTED = 1000 };
        struct world *w = *state;
        struct writer *writer = &w->meta->writer;
        struct started *started = calloc(STARTED, sizeof *started);
        struct writer_counters before = writer_counters(writer), after;
        struct job waits = { .w = w, .run = refuse };
        atomic_int over = 0;

        assert_non_null(started);
        for (size_t i = 0; i < STARTED; i++) {
                started[i].job = (struct job){ .w = w, .name = arena_printf(&w->arena, "started-%zu", i) };
                started[i].over = &over;
                started[i].change = (struct change){
                        .run = i % 10 == 3 ? refuse : add_repository,
                        .arg = &started[i].job,
                        .synced = i % 3 == 0,
                        .e = &started[i].err,
                        .done = note_end,
                };
                writer_start(writer, &started[i].change);
                if (i % 100 == 0)
                        must_fail(writer_run(writer, waits.run, &waits, i % 200 == 0, &e), ERR_DENIED);
        }
        while (over < STARTED)
                usleep(1000);
        for (size_t i = 0; i < STARTED; i++)
                assert_int_equal(started[i].change.result.ok, i % 10 != 3);
        after = writer_counters(writer);
        assert_int_equal(after.changes - before.changes, STARTED + STARTED / 100);
        assert_true(after.syncs > before.syncs && after.commits - before.commits < STARTED);
        assert_int_equal(number(w, "SELECT count(*) FROM repositories"), STARTED * 9 / 10);
        free(started);
}

static void unsynced_changes_cost_no_sync(void **state)
{
        struct world *w = *state;
        struct job jobs[CROWD] = { 0 };
        struct writer_counters cost = run_together(w, jobs);
        struct upload_id id = upload_id_new();

        assert_int_equal(cost.commits, 1);
        assert_int_equal(cost.syncs, 0);
        must(meta_upload_begin(w->meta, S("a"), &id, S("x"), &e));
        must(meta_upload_save(w->meta, &id, 1, S("y"), &e));
        must(meta_upload_remove(w->meta, S("a"), &id, &e));
        assert_int_equal(writer_counters(&w->meta->writer).syncs, 0);
        put(w, S("a"), S("{}"), S("x"));
        assert_int_equal(writer_counters(&w->meta->writer).syncs, 1);
        must_fail(meta_tag_delete(w->meta, S("a"), S("y"), &e), ERR_MANIFEST_UNKNOWN);
        assert_int_equal(writer_counters(&w->meta->writer).syncs, 1);
}

/* Whether they fail before or after they changed something: theirs is undone, that of the others is not. */
static void one_failure_leaves_the_others_alone(void **state)
{
        struct world *w = *state;
        struct job jobs[CROWD] = { 0 };
        struct writer_counters cost;

        jobs[3].run = refuse;
        jobs[3].synced = jobs[4].synced = true;
        cost = run_together(w, jobs);
        assert_int_equal(cost.commits, 1);
        for (size_t i = 0; i < CROWD; i++)
                assert_int_equal(jobs[i].result.ok, i != 3);
        assert_int_equal(jobs[3].err.code, ERR_DENIED);
        assert_int_equal(number(w, "SELECT count(*) FROM repositories"), CROWD - 1);

        script(w, "DELETE FROM repositories");
        memset(jobs, 0, sizeof jobs);
        jobs[7].run = change_and_fail;
        jobs[9].run = refuse;
        run_together(w, jobs);
        for (size_t i = 0; i < CROWD; i++)
                assert_int_equal(jobs[i].result.ok, i != 7 && i != 9);
        assert_int_equal(jobs[7].err.code, ERR_EXISTS);
        assert_int_equal(number(w, "SELECT count(*) FROM repositories"), CROWD - 2);
        assert_int_equal(number(w, "SELECT count(*) FROM repositories WHERE name = 'repository-7'"), 0);
}

static void failed_commit_is_everybodys(void **state)
{
        struct world *w = *state;
        struct job jobs[CROWD] = { 0 };

        jobs[5].run = spoil_commit;
        run_together(w, jobs);
        for (size_t i = 0; i < CROWD; i++) {
                assert_false(jobs[i].result.ok);
                assert_int_equal(jobs[i].err.code, ERR_INTERNAL);
        }
        assert_int_equal(number(w, "SELECT count(*) FROM repositories"), 0);
        put(w, S("a"), S("{}"), S("x"));
        must(meta_check(w->meta, &e));
}

/* --- Trouble below ---------------------------------------------------------------------------------------------------- */

static void full_disk_is_told_and_passes(void **state)
{
        struct world *w = *state;
        char *text = arena_alloc(&w->arena, 1024 * 1024);
        struct slice large = { text, 1024 * 1024 };
        struct digest digest = digest_of(large);
        struct meta_manifest manifest = { .digest = digest, .media_type = IMAGE_TYPE, .payload = large, .size = large.n };

        put(w, S("a"), S("{}"), S("x"));
        must(db_script(&w->meta->writer.db, "PRAGMA max_page_count = 100", &e));
        must_fail(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, NULL, 0, &e), ERR_FULL);
        must(meta_tag_delete(w->meta, S("a"), S("x"), &e));
        must(db_script(&w->meta->writer.db, "PRAGMA max_page_count = 1000000", &e));
        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, NULL, 0, &e));
        must(meta_check(w->meta, &e));
}

/* A pipe cannot be synced. */
static void failed_sync_is_told_and_made_good(void **state)
{
        struct world *w = *state;
        struct writer *writer = &w->meta->writer;
        int pipe_fds[2], log_fd = dup(writer->log_fd);
        struct upload_id id = upload_id_new();
        atomic_int over = 0;
        struct started started = { .job = { .w = w, .name = S("later") }, .over = &over };

        assert_int_equal(pipe(pipe_fds), 0);
        put(w, S("a"), S("{}"), S("x"));
        assert_int_equal(dup2(pipe_fds[0], writer->log_fd), writer->log_fd);
        must_fail(meta_tag_delete(w->meta, S("a"), S("x"), &e), ERR_IO);
        writer->log_suspect = false;
        started.change = (struct change){ .run = add_repository, .arg = &started.job, .synced = true, .e = &started.err, .done = note_end };
        writer_start(writer, &started.change);
        while (!over)
                usleep(1000);
        assert_false(started.change.result.ok);         /* who does not wait is told, too, and not before it is known */
        assert_int_equal(started.err.code, ERR_IO);
        assert_true(writer->log_suspect);
        must(meta_upload_begin(w->meta, S("a"), &id, S("x"), &e));      /* asks for no sync */
        assert_true(writer->log_suspect);
        assert_int_equal(dup2(log_fd, writer->log_fd), writer->log_fd);

        put(w, S("a"), S("{}"), S("y"));
        assert_false(writer->log_suspect);
        must(meta_check(w->meta, &e));
        close(log_fd);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
}

static void database_held_by_another_program(void **state)
{
        struct world *w = *state;
        char path[128];
        sqlite3 *other;

        database_path(w, path);
        sqlite3_busy_timeout(w->meta->writer.db.handle, 20);
        assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
        assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        must_fail(manifest_put(w->meta, S("a"), S("{}"), NULL, 0, S("x"), &e), ERR_TIMEOUT);
        assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        put(w, S("a"), S("{}"), S("x"));
        sqlite3_close(other);
}

/* --- The log ---------------------------------------------------------------------------------------------------------- */

static off_t log_size(const struct world *w)
{
        struct stat st;

        assert_int_equal(stat(w->meta->writer.log_path, &st), 0);
        return st.st_size;
}

/* What the database holds without its log. */
static int64_t received_without_log(const struct world *w)
{
        char path[128], copy[256], command[512];
        sqlite3_stmt *statement;
        sqlite3 *handle;
        int64_t received;

        database_path(w, path);
        snprintf(copy, sizeof copy, "%s/copy.db", w->folder);
        snprintf(command, sizeof command, "cp %s %s", path, copy);
        assert_int_equal(system(command), 0);
        assert_int_equal(sqlite3_open(copy, &handle), SQLITE_OK);
        assert_int_equal(sqlite3_prepare_v2(handle, "SELECT received FROM uploads", -1, &statement, NULL), SQLITE_OK);
        received = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
        sqlite3_finalize(statement);
        sqlite3_close(handle);
        return received;
}

static void log_stays_small_and_is_copied_when_idle(void **state)
{
        enum { WRITES = 20000, STATE_BYTES = 3000, BOUND = 16 * 1024 * 1024, PATIENCE = 600 };
        struct world *w = *state;
        struct upload_id id = upload_id_new();
        char text[STATE_BYTES] = { 0 };
        int tries = 0;

        must(meta_upload_begin(w->meta, S("a"), &id, S("x"), &e));
        for (uint64_t i = 1; i <= WRITES; i++)
                must(meta_upload_save(w->meta, &id, i, (struct slice){ text, sizeof text }, &e));
        assert_in_range(log_size(w), 1, BOUND);
        while (received_without_log(w) != WRITES && tries++ < PATIENCE)
                usleep(100000);
        assert_in_range(tries, 0, PATIENCE - 1);
}

/* --- Collection ------------------------------------------------------------------------------------------------------- */

static void whatever_may_be_garbage_is_queued(void **state)
{
        struct world *w = *state;
        struct digest blob = add_blob(w, S("a"), S("blob")), index, image = digest_of(S("{image}"));

        assert_int_equal(number(w, "SELECT count(*) FROM gc_blob_queue"), 1);           /* fresh */
        must(manifest_put(w->meta, S("a"), S("{image}"), &(struct meta_part){ .digest = blob, .size = 4 }, 1, S("x"), &e));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 0);
        index = put_index(w, S("a"), S("{index}"), S("{image}"), S(""));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 1);       /* untagged */
        put_index(w, S("a"), S("{index 2}"), S("{image}"), S("x"));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 2);       /* lost its tag */
        must(meta_tag_delete(w->meta, S("a"), S("x"), &e));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 3);
        must(meta_manifest_delete(w->meta, S("a"), &index, &e));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 2);       /* itself no more, its child still */
        must(meta_manifest_delete(w->meta, S("a"), DIGEST("{index 2}"), &e));
        must(meta_manifest_delete(w->meta, S("a"), &image, &e));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_manifest_queue"), 0);
        assert_int_equal(number(w, "SELECT count(*) FROM gc_blob_queue"), 2);           /* left by its manifest */
        must(meta_blob_mount(w->meta, S("a"), S("b"), &blob, &e));
        must(meta_blob_delete(w->meta, S("a"), &blob, &e));
        assert_int_equal(number(w, "SELECT count(*) FROM gc_blob_queue"), 4);
        must(meta_check(w->meta, &e));
}

/* Asking for a blob whose review is near puts it off; asking for one that is safe writes nothing. */
static void asking_puts_a_review_off(void **state)
{
        struct world *w = *state;
        struct digest blob = add_blob(w, S("a"), S("blob"));
        struct meta_blob got;
        uint64_t changes = writer_counters(&w->meta->writer).changes;

        must(meta_blob_get(w->meta, S("a"), &blob, true, &w->arena, &got, &e));
        assert_int_equal(writer_counters(&w->meta->writer).changes, changes);
        script(w, "UPDATE repository_blobs SET since_us = since_us - 1000 * 1000000");
        must(meta_blob_get(w->meta, S("a"), &blob, true, &w->arena, &got, &e));
        assert_int_equal(writer_counters(&w->meta->writer).changes, changes);
        meta_set_grace(w->meta, 1500LL * 1000000);
        must(meta_blob_get(w->meta, S("a"), &blob, true, &w->arena, &got, &e));
        assert_true(slice_eq(got.bytes, S("blob")));
        assert_int_equal(writer_counters(&w->meta->writer).changes, changes + 1);
        assert_int_equal(number(w, "SELECT since_us > unixepoch() * 1000000 - 60000000 FROM repository_blobs"), 1);

        must(manifest_put(w->meta, S("a"), S("{image}"), &(struct meta_part){ .digest = blob, .size = 4 }, 1, S("x"), &e));
        script(w, "UPDATE repository_blobs SET since_us = 1");
        changes = writer_counters(&w->meta->writer).changes;
        must(meta_blob_get(w->meta, S("a"), &blob, true, &w->arena, &got, &e));
        assert_int_equal(writer_counters(&w->meta->writer).changes, changes);           /* named: nothing is near */
        must(meta_manifest_delete(w->meta, S("a"), DIGEST("{image}"), &e));
        assert_int_equal(number(w, "SELECT since_us > 1 FROM repository_blobs"), 1);    /* the grace begins anew */
        meta_set_grace(w->meta, 0);
        must(meta_blob_get(w->meta, S("a"), &blob, true, &w->arena, &got, &e));
        assert_true(slice_eq(got.bytes, S("blob")));
}

/* --- Many at once ----------------------------------------------------------------------------------------------------- */

enum { WRITERS = 6, READERS = 6, ROUNDS = 60 };

struct actor {
        struct meta *meta;
        pthread_t thread;
        int number;
        atomic_int *ending;
        struct err err;
        bool ok;
};

static RESULT write_round(struct actor *actor, int round, struct err *err)
{
        char own[32], text[64], tag[32];
        struct slice repository, bytes;
        struct meta_part part;
        struct digest digest;
        size_t length;

        snprintf(own, sizeof own, "own/%d", actor->number);
        repository = slice_from(own);
        length = (size_t)snprintf(text, sizeof text, "shared blob %d", round);
        snprintf(tag, sizeof tag, "t%d", round);
        bytes = (struct slice){ text, length };
        part = (struct meta_part){ .digest = digest_of(bytes), .size = length };

        TRY(blob_add(actor->meta, repository, bytes, err));
        TRY(blob_add(actor->meta, S("shared"), bytes, err));
        TRY(meta_blob_mount(actor->meta, S("shared"), repository, &part.digest, err));
        TRY(manifest_put(actor->meta, repository, slice_from(tag), &part, 1, slice_from(tag), err));
        TRY(manifest_put(actor->meta, S("shared"), slice_from(tag), &part, 1, S("latest"), err));
        if (meta_blob_delete(actor->meta, repository, &part.digest, err).ok)
                return FAIL(err, ERR_INTERNAL, 0, "a blob in use was deleted");
        if (err->code != ERR_DENIED)
                return FAILED;
        if (round % 3)
                return OK;
        digest = digest_of(slice_from(tag));
        return meta_manifest_delete(actor->meta, repository, &digest, err);
}

static void *write_rounds(void *arg)
{
        struct actor *actor = arg;

        actor->ok = true;
        for (int round = 0; round < ROUNDS && actor->ok; round++)
                actor->ok = write_round(actor, round, &actor->err).ok;
        return NULL;
}

/* Whatever a reader sees is whole: a tag's manifest is there, a page is in order. */
static RESULT read_round(struct actor *actor, struct arena *arena, struct err *err)
{
        struct meta_manifest manifest;
        struct meta_names page;
        struct digest digest;

        TRY(meta_manifest_get(actor->meta, S("shared"), NULL, S("latest"), true, arena, &manifest, err));
        digest = digest_of(manifest.payload);
        if (!digest_eq(&manifest.digest, &digest))
                return FAIL(err, ERR_CORRUPT, 0, "wrong bytes under a digest");
        if (!meta_tags_page(actor->meta, S("own/0"), S(""), 100, arena, &page, err).ok)
                return err->code == ERR_NAME_UNKNOWN ? OK : FAILED;
        for (size_t i = 1; i < page.count; i++)
                if (slice_compare(page.names[i - 1], page.names[i]) >= 0)
                        return FAIL(err, ERR_CORRUPT, 0, "a page out of order");
        return OK;
}

static void *read_rounds(void *arg)
{
        struct actor *actor = arg;

        for (actor->ok = true; actor->ok && !*actor->ending;) {
                _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);

                actor->ok = read_round(actor, &arena, &actor->err).ok;
        }
        return NULL;
}

static void start(struct actor *actor, struct world *w, int n, atomic_int *ending, void *(*run)(void *))
{
        *actor = (struct actor){ .meta = w->meta, .number = n, .ending = ending };
        assert_int_equal(pthread_create(&actor->thread, NULL, run, actor), 0);
}

static void end(struct actor *actor)
{
        pthread_join(actor->thread, NULL);
        if (!actor->ok)
                fail_msg("%s", actor->err.message);
}

static void many_at_once(void **state)
{
        struct world *w = *state;
        struct actor writers[WRITERS], readers[READERS];
        struct writer_counters counters;
        atomic_int ending = 0;

        put(w, S("shared"), S("{first}"), S("latest"));
        for (int i = 0; i < READERS; i++)
                start(&readers[i], w, i, &ending, read_rounds);
        for (int i = 0; i < WRITERS; i++)
                start(&writers[i], w, i, &ending, write_rounds);
        for (int i = 0; i < WRITERS; i++)
                end(&writers[i]);
        ending = 1;
        for (int i = 0; i < READERS; i++)
                end(&readers[i]);
        must(meta_check(w->meta, &e));
        assert_int_equal(number(w, "SELECT count(*) FROM blobs"), ROUNDS);
        assert_int_equal(number(w, "SELECT count(*) FROM repository_blobs"), ROUNDS * (WRITERS + 1));
        assert_int_equal(number(w, "SELECT count(*) FROM manifests"), 1 + ROUNDS + WRITERS * (ROUNDS - ROUNDS / 3));
        assert_int_equal(number(w, "SELECT count(*) FROM uploads"), 0);
        counters = writer_counters(&w->meta->writer);
        assert_true(counters.commits < counters.changes && counters.syncs < counters.commits);
        assert_true(w->meta->readers.count <= READERS_MAX);
        assert_true(readers_trim(&w->meta->readers, INT64_MAX) || w->meta->readers.count == 1);
        assert_int_equal(w->meta->readers.count, 1);
}

/* --- Readers ---------------------------------------------------------------------------------------------------------- */

static void *lend_long(void *arg)
{
        struct actor *actor = arg;
        struct reader *reader = NULL;

        actor->ok = reader_lend_long(&actor->meta->readers, &reader, &actor->err).ok;
        if (actor->ok)
                reader_return(reader);
        *actor->ending += 1;
        return NULL;
}

/* However many want to read for long: one does, and there are readers for requests. */
static void long_readers_leave_others_for_requests(void **state)
{
        struct world *w = *state;
        struct reader *reader = NULL, *others[READERS_MAX - 1];
        struct actor waiting[READERS_MAX];
        atomic_int began = 0;

        must(reader_lend_long(&w->meta->readers, &reader, &e));
        for (int i = 0; i < READERS_MAX; i++)
                start(&waiting[i], w, i, &began, lend_long);
        for (int i = 0; i < READERS_MAX - 1; i++)
                must(reader_lend(&w->meta->readers, &others[i], &e));
        usleep(20000);
        assert_int_equal(began, 0);
        for (int i = 0; i < READERS_MAX - 1; i++)
                reader_return(others[i]);
        usleep(20000);
        assert_int_equal(began, 0);
        reader_return(reader);
        for (int i = 0; i < READERS_MAX; i++)
                end(&waiting[i]);
        assert_int_equal(began, READERS_MAX);
}

/* --- Kill -9 ---------------------------------------------------------------------------------------------------------- */

enum { KILLS = 4, ACKNOWLEDGED = 200 };

struct witness {
        struct meta *meta;
        int fd, number;                 /* where to tell what was acknowledged */
};

static void *push_until_killed(void *arg)
{
        struct witness *witness = arg;
        struct err err;

        for (int i = 0;; i++) {
                char tag[32] = { 0 };

                snprintf(tag, sizeof tag, "w%d-%d", witness->number, i);
                if (!blob_add(witness->meta, S("a"), slice_from(tag), &err).ok ||
                    !manifest_put(witness->meta, S("a"), slice_from(tag), &(struct meta_part){ .digest = digest_of(slice_from(tag)),
                                                                                             .size = strlen(tag) }, 1,
                                  slice_from(tag), &err).ok ||
                    write(witness->fd, tag, sizeof tag) != sizeof tag)
                        _exit(1);
        }
}

static void child(const char *folder, int fd, int kill_number)
{
        struct witness witnesses[4];
        struct meta *meta;
        struct err err;
        pthread_t thread;

        if (!meta_sqlite_open(folder, &meta, &err).ok)
                _exit(1);
        for (int i = 0; i < 4; i++) {
                witnesses[i] = (struct witness){ meta, fd, kill_number * 10 + i };
                if (pthread_create(&thread, NULL, push_until_killed, &witnesses[i]))
                        _exit(1);
        }
        for (;;)
                pause();
}

/* Reads what was acknowledged, kills in the middle of it, and reads the rest that came before death. */
static size_t kill_in_the_middle(int fd, pid_t pid, char tags[][32], size_t max)
{
        size_t count = 0;
        int status;

        while (count < max && read(fd, tags[count], 32) == 32)
                if (++count == ACKNOWLEDGED)
                        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        return count;
}

static void acknowledged_writes_survive_kill_9(void **state)
{
        static char tags[ACKNOWLEDGED * 20][32];
        struct world *w = *state;

        for (int n = 0; n < KILLS; n++) {
                struct meta_manifest got;
                size_t count;
                int fds[2];
                pid_t pid;

                meta_free(TAKE_PTR(w->meta));
                assert_int_equal(pipe(fds), 0);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        child(w->folder, fds[1], n);
                close(fds[1]);
                count = kill_in_the_middle(fds[0], pid, tags, ARRAY_LEN(tags));
                close(fds[0]);
                assert_in_range(count, ACKNOWLEDGED, ARRAY_LEN(tags) - 1);

                must(meta_sqlite_open(w->folder, &w->meta, &e));
                must(meta_check(w->meta, &e));
                for (size_t i = 0; i < count; i++) {
                        must(meta_manifest_get(w->meta, S("a"), NULL, slice_from(tags[i]), true, &w->arena, &got, &e));
                        assert_true(slice_eq(got.payload, slice_from(tags[i])));
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(no_query_walks_a_table),
                TEST(references_are_indexed),
                TEST(newer_store_is_refused),
                TEST(foreign_files_are_refused),
                TEST(damage_is_found),
                TEST(those_who_wait_share_a_commit_and_a_sync),
                TEST(nobody_has_to_wait),
                TEST(unsynced_changes_cost_no_sync),
                TEST(one_failure_leaves_the_others_alone),
                TEST(failed_commit_is_everybodys),
                TEST(full_disk_is_told_and_passes),
                TEST(failed_sync_is_told_and_made_good),
                TEST(database_held_by_another_program),
                TEST(log_stays_small_and_is_copied_when_idle),
                TEST(whatever_may_be_garbage_is_queued),
                TEST(asking_puts_a_review_off),
                TEST(long_readers_leave_others_for_requests),
                TEST(many_at_once),
                TEST(acknowledged_writes_survive_kill_9),
        };

        return cmocka_run_group_tests_name("meta_sqlite", tests, NULL, NULL);
}
