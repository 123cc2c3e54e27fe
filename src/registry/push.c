/* Upload sessions. The bytes take one of two ways: up to PUSH_SMALL_MAX they stay in memory while a request runs and in the
 * session's row between requests (a file that is made and removed for a few bytes costs more than the rest of the push); beyond
 * that they go to the session's file as they come. Both ways end in one transaction, see push_commit(). */
#include "registry/push_internal.h"

#include "store/meta/collect.h"

#include <errno.h>

enum { CATCH_UP_BYTES = 256 * 1024, RESTING_MAX = 128 };

const struct upload_id *push_id(const struct push *push)
{
        return &push->id;
}

uint64_t push_received(const struct push *push)
{
        return push->received;
}

/* --- Who works on what ------------------------------------------------------------------------------------------------ */

static struct push *find(struct push *list, const struct upload_id *id)
{
        while (list && memcmp(list->id.s, id->s, UPLOAD_ID_LENGTH) != 0)
                list = list->next;
        return list;
}

static void unlist(struct push **list, const struct push *push)
{
        while (*list && *list != push)
                list = &(*list)->next;
        if (*list)
                *list = push->next;
}

static void list(struct push **list, struct push *push)
{
        push->next = *list;
        *list = push;
}

/* With the lock held. */
static void wake_up(struct registry *registry, struct push *push)
{
        if (!push)
                return;
        unlist(&registry->resting, push);
        registry->resting_count--;
}

static void discard(struct push *push)
{
        if (!push)
                return;
        blob_upload_free(push->file);
        free(push->small);
        free(push);
}

/* Makes the session this request's alone. */
static RESULT claim(struct push *push, struct err *e)
{
        struct registry *registry = push->registry;
        struct push *resting = NULL;
        bool busy;

        pthread_mutex_lock(&registry->pushes_lock);
        busy = find(registry->pushes, &push->id) != NULL;
        if (!busy) {
                resting = find(registry->resting, &push->id);
                wake_up(registry, resting);
                list(&registry->pushes, push);
        }
        pthread_mutex_unlock(&registry->pushes_lock);
        discard(resting);
        return busy ? FAIL(e, ERR_BUSY, 0, "another request is writing to this upload; wait until it has ended") : OK;
}

/* A session that was just begun, or has few bytes, is most likely gone on with at once: it is kept as it is, and its row need not
 * be read for that. A bounded number of them, those that rested longest go first. */
struct push *push_take_resting(struct registry *registry, struct slice repository, const struct upload_id *id)
{
        struct push *push;

        pthread_mutex_lock(&registry->pushes_lock);
        push = find(registry->resting, id);
        if (push && !slice_eq(slice_from(push->repository), repository))
                push = NULL;
        wake_up(registry, push);
        if (push)
                list(&registry->pushes, push);
        pthread_mutex_unlock(&registry->pushes_lock);
        return push;
}

/* With the lock held; gives the one that has to go. */
static struct push *rest(struct registry *registry, struct push *push)
{
        struct push *last = push;

        list(&registry->resting, push);
        if (registry->resting_count++ < RESTING_MAX)
                return NULL;
        while (last->next)
                last = last->next;
        wake_up(registry, last);
        return last;
}

void push_free(struct push *push)
{
        struct registry *registry;

        if (!push)
                return;
        registry = push->registry;
        pthread_mutex_lock(&registry->pushes_lock);
        unlist(&registry->pushes, push);
        if (push->is_saved && !push->file)
                push = rest(registry, push);
        pthread_mutex_unlock(&registry->pushes_lock);
        discard(push);
}

void push_discard_resting(struct registry *registry)
{
        for (struct push *push = registry->resting, *next; push; push = next) {
                next = push->next;
                discard(push);
        }
        registry->resting = NULL;
}

/* --- Begin and go on -------------------------------------------------------------------------------------------------- */

RESULT push_new(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push,
                struct err *e)
{
        _cleanup_(push_freep) struct push *push = calloc(1, sizeof *push);

        if (!push)
                return FAIL(e, ERR_NOMEM, ENOMEM, "begin an upload");
        push->registry = registry;
        push->id = *id;
        if (!slice_to_cstr(repository, push->repository, sizeof push->repository))
                return FAIL(e, ERR_NAME_INVALID, 0, "the repository's name is too long");
        TRY(claim(push, e));
        *ret_push = TAKE_PTR(push);
        return OK;
}

