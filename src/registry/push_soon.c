/* The part of a small push that a loop does: what is in memory, and a change of the database that nobody waits for. */
#include "registry/push_internal.h"

#include <errno.h>

bool push_try_begin(struct registry *registry, struct slice repository, enum sha_algorithm algorithm, struct push **ret_push)
{
        struct upload_id id;
        struct push *push;
        struct err ignored;

        if (!space_try_take(&registry->space, 0))
                return false;
        id = upload_id_new();
        if (!push_new(registry, repository, &id, &push, &ignored).ok)
                return false;
        sha_init(&push->sha, algorithm);
        push->is_new = true;
        *ret_push = push;
        return true;
}

bool push_try_resume(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push)
{
        struct push *push = push_take_resting(registry, repository, id);

        if (!push)
                return false;
        push->received_before = push->received;
        push->file_before = false;      /* who has a file does not rest */
        *ret_push = push;
        return true;
}

bool push_will_be(const struct push *push, struct slice bytes, const struct digest *want)
{
        struct sha sha = push->sha;
        struct digest have;

        if (sha.algorithm != want->algorithm)
                return false;
        sha_update(&sha, bytes.p, bytes.n);
        digest_of_sha(&sha, &have);
        return digest_eq(&have, want);
}

bool push_try_write(struct push *push, struct slice bytes)
{
        struct err ignored;

        if (push->received + bytes.n > PUSH_SMALL_MAX || !push_check_limit(push, bytes.n, &ignored).ok ||
            !space_try_take(&push->registry->space, bytes.n))
                return false;
        if (bytes.n == 0)
                return true;
        if (!push_keep_in_memory(push, bytes, &ignored).ok)
                return false;
        push->is_saved = false;
        sha_update(&push->sha, bytes.p, bytes.n);
        push->received += bytes.n;
        return true;
}

/* --- What ends later -------------------------------------------------------------------------------------------------- */

struct pending {
        struct push *push;              /* borrowed */
        registry_done_fn *done;
        void *arg;
        char state[];
};

static struct pending *pending_new(struct push *push, size_t state_bytes, registry_done_fn *done, void *arg)
{
        struct pending *pending = malloc(sizeof *pending + state_bytes);
        struct err e;

        push->is_saved = false;
        if (!pending) {
                done(arg, FAIL(&e, ERR_NOMEM, ENOMEM, "go on with an upload"), &e);
                return NULL;
        }
        *pending = (struct pending){ .push = push, .done = done, .arg = arg };
        return pending;
}

static void saved(void *arg, struct result result, const struct err *e)
{
        struct pending *pending = arg;

        pending->push->is_saved = result.ok;
        pending->push->is_new = pending->push->is_new && !result.ok;
        pending->done(pending->arg, result, e);
        free(pending);
}

static void committed(void *arg, struct result result, const struct err *e)
{
        struct pending *pending = arg;

        pending->done(pending->arg, result, e);
        free(pending);
}

void push_save_soon(struct push *push, registry_done_fn *done, void *arg)
{
        struct pending *pending = pending_new(push, SAVED_HEAD + 1 + push->received, done, arg);
        struct meta *meta = push->registry->meta;
        struct slice state;

        if (!pending)
                return;
        state = push_state(push, pending->state);
        if (push->is_new)
                meta_upload_begin_soon(meta, push_repository(push), &push->id, state, saved, pending);
        else
                meta_upload_save_soon(meta, &push->id, push->received, state, saved, pending);
}

void push_commit_soon(struct push *push, const struct digest *want, registry_done_fn *done, void *arg)
{
        struct pending *pending = pending_new(push, 0, done, arg);
        struct slice content = { push->small ? push->small : "", push->received };

        if (pending)
                meta_upload_commit_soon(push->registry->meta, push_repository(push), &push->id, want, content, committed, pending);
}
