#include "transfer/remote.h"

#include <stdarg.h>
#include <stdio.h>

static RESULT target(char text[static CLIENT_TARGET_MAX], struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);

static RESULT target(char text[static CLIENT_TARGET_MAX], struct err *e, const char *fmt, ...)
{
        va_list args;
        int n;

        va_start(args, fmt);
        n = vsnprintf(text, CLIENT_TARGET_MAX, fmt, args);
        va_end(args);
        return n >= 0 && n < CLIENT_TARGET_MAX ? OK : FAIL(e, ERR_INVALID, 0, "the request is too long");
}

static struct result refused(struct client *client, const struct client_answer *answer, const char *verb, const char *what,
                             struct err *e)
{
        char text[300];

        snprintf(text, sizeof text, "%s %.250s", verb, what);
        return client_refused(client, answer, text, e);
}

static RESULT check_bytes(const struct digest *digest, struct slice bytes, struct err *e)
{
        struct digest have;

        digest_of_bytes(digest->algorithm, bytes, &have);
        return digest_eq(&have, digest) ? OK : FAIL(e, ERR_CORRUPT, 0, "the bytes of %s are not those of its digest",
                                                    digest_format(digest).s);
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

RESULT remote_manifest_get(struct client *client, struct slice repository, struct slice reference, struct buf *body,
                           struct remote_manifest *ret_manifest, struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/manifests/%.*s", SLICE_ARG(repository), SLICE_ARG(reference)));
        TRY(client_ask(client, "GET", path, &answer, e));
        if (answer.status != 200)
                return refused(client, &answer, "read", path + strlen("/v2/"), e);
        TRY(client_receive_all(client, body, e));
        TRY(digest_parse(slice_from(answer.digest), &ret_manifest->digest, e));
        memcpy(ret_manifest->media_type, answer.media_type, sizeof ret_manifest->media_type);
        return check_bytes(&ret_manifest->digest, buf_slice(body), e);
}

RESULT remote_manifest_has(struct client *client, struct slice repository, const struct digest *digest, bool *ret_has, struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/manifests/%s", SLICE_ARG(repository), digest_format(digest).s));
        TRY(client_ask(client, "HEAD", path, &answer, e));
        *ret_has = answer.status == 200;
        return answer.status == 200 || answer.status == 404 ? OK : refused(client, &answer, "look for", path + strlen("/v2/"), e);
}

RESULT remote_manifest_put(struct client *client, struct slice repository, struct slice reference, struct slice media_type,
                           struct slice body, struct err *e)
{
        char path[CLIENT_TARGET_MAX], headers[400];
        struct client_request request = { .method = "PUT", .target = path, .headers = headers, .body_bytes = body.n };
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/manifests/%.*s", SLICE_ARG(repository), SLICE_ARG(reference)));
        snprintf(headers, sizeof headers, "Content-Type: %.*s\r\n", SLICE_ARG(slice_head(media_type, 300)));
        TRY(client_begin(client, &request, e));
        TRY(client_send(client, body, e));
        TRY(client_answer(client, &answer, e));
        return answer.status == 201 ? OK : refused(client, &answer, "store", path + strlen("/v2/"), e);
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

static RESULT take_place(struct client *client, const struct client_answer *answer, const char *path, struct remote_place *place,
                         struct err *e)
{
        if (answer->status != 202 || !*answer->location)
                return refused(client, answer, "upload to", path + strlen("/v2/"), e);
        memcpy(place->target, answer->location, sizeof answer->location);
        return OK;
}

RESULT remote_blob_mount(struct client *client, struct slice repository, const struct digest *digest, bool *ret_mounted,
                         struct remote_place *ret_place, struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/blobs/uploads/?mount=%s", SLICE_ARG(repository), digest_format(digest).s));
        TRY(client_ask(client, "POST", path, &answer, e));
        *ret_mounted = answer.status == 201;
        return *ret_mounted ? OK : take_place(client, &answer, path, ret_place, e);
}

RESULT remote_upload_begin(struct client *client, struct slice repository, struct remote_place *ret_place, struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/blobs/uploads/", SLICE_ARG(repository)));
        TRY(client_ask(client, "POST", path, &answer, e));
        return take_place(client, &answer, path, ret_place, e);
}

RESULT remote_upload_send(struct client *client, const struct remote_place *place, const struct digest *digest, uint64_t bytes,
                          struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_request request = { .method = digest ? "PUT" : "PATCH", .target = path, .body_bytes = bytes,
                                          .headers = "Content-Type: application/octet-stream\r\n" };

        TRY(target(path, e, "%s%s%s", place->target, digest ? "?digest=" : "", digest ? digest_format(digest).s : ""));
        return client_begin(client, &request, e);
}

RESULT remote_upload_end(struct client *client, struct remote_place *place, const struct digest *digest, struct err *e)
{
        struct client_answer answer;

        TRY(client_answer(client, &answer, e));
        if (!digest)
                return take_place(client, &answer, place->target, place, e);
        return answer.status == 201 ? OK : refused(client, &answer, "store blob", digest_format(digest).s, e);
}

RESULT remote_upload_cancel(struct client *client, const struct remote_place *place, struct err *e)
{
        struct client_answer answer;

        return client_ask(client, "DELETE", place->target, &answer, e);
}

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

static RESULT ask_for_blob(struct client *client, const char *method, struct slice repository, const struct digest *digest,
                           uint64_t *ret_size, struct err *e)
{
        char path[CLIENT_TARGET_MAX];
        struct client_answer answer;

        TRY(target(path, e, "/v2/%.*s/blobs/%s", SLICE_ARG(repository), digest_format(digest).s));
        TRY(client_ask(client, method, path, &answer, e));
        *ret_size = answer.body_bytes;
        return answer.status == 200 ? OK : refused(client, &answer, "read", path + strlen("/v2/"), e);
}

RESULT remote_blob_open(struct client *client, struct slice repository, const struct digest *digest, uint64_t *ret_size, struct err *e)
{
        return ask_for_blob(client, "GET", repository, digest, ret_size, e);
}

RESULT remote_blob_get(struct client *client, struct slice repository, const struct digest *digest, struct buf *body, struct err *e)
{
        uint64_t size;

        TRY(remote_blob_open(client, repository, digest, &size, e));
        TRY(client_receive_all(client, body, e));
        return check_bytes(digest, buf_slice(body), e);
}

RESULT remote_page(struct client *client, const char *path, struct buf *body, struct remote_place *ret_next, struct err *e)
{
        struct client_answer answer;

        TRY(client_ask(client, "GET", path, &answer, e));
        if (answer.status != 200)
                return refused(client, &answer, "list", path + strlen("/v2/"), e);
        TRY(client_receive_all(client, body, e));
        memcpy(ret_next->target, answer.next, sizeof answer.next);
        return OK;
}
