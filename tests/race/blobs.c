/* Blobs: asked for, read, uploaded, mounted, deleted. */
#include "race.h"

#include "base/clock.h"
#include "base/fs.h"
#include "registry/internal.h"
#include "registry/push.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static bool is_unknown(const struct err *e)
{
        return e->code == ERR_BLOB_UNKNOWN || e->code == ERR_NAME_UNKNOWN;
}

/* --- Asking ----------------------------------------------------------------------------------------------------------- */

static void judge_presence(const struct window *w, int blob, bool there, const struct err *e)
{
        struct presence *now = &w->now->blobs[blob];
        bool sure = blob_is_sure(w, blob), absent = blob_is_absent(w, blob);

        count_answer(w, sure || absent);
        if (there && absent)
                violation(w, THING_BLOB, blob, "it was told to be there, and is not");
        if (!there && !is_unknown(e))
                violation(w, THING_BLOB, blob, "an answer that nobody expects: %s", e->message);
        if (!there && sure)
                violation(w, THING_BLOB, blob, "it was told not to be there, and must be: %s", e->message);
        if (there)
                note_shown(w, &now->asked);
        else
                note_absent(w, now);
}

static void compare(struct racer *racer, const struct window *w, int blob, struct slice bytes)
{
        const struct blob *want = &racer->race->content.blobs[blob];

        if (!slice_eq(bytes, want->bytes))
                violation(w, THING_BLOB, blob, "its %zu bytes came as %zu others", want->bytes.n, bytes.n);
}

/* Now and then as a slow download, which goes on long after the file was removed. */
static void compare_file(struct racer *racer, const struct window *w, int blob, int fd)
{
        size_t n = racer->race->content.blobs[blob].bytes.n, half = n / 2, got[2] = { 0 };
        struct err *e = &racer->e;
        bool read = fs_read_at(fd, 0, racer->bytes, half, &got[0], "blob", e).ok;

        if (chance(racer, 5))
                pause_up_to(racer, 2 * racer->race->model.times.trash_us);
        if (!read || !fs_read_at(fd, half, racer->bytes + half, n - half + 1, &got[1], "blob", e).ok)
                violation(w, THING_BLOB, blob, "it cannot be read: %s", e->message);
        else
                compare(racer, w, blob, (struct slice){ racer->bytes, got[0] + got[1] });
}

static void compare_blob(struct racer *racer, const struct window *w, int blob, struct registry_blob *found)
{
        if (found->size != racer->race->content.blobs[blob].bytes.n)
                violation(w, THING_BLOB, blob, "it is told to have %llu bytes", (unsigned long long)found->size);
        if (found->fd < 0) {
                compare(racer, w, blob, found->bytes);
                return;
        }
        compare_file(racer, w, blob, found->fd);
        close(found->fd);
}

/* Memory first, as requests do. false: memory does not have it. */
static bool ask_memory(struct racer *racer, struct window *w, int blob, bool whole)
{
        const struct blob *want = &racer->race->content.blobs[blob];
        struct registry_object *object = registry_blob_now(racer->race->registry, repository_name(w->repository), slice_from(want->name.s));
        int fd = -1;

        if (!object)
                return false;
        if (whole && !object->bytes.p && !registry_blob_open_now(racer->race->registry, object, &fd)) {
                registry_object_unref(object);
                return false;
        }
        window_close(w);
        record(w, whole ? "get, cached" : "head, cached", THING_BLOB, blob, "", "ok");
        judge_presence(w, blob, true, NULL);
        window_end(w);
        if (object->size != want->bytes.n || (object->bytes.p && !slice_eq(object->bytes, want->bytes)))
                violation(w, THING_BLOB, blob, "memory has other bytes");
        registry_object_unref(object);
        if (fd >= 0) {
                compare_file(racer, w, blob, fd);
                close(fd);
        }
        return true;
}

bool ask_blob(struct racer *racer, int repository, int blob, bool whole)
{
        struct race *race = racer->race;
        const struct digest *digest = &race->content.blobs[blob].digest;
        struct registry_blob found = { .fd = -1 };
        struct result result;
        struct window w;

        window_open(&w, &race->model, repository, racer->number);
        window_run(&w);
        if (ask_memory(racer, &w, blob, whole))
                return true;
        if (whole)
                result = registry_blob_open(race->registry, repository_name(repository), digest, &racer->arena, &found, &racer->e);
        else
                result = registry_blob_stat(race->registry, repository_name(repository), digest, &racer->arena, &found.size, &racer->e);
        window_close(&w);
        record(&w, whole ? "get" : "head", THING_BLOB, blob, "", outcome(result, &racer->e));
        judge_presence(&w, blob, result.ok, &racer->e);
        window_end(&w);
        if (result.ok && whole)
                compare_blob(racer, &w, blob, &found);
        return result.ok;
}

