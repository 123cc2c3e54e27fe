/* What imports and exports ask a registry for (distribution-spec), over client.h. Names and tags must have been checked
 * (oci/reference.h). One thread. ERR_NOT_FOUND where it is not there; other refusals travel up with the registry's own words. */
#pragma once

#include "oci/digest.h"
#include "transfer/client.h"

struct remote_manifest {
        char media_type[256];
        struct digest digest;
};
/* `reference` is a tag or a digest. The bytes are held against the digest. ERR_LIMIT: larger than the buffer may hold. */
RESULT remote_manifest_get(struct client *client, struct slice repository, struct slice reference, struct buf *body,
                           struct remote_manifest *ret_manifest, struct err *e);
RESULT remote_manifest_has(struct client *client, struct slice repository, const struct digest *digest, bool *ret_has, struct err *e);
RESULT remote_manifest_put(struct client *client, struct slice repository, struct slice reference, struct slice media_type,
                           struct slice body, struct err *e);

struct remote_place {
        char target[CLIENT_TARGET_MAX]; /* of a session */
};
/* Asks whether any repository has the blob, and links it. false: *ret_place is a session that waits for its bytes. */
RESULT remote_blob_mount(struct client *client, struct slice repository, const struct digest *digest, bool *ret_mounted,
                         struct remote_place *ret_place, struct err *e);
RESULT remote_upload_begin(struct client *client, struct slice repository, struct remote_place *ret_place, struct err *e);
/* The session's end: begin, client_send() the bytes, end. `digest` NULL: the bytes are a part, *place moves on. */
RESULT remote_upload_send(struct client *client, const struct remote_place *place, const struct digest *digest, uint64_t bytes,
                          struct err *e);
RESULT remote_upload_end(struct client *client, struct remote_place *place, const struct digest *digest, struct err *e);
RESULT remote_upload_cancel(struct client *client, const struct remote_place *place, struct err *e);

/* Begins to receive a blob. */
RESULT remote_blob_open(struct client *client, struct slice repository, const struct digest *digest, uint64_t *ret_size, struct err *e);
/* A small one, whole, held against its digest. */
RESULT remote_blob_get(struct client *client, struct slice repository, const struct digest *digest, struct buf *body, struct err *e);

/* One page of a list: tags (`target` is /v2/<name>/tags/list) or referrers. *ret_next is empty after the last. */
RESULT remote_page(struct client *client, const char *target, struct buf *body, struct remote_place *ret_next, struct err *e);