struct slice push_state(const struct push *push, char *state)
{
        char *rest = state + SAVED_HEAD;

        state[0] = push->file ? SAVED_FILE : SAVED_INSIDE;
        memcpy(state + 1, push->registry->boot_id, BOOT_ID_LENGTH);
        if (push->file)
                return (struct slice){ state, SAVED_HEAD + sha_save(&push->sha, (unsigned char *)rest) };
        *rest++ = (char)push->sha.algorithm;
        if (push->received)
                memcpy(rest, push->small, push->received);
        return (struct slice){ state, SAVED_HEAD + 1 + push->received };
}

static bool same_boot(const struct push *push, const struct meta_upload *row)
{
        return slice_eq(slice_head(slice_skip(row->hash_state, 1), BOOT_ID_LENGTH), slice_from(push->registry->boot_id));
}

static struct result fail_state(const struct push *push, struct err *e)
{
        return FAIL(e, ERR_CORRUPT, 0, "the saved state of upload %s is damaged", push->id.s);
}

RESULT push_begin(struct registry *registry, struct slice repository, enum sha_algorithm algorithm, struct push **ret_push,
                  struct err *e)
{
        _cleanup_(push_freep) struct push *push = NULL;
        struct upload_id id = upload_id_new();
        char state[SAVED_MAX];

        TRY(space_check(&registry->space, registry->blobs, 0, e));
        TRY(push_new(registry, repository, &id, &push, e));
        sha_init(&push->sha, algorithm);
        TRY(meta_upload_begin(registry->meta, repository, &id, push_state(push, state), e));
        push->is_saved = true;
        *ret_push = TAKE_PTR(push);
        return OK;
}

/* From memory to the file. */
static RESULT spill(struct push *push, struct err *e)
{
        if (push->file)
                return OK;
        TRY(blob_upload_create(push->registry->blobs, &push->id, &push->file, e));
        if (push->received)
                TRY(blob_upload_write(push->file, 0, push->small, push->received, e));
        free(TAKE_PTR(push->small));
        return OK;
}

RESULT push_keep_in_memory(struct push *push, struct slice bytes, struct err *e)
{
        if (!push->small)
                push->small = malloc(PUSH_SMALL_MAX);
        if (!push->small)
                return FAIL(e, ERR_NOMEM, ENOMEM, "receive a blob");
        memcpy(push->small + push->received, bytes.p, bytes.n);
        return OK;
}

static RESULT take_bytes(struct push *push, struct slice bytes, struct err *e)
{
        push->is_saved = false;
        if (!push->file && push->received + bytes.n <= PUSH_SMALL_MAX) {
                TRY(push_keep_in_memory(push, bytes, e));
        } else {
                TRY(spill(push, e));
                TRY(blob_upload_write(push->file, push->received, bytes.p, bytes.n, e));
        }
        sha_update(&push->sha, bytes.p, bytes.n);
        push->received += bytes.n;
        return OK;
}

/* Hashes what lies in the file behind push->received. */
static RESULT hash_rest(struct push *push, struct err *e)
{
        uint64_t size = blob_upload_size(push->file);
        _cleanup_free_ char *bytes = NULL;

        if (size == push->received)
                return OK;
        bytes = malloc(CATCH_UP_BYTES);
        if (!bytes)
                return FAIL(e, ERR_NOMEM, ENOMEM, "go on with an upload");
        while (push->received < size) {
                size_t n;

                TRY(blob_upload_read(push->file, push->received, bytes, CATCH_UP_BYTES, &n, e));
                if (n == 0)
                        return FAIL(e, ERR_CORRUPT, 0, "the file of upload %s became shorter", push->id.s);
                sha_update(&push->sha, bytes, n);
                push->received += n;
        }
        return OK;
}

/* Bytes came after the state was saved, before the daemon was killed. Saved now, they are read again only once. */
static RESULT catch_up(struct push *push, struct err *e)
{
        if (push->received == blob_upload_size(push->file))
                return OK;
        TRY(hash_rest(push, e));
        return push_save(push, e);
}

/* The file does not hold what the session's row tells (after a power cut): the upload is forgotten. */
static RESULT forget(struct push *push, struct err *e)
{
        TRY(push_cancel(push, e));
        return FAIL(e, ERR_BLOB_UPLOAD_UNKNOWN, 0, "upload %s was lost in a power cut; begin a new one", push->id.s);
}

