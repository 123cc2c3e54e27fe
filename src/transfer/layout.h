/* The documents of image archives: index.json of an OCI image layout (image-spec, image-layout.md), manifest.json of `docker save`,
 * and the names that stand in them. Pure functions; any thread. What is read comes from anywhere: everything is checked and bounded.
 * Slices live in the arena. ERR_INVALID: not such a document; the message names the field. ERR_LIMIT. ERR_NOMEM. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "oci/digest.h"

enum {
        LAYOUT_DOCUMENT_MAX = 2 * 1024 * 1024,  /* bytes of index.json, manifest.json */
        LAYOUT_IMAGES_MAX = 10 * 1000,
        LAYOUT_LAYERS_MAX = 1000,
        LAYOUT_TAGS_MAX = 1000,
};

#define LAYOUT_VERSION_FILE "{\"imageLayoutVersion\":\"1.0.0\"}"

/* --- index.json ------------------------------------------------------------------------------------------------------- */

struct layout_image {
        struct slice media_type;
        struct digest digest;
        uint64_t size;
        struct slice name;              /* what the archive calls it: "NAME:TAG", "TAG", …; empty: nothing */
};
RESULT layout_parse_index(struct slice json, struct arena *arena, struct layout_image **ret_images, size_t *ret_count, struct err *e);
void layout_put_index(struct buf *b, const struct layout_image *images, size_t count);

/* --- manifest.json ---------------------------------------------------------------------------------------------------- */

struct layout_saved {
        struct slice config, *layers;   /* paths in the archive */
        size_t layer_count;
        struct slice *tags;             /* "NAME:TAG" */
        size_t tag_count;
};
RESULT layout_parse_saved(struct slice json, struct arena *arena, struct layout_saved **ret_images, size_t *ret_count, struct err *e);
/* Adds an image to a manifest.json that is being written ("[" and "]" are the caller's), from the bytes of its manifest and the name
 * that it gets. false: it is not an image that `docker load` could take. */
bool layout_put_saved(struct buf *b, struct slice manifest, struct slice name);

/* The digests of an image's layers without compression, from its configuration (image-spec, config.md, "rootfs"). */
RESULT layout_parse_diff_ids(struct slice config, struct arena *arena, struct digest **ret_ids, size_t *ret_count, struct err *e);

struct layout_part {
        const char *media_type;
        struct digest digest;
        uint64_t size;
};
/* An OCI image manifest; parts[0] is the configuration, the others are the layers in their order. */
void layout_put_manifest(struct buf *b, const struct layout_part *parts, size_t count);

/* --- Names ------------------------------------------------------------------------------------------------------------ */

struct layout_name {
        struct slice repository, tag;   /* each may be empty */
};
/* "docker.io/library/app:1" is app and 1: the host is left out, because the registry that it named is another one. A name without
 * "/" and ":" is a tag where `tag_alone`, else a repository. */
struct layout_name layout_split_name(struct slice name, bool tag_alone);
