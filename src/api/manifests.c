/* Manifests: distribution-spec, "Pulling manifests", "Pushing Manifests", "Pushing Manifests with Subject", "Deleting tags",
 * "Deleting Manifests". */
#include "api/internal.h"

enum { SMALL_MANIFEST_MAX = 8192 };             /* what a loop parses itself */

/* A manifest that was asked for by its digest never changes; one that was asked for by a tag may be another in a moment. */
static struct slice cache_control(const struct http_request *rq)
{
        return memchr(rq->params[1].p, ':', rq->params[1].n) ? S("max-age=31536000, immutable") : S("no-cache");
}

/* GET and HEAD, from memory. */
bool manifest_now(struct http_request *rq, struct http_response *rs)
{
        struct registry_object *object = registry_manifest_now(registry_of(rq), rq->params[0], rq->params[1]);

        if (!object)
                return false;
        http_response_bytes(rs, 200, object->media_type, object->bytes);
        api_use_object(rs, object);
        http_response_header(rs, S("Cache-Control"), cache_control(rq));
        return true;
}

/* GET and HEAD. */
RESULT manifest_get(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;
        struct meta_manifest manifest;

        TRY(api_repository(rq, &repository, e));
        TRY(registry_manifest_get(registry_of(rq), repository, rq->params[1], rq->arena, &manifest, e));

        http_response_bytes(rs, 200, manifest.media_type, manifest.payload);
        api_digest_headers(rq, rs, &manifest.digest);
        http_response_header(rs, S("Cache-Control"), cache_control(rq));
        return OK;
}

/* ?tag=, several. false: more than one push may name. */
static bool further_tags(struct http_request *rq, struct slice tags[static API_TAGS_PER_PUT_MAX], size_t *ret_count)
{
        struct slice tag;
        size_t count = 0;

        while ((tag = http_request_query(rq, S("tag"), count)).p) {
                if (count == API_TAGS_PER_PUT_MAX)
                        return false;
                tags[count++] = tag;
        }
        *ret_count = count;
        return true;
}

struct manifest_push {
        struct registry_manifest_request request;
        struct registry_manifest_result result;
        struct slice tags[API_TAGS_PER_PUT_MAX];
        struct registry_manifest_push *soon;    /* of one that is answered later */
};

static void begin_push(struct http_request *rq, struct manifest_push *push)
{
        *push = (struct manifest_push){
                .request = {
                        .repository = rq->params[0],
                        .reference = rq->params[1],
                        .tags = push->tags,
                        .content_type = http_request_header(rq, S("Content-Type")),
                        .body = rq->body,
                },
        };
}

static void answer_pushed(struct http_request *rq, struct http_response *rs, const struct manifest_push *push)
{
        struct slice text = api_digest_text(rq, &push->result.digest);

        http_response_empty(rs, 201);
        http_response_header(rs, S("Location"),
                             api_text(rq, "/v2/%.*s/manifests/%.*s", SLICE_ARG(push->request.repository), SLICE_ARG(text)));
        http_response_header(rs, S("Docker-Content-Digest"), text);
        if (push->result.has_subject)
                http_response_header(rs, S("OCI-Subject"), api_digest_text(rq, &push->result.subject));
        for (size_t i = 0; i < push->request.tag_count; i++)
                http_response_header(rs, S("OCI-Tag"), push->tags[i]);
}

RESULT manifest_put(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct manifest_push push;

        begin_push(rq, &push);
        TRY(api_repository(rq, &push.request.repository, e));
        if (!further_tags(rq, push.tags, &push.request.tag_count)) {
                IGNORE(FAIL(e, ERR_LIMIT, 0, "one push may name at most %d tags; push the others in a further request",
                            API_TAGS_PER_PUT_MAX));
                api_fail(rq, rs, 414, e);
                return OK;
        }
        TRY(registry_manifest_put(registry_of(rq), &push.request, rq->arena, &push.result, e));
        answer_pushed(rq, rs, &push);
        return OK;
}

static void put_later(struct http_request *rq)
{
        struct manifest_push *push = rq->state;

        registry_manifest_put_soon(registry_of(rq), push->soon, api_ended, rq);
}

static void answer_put(struct http_request *rq, struct http_response *rs)
{
        answer_pushed(rq, rs, rq->state);
}

/* On the loop, where a small manifest takes no longer than other requests. */
bool manifest_put_soon(struct http_request *rq)
{
        struct manifest_push *push = rq->body.n <= SMALL_MANIFEST_MAX ? arena_alloc(rq->arena, sizeof *push) : NULL;
        struct err ignored;

        if (!push)
                return false;
        begin_push(rq, push);
        if (!api_repository(rq, &push->request.repository, &ignored).ok || !further_tags(rq, push->tags, &push->request.tag_count))
                return false;
        push->soon = registry_manifest_try_put(registry_of(rq), &push->request, rq->arena, &push->result);
        rq->state = push;
        rq->later = put_later;
        rq->answer = answer_put;
        return push->soon;
}

RESULT manifest_delete(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;

        TRY(api_repository(rq, &repository, e));
        TRY(registry_manifest_delete(registry_of(rq), repository, rq->params[1], e));
        http_response_empty(rs, 202);
        return OK;
}
