/* Upload sessions: distribution-spec, "Pushing blobs" (POST then PUT, single POST, in chunks), "Mounting a blob from another
 * repository". While a body streams, the session is the request's state (rq->state). */
#include "api/internal.h"

#include "http/range.h"
#include "registry/push.h"

struct upload_request {
        struct push *push;              /* owned */
        struct digest want;             /* of a closing request */
        uint64_t end;                   /* where the body must end; UINT64_MAX: wherever it does */
};

static struct upload_request *upload_of(struct http_request *rq)
{
        CHECK(rq->state);
        return rq->state;
}

static RESULT upload_request_new(struct http_request *rq, struct upload_request **ret_upload, struct err *e)
{
        struct upload_request *upload = arena_alloc(rq->arena, sizeof *upload);

        if (!upload)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an upload");
        upload->end = UINT64_MAX;
        rq->state = upload;
        *ret_upload = upload;
        return OK;
}

void upload_fini(struct http_request *rq)
{
        struct upload_request *upload = rq->state;

        if (upload)
                push_free(upload->push);
        rq->state = NULL;
}

/* The session's place and what it has: every answer about a session carries them. */
static void session_headers(struct http_request *rq, struct http_response *rs, const struct push *push)
{
        struct slice repository = rq->params[0];
        uint64_t received = push_received(push);

        http_response_header(rs, S("Location"),
                   api_text(rq, "/v2/%.*s/blobs/uploads/%s", SLICE_ARG(repository), push_id(push)->s));
        http_response_header(rs, S("Range"), api_text(rq, "0-%llu", (unsigned long long)(received ? received - 1 : 0)));
        http_response_header(rs, S("Docker-Upload-UUID"), api_text(rq, "%s", push_id(push)->s));
}

static void answer_saved(struct http_request *rq, struct http_response *rs)
{
        http_response_empty(rs, 202);
        session_headers(rq, rs, upload_of(rq)->push);
}

static void answer_begun(struct http_request *rq, struct http_response *rs)
{
        answer_saved(rq, rs);
        http_response_header(rs, S("OCI-Chunk-Min-Length"), S("1"));
}

static void answer_created(struct http_request *rq, struct http_response *rs, const struct digest *digest)
{
        struct slice repository = rq->params[0], text = api_digest_text(rq, digest);

        http_response_empty(rs, 201);
        http_response_header(rs, S("Location"), api_text(rq, "/v2/%.*s/blobs/%.*s", SLICE_ARG(repository), SLICE_ARG(text)));
        http_response_header(rs, S("Docker-Content-Digest"), text);
}

/* --- POST ------------------------------------------------------------------------------------------------------------- */

/* true: mounted and answered. A blob that cannot be mounted is no error: the client gets a session instead. */
static RESULT try_mount(struct http_request *rq, struct http_response *rs, struct slice repository, bool *ret_mounted, struct err *e)
{
        struct slice mount = http_request_query(rq, S("mount"), 0), from = http_request_query(rq, S("from"), 0);
        struct digest digest;

        *ret_mounted = false;
        if (!mount.p)
                return OK;
        TRY(digest_parse(mount, &digest, e));
        if (registry_blob_mount(registry_of(rq), from, repository, &digest, e).ok) {
                answer_created(rq, rs, &digest);
                *ret_mounted = true;
                return OK;
        }
        return e->code == ERR_BLOB_UNKNOWN ? OK : FAILED;
}

/* Which hash runs while the bytes come: that of ?digest=, or ?digest-algorithm=, or SHA-256. */
static RESULT choose_algorithm(const struct http_request *rq, const struct digest *want, enum sha_algorithm *ret_algorithm,
                               struct err *e)
{
        struct slice name = http_request_query(rq, S("digest-algorithm"), 0);

        *ret_algorithm = want ? want->algorithm : SHA_256;
        if (want || !name.p || slice_eq(name, S("sha256")))
                return OK;
        if (!slice_eq(name, S("sha512")))
                return FAIL(e, ERR_DIGEST_INVALID, 0, "the digest algorithm \"%.*s\" is not supported; use sha256 or sha512",
                            SLICE_ARG(name));
        *ret_algorithm = SHA_512;
        return OK;
}

/* A body of its own, or only the beginning of a session? Without a body only the empty blob's digest closes it. */
static bool is_single_post(const struct http_request *rq, const struct digest *want)
{
        struct digest empty;

        if (!rq->has_length || rq->length > 0)
                return http_request_header(rq, S("Transfer-Encoding")).p || rq->has_length;
        digest_of_bytes(want->algorithm, S(""), &empty);
        return digest_eq(&empty, want);
}

