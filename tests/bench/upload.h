/* The requests that push one blob, as a part of a scenario's chain ("Pushing blobs" of the distribution specification).
 *
 *      upload_begin(&c->conn, &up, repository, digest, body, body_bytes, streamed);
 *      ... answered(): switch (upload_step(c, &up, rs)) { UPLOAD_MORE: wait, UPLOAD_DONE: go on, UPLOAD_FAILED: the run is failed }
 *
 * `up`, the digest and the body are the client's until UPLOAD_DONE. */
#pragma once

#include "load.h"

enum upload_state { UPLOAD_MORE, UPLOAD_DONE, UPLOAD_FAILED };

struct upload {
        enum { UPLOAD_POST, UPLOAD_PATCH, UPLOAD_PUT } at;
        const char *digest;             /* borrowed */
        struct wire_body body;
        uint64_t body_bytes;            /* for Content-Length, when it is not streamed */
        bool streamed;
        char head[1024];
};

void upload_begin(struct wire_conn *conn, struct upload *up, const char *repository, const char *digest, struct wire_body body,
                  uint64_t body_bytes, bool streamed);
enum upload_state upload_step(struct load_client *c, struct upload *up, const struct wire_response *rs);
