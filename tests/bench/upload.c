/*      POST -> (PATCH in chunks ->) PUT */
#include "upload.h"

#include <stdio.h>

static void send_head(struct wire_conn *conn, struct upload *up, int n, const struct wire_body *body)
{
        CHECK(n > 0 && (size_t)n < sizeof(up->head));
        wire_send(conn, (struct slice){ up->head, (size_t)n }, body, false);
}

void upload_begin(struct wire_conn *conn, struct upload *up, const char *repository, const char *digest, struct wire_body body,
                  uint64_t body_bytes, bool streamed)
{
        up->at = UPLOAD_POST;
        up->digest = digest;
        up->body = body;
        up->body_bytes = body_bytes;
        up->streamed = streamed;
        send_head(conn, up,
                  snprintf(up->head, sizeof(up->head), "POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n",
                           repository, conn->loop->target->host), NULL);
}

/* Location is a path, or an address whose path is meant. */
static struct slice location_path(struct slice location)
{
        const char *host_end = NULL;
        struct slice rest = location;

        if (slice_starts(rest, S("http://")) || slice_starts(rest, S("https://"))) {
                rest = slice_skip(rest, slice_starts(rest, S("https://")) ? 8 : 7);
                host_end = memchr(rest.p, '/', rest.n);
        }
        return host_end ? slice_skip(location, (size_t)(host_end - location.p)) : location;
}

static void send_patch(struct wire_conn *conn, struct upload *up, struct slice path)
{
        up->at = UPLOAD_PATCH;
        send_head(conn, up,
                  snprintf(up->head, sizeof(up->head), "PATCH %.*s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n",
                           SLICE_ARG(path), conn->loop->target->host), &up->body);
}

static void send_put(struct wire_conn *conn, struct upload *up, struct slice path)
{
        const char *joint = memchr(path.p, '?', path.n) ? "&" : "?";
        unsigned long long length = up->streamed ? 0 : up->body_bytes;

        up->at = UPLOAD_PUT;
        send_head(conn, up,
                  snprintf(up->head, sizeof(up->head),
                           "PUT %.*s%sdigest=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Length: %llu\r\n\r\n",
                           SLICE_ARG(path), joint, up->digest, conn->loop->target->host, length),
                  up->streamed ? NULL : &up->body);
}

enum upload_state upload_step(struct load_client *c, struct upload *up, const struct wire_response *rs)
{
        struct slice path = location_path(rs->location);

        switch (up->at) {
        case UPLOAD_POST:
                if (!load_expect(c, "POST of an upload", rs, 202))
                        return UPLOAD_FAILED;
                if (up->streamed)
                        send_patch(&c->conn, up, path);
                else
                        send_put(&c->conn, up, path);
                return UPLOAD_MORE;
        case UPLOAD_PATCH:
                if (!load_expect(c, "PATCH of an upload", rs, 202))
                        return UPLOAD_FAILED;
                send_put(&c->conn, up, path);
                return UPLOAD_MORE;
        case UPLOAD_PUT:
                return load_expect(c, "PUT of an upload", rs, 201) ? UPLOAD_DONE : UPLOAD_FAILED;
        }
        return UPLOAD_FAILED;
}