RESULT upload_post(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository, digest = http_request_query(rq, S("digest"), 0);
        struct upload_request *upload;
        enum sha_algorithm algorithm;
        bool mounted;

        TRY(api_repository(rq, &repository, e));
        TRY(try_mount(rq, rs, repository, &mounted, e));
        if (mounted)
                return OK;
        TRY(upload_request_new(rq, &upload, e));
        if (digest.p)
                TRY(digest_parse(digest, &upload->want, e));
        TRY(choose_algorithm(rq, digest.p ? &upload->want : NULL, &algorithm, e));
        TRY(push_begin(registry_of(rq), repository, algorithm, &upload->push, e));
        if (digest.p && is_single_post(rq, &upload->want))
                return push_check_room(upload->push, rq->length, e);    /* the body follows, upload_post_finish() answers */

        answer_begun(rq, rs);
        return OK;
}

RESULT upload_post_finish(struct http_request *rq, struct http_response *rs, struct err *e)
{
        return upload_put_finish(rq, rs, e);
}

/* --- PATCH and PUT ---------------------------------------------------------------------------------------------------- */

static RESULT resume(struct http_request *rq, struct upload_request *upload, struct err *e)
{
        struct slice repository;
        struct upload_id id;

        TRY(api_repository(rq, &repository, e));
        if (!upload_id_parse(rq->params[1], &id))
                return FAIL(e, ERR_BLOB_UPLOAD_UNKNOWN, 0, "\"%.*s\" is not an upload of this registry; begin a new one with POST",
                            SLICE_ARG(rq->params[1]));
        return push_resume(registry_of(rq), repository, &id, &upload->push, e);
}

/* The true state beside the error, so that the client can go on from there. */
static void answer_out_of_order(struct http_request *rq, struct http_response *rs, const struct push *push, const struct err *e)
{
        api_fail(rq, rs, 416, e);
        session_headers(rq, rs, push);
}

/* Does the body fit behind what is there? Otherwise 416 is the answer. */
static void check_order(struct http_request *rq, struct http_response *rs, struct upload_request *upload)
{
        struct slice range = http_request_header(rq, S("Content-Range"));
        uint64_t first, last, received = push_received(upload->push);
        struct err cause;

        if (!range.p)
                return;
        if (!range_parse_chunk(range, &first, &last)) {
                IGNORE(FAIL(&cause, ERR_RANGE, 0, "Content-Range must be <first>-<last>, not \"%.*s\"", SLICE_ARG(slice_head(range, 80))));
                answer_out_of_order(rq, rs, upload->push, &cause);
        } else if (first != received) {
                IGNORE(FAIL(&cause, ERR_RANGE, 0, "the chunk begins at %llu, but the upload has %llu bytes: go on from there",
                            (unsigned long long)first, (unsigned long long)received));
                answer_out_of_order(rq, rs, upload->push, &cause);
        } else if (rq->has_length && rq->length != last - first + 1) {
                IGNORE(FAIL(&cause, ERR_RANGE, 0, "Content-Range covers %llu bytes, but Content-Length is %llu",
                            (unsigned long long)(last - first + 1), (unsigned long long)rq->length));
                answer_out_of_order(rq, rs, upload->push, &cause);
        } else {
                upload->end = last + 1;
        }
}

RESULT upload_write(struct http_request *rq, struct slice bytes, struct err *e)
{
        struct upload_request *upload = upload_of(rq);

        if (bytes.n > upload->end - push_received(upload->push))
                return FAIL(e, ERR_SIZE_INVALID, 0, "the body is longer than its Content-Range");
        return push_write(upload->push, bytes, e);
}

static RESULT check_end(const struct upload_request *upload, struct err *e)
{
        if (upload->end != UINT64_MAX && push_received(upload->push) != upload->end)
                return FAIL(e, ERR_SIZE_INVALID, 0, "the body is shorter than its Content-Range");
        return OK;
}

/* The connection broke: what came is kept. A failure loses nothing, the file is read again when the session goes on. */
void upload_broken(struct http_request *rq)
{
        struct upload_request *upload = rq->state;
        struct err ignored;

        if (upload && upload->push)
                IGNORE(push_save(upload->push, &ignored));
}

RESULT upload_patch(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct upload_request *upload;

        TRY(upload_request_new(rq, &upload, e));
        TRY(resume(rq, upload, e));
        check_order(rq, rs, upload);
        return push_check_room(upload->push, rq->length, e);
}