/* Whoever has read a blob's row has some time to open its file, whatever happens to the row meanwhile. */
void open_late(struct racer *racer, int repository, int blob, int64_t in_time_us)
{
        struct race *race = racer->race;
        const struct digest *digest = &race->content.blobs[blob].digest;
        struct registry_blob found = { .fd = -1 };
        struct meta_blob row;
        struct result result;
        struct window w;

        window_open(&w, &race->model, repository, racer->number);
        window_run(&w);
        result = meta_blob_get(race->registry->meta, repository_name(repository), digest, false, &racer->arena, &row, &racer->e);
        window_close(&w);
        record(&w, "look", THING_BLOB, blob, "", outcome(result, &racer->e));
        judge_presence(&w, blob, result.ok, &racer->e);
        window_end(&w);
        if (!result.ok || row.in_database)
                return;
        pause_up_to(racer, in_time_us / 4);
        poll(NULL, 0, (int)(in_time_us / 2000));
        result = blob_open(race->registry->blobs, digest, &row.id, &found.fd, &found.size, &racer->e);
        w.ended_us = clock_mono_us();
        record(&w, "open the file", THING_BLOB, blob, "", outcome(result, &racer->e));
        if (result.ok)
                compare_blob(racer, &w, blob, &found);
        else if (w.ended_us < w.began_us + in_time_us || racer->e.code != ERR_NOT_FOUND)
                violation(&w, THING_BLOB, blob, "its file is gone before the time for opening it is over: %s", racer->e.message);
}

/* --- Upload ----------------------------------------------------------------------------------------------------------- */

static void unexpected(struct racer *racer, int repository, int blob, const char *what)
{
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        w.ended_us = w.began_us;
        record(&w, what, THING_BLOB, blob, "", racer->e.message);
        violation(&w, THING_BLOB, blob, "%s: %s", what, racer->e.message);
        window_end(&w);
}

/* The session rests between two requests; false: it expired, as it may after a while. */
static bool rest(struct racer *racer, int repository, int blob, struct push **push)
{
        struct race *race = racer->race;
        struct upload_id id = *push_id(*push);
        int64_t saved_us = clock_mono_us();
        struct result result = push_save(*push, &racer->e);

        if (!result.ok) {
                unexpected(racer, repository, blob, "save the upload");
                return false;
        }
        push_free(TAKE_PTR(*push));
        pause_up_to(racer, chance(racer, 20) ? 2 * race->model.times.expiry_us : race->model.times.expiry_us / 20);
        result = push_resume(race->registry, repository_name(repository), &id, push, &racer->e);
        if (!result.ok && clock_mono_us() < saved_us + race->model.times.expiry_us)
                unexpected(racer, repository, blob, "go on with the upload");
        else if (!result.ok && racer->e.code != ERR_BLOB_UPLOAD_UNKNOWN && racer->e.code != ERR_BUSY)
                unexpected(racer, repository, blob, "go on with an upload that expired");
        return result.ok;
}

/* In several pieces, some of them as requests of their own. */
static bool send(struct racer *racer, int repository, int blob, struct push **ret_push)
{
        struct slice rest_of = racer->race->content.blobs[blob].bytes;
        _cleanup_(push_freep) struct push *push = NULL;

        if (!push_begin(racer->race->registry, repository_name(repository), chance(racer, 90) ? SHA_256 : SHA_512, &push, &racer->e).ok) {
                unexpected(racer, repository, blob, "begin an upload");
                return false;
        }
        while (rest_of.n) {
                size_t n = chance(racer, 50) ? rest_of.n : 1 + pick(racer, rest_of.n);

                if (!push_write(push, slice_head(rest_of, n), &racer->e).ok) {
                        unexpected(racer, repository, blob, "write to an upload");
                        return false;
                }
                rest_of = slice_skip(rest_of, n);
                if (chance(racer, 10) && !rest(racer, repository, blob, &push))
                        return false;
        }
        *ret_push = TAKE_PTR(push);
        return true;
}

void upload_blob(struct racer *racer, int repository, int blob)
{
        _cleanup_(push_freep) struct push *push = NULL;
        struct presence *now;
        struct result result;
        struct window w;

        if (!send(racer, repository, blob, &push))
                return;
        window_open(&w, &racer->race->model, repository, racer->number);
        w.now->blobs[blob].adding++;
        window_run(&w);
        result = push_commit(push, &racer->race->content.blobs[blob].digest, &racer->e);
        window_close(&w);
        now = &w.now->blobs[blob];
        now->adding--;
        record(&w, "upload", THING_BLOB, blob, "", outcome(result, &racer->e));
        if (!result.ok)
                violation(&w, THING_BLOB, blob, "the upload was not taken: %s", racer->e.message);
        note_shown(&w, &now->kept);
        now->added_us = w.ended_us;
        window_end(&w);
}

