/* Manifests: distribution-spec, "Pulling manifests", "Pushing Manifests", "Pushing Manifests with Subject", "Deleting tags",
 * "Deleting Manifests". */
#include "api/internal.h"

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

RESULT manifest_put(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice tags[API_TAGS_PER_PUT_MAX];
        struct registry_manifest_request request = {
                .reference = rq->params[1],
                .tags = tags,
                .content_type = http_request_header(rq, S("Content-Type")),
                .body = rq->body,
        };
        struct registry_manifest_result result;
        struct slice text;

        TRY(api_repository(rq, &request.repository, e));
        if (!further_tags(rq, tags, &request.tag_count)) {
                IGNORE(FAIL(e, ERR_LIMIT, 0, "one push may name at most %d tags; push the others in a further request",
                            API_TAGS_PER_PUT_MAX));
                api_fail(rq, rs, 414, e);
                return OK;
        }
        TRY(registry_manifest_put(registry_of(rq), &request, rq->arena, &result, e));

        text = api_digest_text(rq, &result.digest);
        http_response_empty(rs, 201);
        http_response_header(rs, S("Location"), api_text(rq, "/v2/%.*s/manifests/%.*s", SLICE_ARG(request.repository), SLICE_ARG(text)));
        http_response_header(rs, S("Docker-Content-Digest"), text);
        if (result.has_subject)
                http_response_header(rs, S("OCI-Subject"), api_digest_text(rq, &result.subject));
        for (size_t i = 0; i < request.tag_count; i++)
                http_response_header(rs, S("OCI-Tag"), tags[i]);
        return OK;
}

RESULT manifest_delete(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;

        TRY(api_repository(rq, &repository, e));
        TRY(registry_manifest_delete(registry_of(rq), repository, rq->params[1], e));
        http_response_empty(rs, 202);
        return OK;
}
