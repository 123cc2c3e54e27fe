/* Manifests: image-spec, manifest.md, image-index.md and descriptor.md; Docker's schema 2 manifests and lists, which have the same
 * form. Only what a registry must know is read; the bytes themselves are kept as they came.
 *
 *      TRY(manifest_parse(content_type, body, arena, &manifest, e));
 *
 * All slices live in the arena. Any thread; these may wait for one another. Memory is bounded: a body with an absurd number of
 * values is refused before it is parsed, and those with many are parsed one at a time. */
#pragma once

#include "base/arena.h"
#include "oci/digest.h"
#include "oci/list.h"

#define MEDIA_TYPE_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_TYPE_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_TYPE_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"

#define MANIFEST_DESCRIPTORS_MAX 20000
#define MEDIA_TYPE_MAX 255              /* RFC 6838, section 4.2: 127 "/" 127 */

struct descriptor {
        struct slice media_type;
        struct digest digest;
        uint64_t size;
        bool is_manifest;               /* an index's child */
        bool is_foreign;                /* may lie somewhere else: it has urls or a non-distributable type */
};

struct manifest {
        struct slice media_type;
        struct slice artifact_type;     /* as the referrers API reports it; empty: none */
        struct slice annotations;       /* a compact JSON object; empty: none */
        bool has_subject;
        struct descriptor subject;
        struct descriptor *descriptors; /* in digest order, each digest once */
        size_t descriptor_count;
};

/* ERR_MANIFEST_INVALID, ERR_DIGEST_INVALID; the message names the field. An empty content type: the body's own counts. */
RESULT manifest_parse(struct slice content_type, struct slice body, struct arena *arena, struct manifest *ret_manifest,
                      struct err *e);

/* The entries of an index as referrers (the fallback tag of older clients). Entries that are malformed are left out.
 * ERR_MANIFEST_INVALID: not an index. */
RESULT index_referrers_parse(struct slice body, struct arena *arena, struct referrer **ret_referrers, size_t *ret_count,
                             struct err *e);