static RESULT open_file(struct push *push, bool *ret_found, struct err *e)
{
        *ret_found = blob_upload_open(push->registry->blobs, &push->id, &push->file, e).ok;
        return *ret_found || e->code == ERR_NOT_FOUND ? OK : FAILED;
}

/* After a reboot the file may have the saved length and yet not the bytes that were hashed: it is read again from its start. */
static RESULT resume_file(struct push *push, const struct meta_upload *row, struct err *e)
{
        bool found;

        if (!sha_load(&push->sha, slice_skip(row->hash_state, SAVED_HEAD)) || sha_length(&push->sha) != row->received)
                return fail_state(push, e);
        push->received = row->received;
        if (!same_boot(push, row)) {
                sha_init(&push->sha, push->sha.algorithm);
                push->received = 0;
        }
        TRY(open_file(push, &found, e));
        if (!found || blob_upload_size(push->file) < row->received)
                return forget(push, e);
        return catch_up(push, e);
}

/* A file that is there nevertheless was begun by a request that did not come to its end: what it holds counts, unless a reboot
 * may have spoiled it. */
static RESULT resume_inside(struct push *push, const struct meta_upload *row, struct err *e)
{
        struct slice state = slice_skip(row->hash_state, SAVED_HEAD), bytes = slice_skip(state, 1);
        bool found;

        if (state.n < 1 || bytes.n != row->received || bytes.n > PUSH_SMALL_MAX || (state.p[0] != SHA_256 && state.p[0] != SHA_512))
                return fail_state(push, e);
        sha_init(&push->sha, (enum sha_algorithm)state.p[0]);
        TRY(take_bytes(push, bytes, e));        /* the row's, which has them already */
        TRY(open_file(push, &found, e));
        push->is_saved = !found;
        if (!found)
                return OK;
        if (same_boot(push, row) && blob_upload_size(push->file) >= push->received) {
                free(TAKE_PTR(push->small));
                return catch_up(push, e);
        }
        blob_upload_free(TAKE_PTR(push->file));
        return blob_upload_remove(push->registry->blobs, &push->id, e);
}

RESULT push_resume(struct registry *registry, struct slice repository, const struct upload_id *id, struct push **ret_push,
                   struct err *e)
{
        _cleanup_(push_freep) struct push *push = NULL;
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(16 * 1024);
        struct meta_upload row;

        push = push_take_resting(registry, repository, id);
        if (!push) {
                TRY(push_new(registry, repository, id, &push, e));
                TRY(meta_upload_get(registry->meta, repository, id, &arena, &row, e));
                if (slice_starts(row.hash_state, (struct slice){ (char[]){ SAVED_INSIDE }, 1 }))
                        TRY(resume_inside(push, &row, e));
                else
                        TRY(resume_file(push, &row, e));
        }
        push->received_before = push->received;
        push->file_before = push->file;
        *ret_push = TAKE_PTR(push);
        return OK;
}

RESULT push_check_limit(const struct push *push, uint64_t bytes, struct err *e)
{
        uint64_t max = push->registry->upload_bytes_max;

        if (max && (bytes > max || push->received > max - bytes))
                return FAIL(e, ERR_LIMIT, 0, "the blob is larger than the %llu bytes that this registry takes",
                            (unsigned long long)max);
        return OK;
}

RESULT push_check_room(const struct push *push, uint64_t bytes, struct err *e)
{
        TRY(push_check_limit(push, bytes, e));
        return space_check(&push->registry->space, push->registry->blobs, bytes, e);
}

/* What this request has written found no room for its end: its space comes back now. The session is as it was before, and can go
 * on when there is room again; this object cannot, its hash has gone too far. */
static struct result give_up(struct push *push, struct err *e)
{
        struct err ignored;

        push->is_saved = false;
        if (e->code != ERR_FULL || !push->file)
                return FAILED;
        if (push->file_before)                  /* a write that failed may have left bytes, too */
                IGNORE(blob_upload_truncate(push->file, push->received_before, &ignored));
        else
                IGNORE(blob_upload_remove(push->registry->blobs, &push->id, &ignored));
        return FAILED;
}

RESULT push_write(struct push *push, struct slice bytes, struct err *e)
{
        if (bytes.n == 0)
                return OK;
        TRY(push_check_limit(push, bytes.n, e));
        if (!space_take(&push->registry->space, push->registry->blobs, bytes.n, e).ok || !take_bytes(push, bytes, e).ok)
                return give_up(push, e);
        return OK;
}

