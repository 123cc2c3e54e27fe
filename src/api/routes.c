/* The table of routes. The columns are explained in http/handler.h. Reading it is reading the API. */
#include "api/internal.h"

const struct http_route api_route_table[] = {
        { HTTP_GET | HTTP_HEAD, "/v2", ACTION_PING, BODY_NONE, .slash = true, .try_now = base_get },
        { HTTP_GET | HTTP_HEAD, "/v2/_catalog", ACTION_CATALOG, BODY_NONE, .begin = catalog_list },

        /* "Pulling blobs", "Deleting Blobs" */
        { HTTP_HEAD, "/v2/{name...}/blobs/{digest}", ACTION_PULL, BODY_NONE, .try_now = blob_now, .begin = blob_head },
        { HTTP_GET, "/v2/{name...}/blobs/{digest}", ACTION_PULL, BODY_NONE, .try_now = blob_now, .begin = blob_get },
        { HTTP_DELETE, "/v2/{name...}/blobs/{digest}", ACTION_DELETE, BODY_NONE, .begin = blob_delete },

        /* "Pushing blobs" */
        { HTTP_POST, "/v2/{name...}/blobs/uploads", ACTION_PUSH, BODY_STREAM, .slash = true, .try_soon = upload_post_soon,
          .begin = upload_post, .write = upload_write, .finish = upload_post_finish, .fini = upload_fini },
        { HTTP_GET | HTTP_HEAD, "/v2/{name...}/blobs/uploads/{id}", ACTION_PUSH, BODY_NONE, .begin = upload_get, .fini = upload_fini },
        { HTTP_PATCH, "/v2/{name...}/blobs/uploads/{id}", ACTION_PUSH, BODY_STREAM, .try_soon = upload_patch_soon,
          .begin = upload_patch, .write = upload_write, .finish = upload_patch_finish, .broken = upload_broken, .fini = upload_fini },
        { HTTP_PUT, "/v2/{name...}/blobs/uploads/{id}", ACTION_PUSH, BODY_STREAM, .try_soon = upload_put_soon,
          .begin = upload_put, .write = upload_write, .finish = upload_put_finish, .broken = upload_broken, .fini = upload_fini },
        /* giving up an upload is part of pushing, not a deletion */
        { HTTP_DELETE, "/v2/{name...}/blobs/uploads/{id}", ACTION_PUSH, BODY_NONE, .begin = upload_delete, .fini = upload_fini },

        /* "Pulling manifests", "Pushing Manifests", "Deleting Manifests" */
        { HTTP_GET | HTTP_HEAD, "/v2/{name...}/manifests/{reference}", ACTION_PULL, BODY_NONE, .try_now = manifest_now,
          .begin = manifest_get },
        { HTTP_PUT, "/v2/{name...}/manifests/{reference}", ACTION_PUSH, BODY_WHOLE, .try_soon = manifest_put_soon,
          .finish = manifest_put },
        { HTTP_DELETE, "/v2/{name...}/manifests/{reference}", ACTION_DELETE, BODY_NONE, .begin = manifest_delete },

        /* "Content Discovery" */
        { HTTP_GET | HTTP_HEAD, "/v2/{name...}/tags/list", ACTION_PULL, BODY_NONE, .begin = tags_list },
        { HTTP_GET | HTTP_HEAD, "/v2/{name...}/referrers/{digest}", ACTION_PULL, BODY_NONE, .begin = referrers_list },

        /* Fetch standard, "CORS-preflight request": needs no permission. */
        { HTTP_OPTIONS, "/v2", ACTION_PING, BODY_NONE, .slash = true, .try_now = preflight },
        { HTTP_OPTIONS, "/v2/{name...}", ACTION_PING, BODY_NONE, .slash = true, .try_now = preflight },

        { HTTP_GET | HTTP_HEAD, "/", ACTION_SITE, BODY_NONE, .try_now = landing_get },
        { HTTP_GET | HTTP_HEAD, "/ca.crt", ACTION_SITE, BODY_NONE, .try_now = authority_get },
        { HTTP_GET | HTTP_HEAD, "/healthz", ACTION_SITE, BODY_NONE, .try_now = health_get },
        { HTTP_GET | HTTP_HEAD, "/readyz", ACTION_SITE, BODY_NONE, .begin = ready_get },
};
const size_t api_route_count = ARRAY_LEN(api_route_table);