/* One that adds nothing: cancelled, closed with a wrong digest, or left for the collector. */
void spoil_upload(struct racer *racer, int repository, int blob)
{
        _cleanup_(push_freep) struct push *push = NULL;
        const struct digest *wrong = &racer->race->content.blobs[(blob + 1) % BLOBS].digest;

        if (!send(racer, repository, blob, &push))
                return;
        switch (pick(racer, 3)) {
        case 0:
                if (!push_cancel(push, &racer->e).ok)
                        unexpected(racer, repository, blob, "cancel an upload");
                break;
        case 1:
                if (push_commit(push, wrong, &racer->e).ok || racer->e.code != ERR_DIGEST_INVALID)
                        unexpected(racer, repository, blob, "close an upload with a wrong digest");
                break;
        default:
                break;
        }
}

/* --- Mount and delete ------------------------------------------------------------------------------------------------- */

static void judge_source(const struct window *w, int blob, struct result result, const struct err *e)
{
        if (result.ok && blob_is_absent(w, blob))
                violation(w, THING_BLOB, blob, "it was mounted from here, and is not here");
        if (!result.ok && blob_is_sure(w, blob))
                violation(w, THING_BLOB, blob, "it was not mounted from here, and is here: %s", e->message);
        if (!result.ok)
                note_absent(w, &w->now->blobs[blob]);
}

bool mount_blob(struct racer *racer, int from, int to, int blob)
{
        struct race *race = racer->race;
        struct slice from_name = from < 0 ? S("") : repository_name(from);
        struct presence *now;
        struct result result;
        struct window w, source;

        window_open(&source, &race->model, MAX(from, 0), racer->number);
        window_run(&source);
        window_open(&w, &race->model, to, racer->number);
        w.now->blobs[blob].adding++;
        window_run(&w);
        result = registry_blob_mount(race->registry, from_name, repository_name(to), &race->content.blobs[blob].digest, &racer->e);
        window_close(&w);
        now = &w.now->blobs[blob];
        now->adding--;
        record(&w, "mount", THING_BLOB, blob, from < 0 ? "from any" : repository_name(from).p, outcome(result, &racer->e));
        if (result.ok) {
                note_shown(&w, &now->kept);
                now->added_us = w.ended_us;
        } else if (racer->e.code != ERR_BLOB_UNKNOWN || (from < 0 && blob_is_sure(&w, blob))) {
                violation(&w, THING_BLOB, blob, "it was not mounted: %s", racer->e.message);
        }
        window_end(&w);
        if (from < 0)
                return result.ok;
        window_close(&source);
        record(&source, "mount", THING_BLOB, blob, "from here", outcome(result, &racer->e));
        judge_source(&source, blob, result, &racer->e);
        window_end(&source);
        return result.ok;
}

static void judge_deletion(const struct window *w, int blob, struct result result, const struct err *e)
{
        struct presence *now = &w->now->blobs[blob];

        if (result.ok && blob_is_absent(w, blob))
                violation(w, THING_BLOB, blob, "it was deleted, and was not there");
        if (result.ok && blob_is_named(w, blob))
                violation(w, THING_BLOB, blob, "it was deleted, although a manifest names it");
        if (!result.ok && e->code == ERR_DENIED && !blob_may_be_named(w, blob))
                violation(w, THING_BLOB, blob, "its deletion was denied, and no manifest names it");
        if (!result.ok && is_unknown(e) && blob_is_sure(w, blob))
                violation(w, THING_BLOB, blob, "its deletion did not find it, and it must be there");
        if (!result.ok && !is_unknown(e) && e->code != ERR_DENIED)
                violation(w, THING_BLOB, blob, "an answer that nobody expects: %s", e->message);
        if (result.ok)
                now->removed_us = w->ended_us;
        if (result.ok || is_unknown(e))
                note_absent(w, now);
}

void delete_blob(struct racer *racer, int repository, int blob)
{
        struct race *race = racer->race;
        struct result result;
        struct window w;

        window_open(&w, &race->model, repository, racer->number);
        w.now->blobs[blob].removing++;
        window_run(&w);
        result = registry_blob_delete(race->registry, repository_name(repository), &race->content.blobs[blob].digest, &racer->e);
        window_close(&w);
        w.now->blobs[blob].removing--;
        record(&w, "delete", THING_BLOB, blob, "", outcome(result, &racer->e));
        judge_deletion(&w, blob, result, &racer->e);
        window_end(&w);
}