RESULT push_save(struct push *push, struct err *e)
{
        char state[SAVED_MAX];

        push->is_saved = false;
        TRY(meta_upload_save(push->registry->meta, &push->id, push->received, push_state(push, state), e));
        push->is_saved = true;
        return OK;
}

RESULT push_cancel(struct push *push, struct err *e)
{
        push->is_saved = false;
        TRY(meta_upload_remove(push->registry->meta, push_repository(push), &push->id, e));
        return blob_upload_remove(push->registry->blobs, &push->id, e);
}

/* The digest of all bytes by another algorithm than the one that ran while they came: they are read again. */
static RESULT hash_again(struct push *push, enum sha_algorithm algorithm, struct err *e)
{
        sha_init(&push->sha, algorithm);
        if (!push->file) {
                sha_update(&push->sha, push->small, push->received);
                return OK;
        }
        push->received = 0;
        return hash_rest(push, e);
}

static RESULT compare(struct push *push, const struct digest *want, struct err *e)
{
        struct digest have;
        struct sha sha;
        struct err ignored;

        if (push->sha.algorithm != want->algorithm)
                TRY(hash_again(push, want->algorithm, e));
        sha = push->sha;        /* the running hash stays usable */
        digest_of_sha(&sha, &have);
        if (digest_eq(&have, want))
                return OK;
        /* Its bytes are worth nothing to anybody: the client begins anew. A failure here leaves it to expiry. */
        IGNORE(push_cancel(push, &ignored));
        return FAIL(e, ERR_DIGEST_INVALID, 0, "the %llu bytes received have the digest %s, not %s; upload the blob again",
                    (unsigned long long)push->received, digest_format(&have).s, digest_format(want).s);
}

static RESULT commit_small(struct push *push, const struct digest *digest, struct err *e)
{
        char from_file[PUSH_SMALL_MAX];
        struct slice content = { push->small ? push->small : "", push->received };
        bool surplus;

        if (push->file) {
                size_t n;

                TRY(blob_upload_read(push->file, 0, from_file, push->received, &n, e));
                if (n != push->received)
                        return FAIL(e, ERR_CORRUPT, 0, "the file of upload %s became shorter", push->id.s);
                content = (struct slice){ from_file, n };
        }
        TRY(meta_upload_commit(push->registry->meta, push_repository(push), &push->id, digest, push->received, content, &surplus, e));
        if (push->file) {
                struct err ignored;

                /* The blob is stored; a file that stays behind is found by the next start. */
                IGNORE(blob_upload_remove(push->registry->blobs, &push->id, &ignored));
        }
        return OK;
}

/* Bytes and their name on stable storage, then the transaction that makes the blob exist, then its final name. */
static RESULT commit_file(struct push *push, const struct digest *digest, struct err *e)
{
        bool surplus;
        struct err ignored;

        TRY(blob_upload_sync(push->file, e));
        TRY(meta_upload_commit(push->registry->meta, push_repository(push), &push->id, digest, push->received, SLICE_NONE, &surplus,
                               e));
        /* From here on the blob is stored. Whoever opens it looks under both names, and the next start removes a surplus. */
        if (surplus)
                IGNORE(blob_upload_remove(push->registry->blobs, &push->id, &ignored));
        else
                IGNORE(blob_upload_publish(push->file, digest, &ignored));
        return OK;
}

RESULT push_commit(struct push *push, const struct digest *want, struct err *e)
{
        push->is_saved = false;
        TRY(compare(push, want, e));
        if (push->received <= PUSH_SMALL_MAX)
                return commit_small(push, want, e);
        return commit_file(push, want, e);
}

/* --- Expiry ----------------------------------------------------------------------------------------------------------- */

RESULT push_expire(struct registry *registry, struct slice repository, const struct upload_id *id, int64_t before_us,
                   bool *ret_expired, struct err *e)
{
        _cleanup_(push_freep) struct push *push = NULL;

        *ret_expired = false;
        if (!push_new(registry, repository, id, &push, e).ok)
                return e->code == ERR_BUSY ? OK : FAILED;
        TRY(meta_upload_expire(registry->meta, id, before_us, ret_expired, e));
        return *ret_expired ? blob_upload_remove(registry->blobs, id, e) : OK;
}