RESULT upload_patch_finish(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct upload_request *upload = upload_of(rq);

        TRY(push_save(upload->push, e));
        TRY(check_end(upload, e));
        answer_saved(rq, rs);
        return OK;
}

RESULT upload_put(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice digest = http_request_query(rq, S("digest"), 0);
        struct upload_request *upload;

        if (!digest.p)
                return FAIL(e, ERR_DIGEST_INVALID, 0, "closing an upload needs ?digest=<digest of the whole blob>");
        TRY(upload_request_new(rq, &upload, e));
        TRY(digest_parse(digest, &upload->want, e));
        TRY(resume(rq, upload, e));
        check_order(rq, rs, upload);
        return push_check_room(upload->push, rq->length, e);
}

RESULT upload_put_finish(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct upload_request *upload = upload_of(rq);

        TRY(check_end(upload, e));
        TRY(push_commit(upload->push, &upload->want, e));
        answer_created(rq, rs, &upload->want);
        return OK;
}

/* --- Small blobs, from the loop --------------------------------------------------------------------------------------- */

static void answer_stored(struct http_request *rq, struct http_response *rs)
{
        answer_created(rq, rs, &upload_of(rq)->want);
}

static void save_later(struct http_request *rq)
{
        push_save_soon(upload_of(rq)->push, api_ended, rq);
}

static void store_later(struct http_request *rq)
{
        push_commit_soon(upload_of(rq)->push, &upload_of(rq)->want, api_ended, rq);
}

bool upload_post_soon(struct http_request *rq)
{
        struct upload_request *upload;
        enum sha_algorithm algorithm;
        struct slice repository;
        struct err ignored;

        if (rq->body.n || http_request_query(rq, S("mount"), 0).p || http_request_query(rq, S("digest"), 0).p)
                return false;
        if (!api_repository(rq, &repository, &ignored).ok || !choose_algorithm(rq, NULL, &algorithm, &ignored).ok)
                return false;
        if (!upload_request_new(rq, &upload, &ignored).ok || !push_try_begin(registry_of(rq), repository, algorithm, &upload->push))
                return false;
        rq->later = save_later;
        rq->answer = answer_begun;
        return true;
}

/* Is the body what Content-Range says, behind what is there? */
static bool is_in_order(const struct http_request *rq, const struct push *push)
{
        struct slice range = http_request_header(rq, S("Content-Range"));
        uint64_t first, last;

        return !range.p || (range_parse_chunk(range, &first, &last) && first == push_received(push) && last - first + 1 == rq->body.n);
}

/* The session, with the body in it where that has the digest that it should have. */
static bool take_small(struct http_request *rq, const struct digest *want, struct push **ret_push)
{
        struct slice repository;
        struct upload_id id;
        struct err ignored;

        if (!api_repository(rq, &repository, &ignored).ok || !upload_id_parse(rq->params[1], &id) ||
            !push_try_resume(registry_of(rq), repository, &id, ret_push))
                return false;
        if (is_in_order(rq, *ret_push) && (!want || push_will_be(*ret_push, rq->body, want)) && push_try_write(*ret_push, rq->body))
                return true;
        push_free(TAKE_PTR(*ret_push));
        return false;
}

bool upload_patch_soon(struct http_request *rq)
{
        struct upload_request *upload;
        struct err ignored;

        if (!upload_request_new(rq, &upload, &ignored).ok || !take_small(rq, NULL, &upload->push))
                return false;
        rq->later = save_later;
        rq->answer = answer_saved;
        return true;
}

bool upload_put_soon(struct http_request *rq)
{
        struct slice digest = http_request_query(rq, S("digest"), 0);
        struct upload_request *upload;
        struct err ignored;

        if (!digest.p || !upload_request_new(rq, &upload, &ignored).ok || !digest_parse(digest, &upload->want, &ignored).ok ||
            !take_small(rq, &upload->want, &upload->push))
                return false;
        rq->later = store_later;
        rq->answer = answer_stored;
        return true;
}

/* --- GET and DELETE --------------------------------------------------------------------------------------------------- */

RESULT upload_get(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct upload_request *upload;

        TRY(upload_request_new(rq, &upload, e));
        TRY(resume(rq, upload, e));
        http_response_empty(rs, 204);
        session_headers(rq, rs, upload->push);
        return OK;
}

RESULT upload_delete(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct upload_request *upload;

        TRY(upload_request_new(rq, &upload, e));
        TRY(resume(rq, upload, e));
        TRY(push_cancel(upload->push, e));
        http_response_empty(rs, 204);
        return OK;
}
