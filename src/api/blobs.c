/* Blobs: distribution-spec, "Pulling blobs", "Checking if content exists in the registry", "Deleting Blobs". */
#include "api/internal.h"

static void blob_headers(struct http_request *rq, struct http_response *rs, const struct digest *digest)
{
        rs->ranges = true;
        api_digest_headers(rq, rs, digest);
        http_response_header(rs, S("Cache-Control"), S("max-age=31536000, immutable"));
}

/* GET and HEAD of what memory knows: of small blobs it has the bytes, of others the file. */
bool blob_now(struct http_request *rq, struct http_response *rs)
{
        struct registry_object *object = registry_blob_now(registry_of(rq), rq->params[0], rq->params[1]);
        int fd = -1;

        if (!object)
                return false;
        if (!object->bytes.p && rq->method == HTTP_GET && !registry_blob_open_now(registry_of(rq), object, &fd)) {
                registry_object_unref(object);
                return false;
        }
        if (object->bytes.p)
                http_response_bytes(rs, 200, S("application/octet-stream"), object->bytes);
        else
                http_response_file(rs, 200, S("application/octet-stream"), fd, object->size);
        api_use_object(rs, object);
        rs->ranges = true;
        http_response_header(rs, S("Cache-Control"), S("max-age=31536000, immutable"));
        return true;
}

RESULT blob_head(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;
        struct digest digest;
        uint64_t size;

        TRY(api_repository(rq, &repository, e));
        TRY(api_digest(rq, &digest, e));
        TRY(registry_blob_stat(registry_of(rq), repository, &digest, rq->arena, &size, e));

        http_response_file(rs, 200, S("application/octet-stream"), -1, size);
        blob_headers(rq, rs, &digest);
        return OK;
}

RESULT blob_get(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;
        struct digest digest;
        struct registry_blob blob;

        TRY(api_repository(rq, &repository, e));
        TRY(api_digest(rq, &digest, e));
        TRY(registry_blob_open(registry_of(rq), repository, &digest, rq->arena, &blob, e));

        if (blob.fd >= 0)
                http_response_file(rs, 200, S("application/octet-stream"), blob.fd, blob.size);
        else
                http_response_bytes(rs, 200, S("application/octet-stream"), blob.bytes);
        blob_headers(rq, rs, &digest);
        return OK;
}

RESULT blob_delete(struct http_request *rq, struct http_response *rs, struct err *e)
{
        struct slice repository;
        struct digest digest;

        TRY(api_repository(rq, &repository, e));
        TRY(api_digest(rq, &digest, e));
        TRY(registry_blob_delete(registry_of(rq), repository, &digest, e));

        http_response_empty(rs, 202);
        return OK;
}
