#include "transfer/layout.h"

#include "base/cleanup.h"
#include "oci/manifest.h"
#include "oci/reference.h"

#include <jansson.h>

#define ANNOTATION_REF_NAME "org.opencontainers.image.ref.name"
#define ANNOTATION_CONTAINERD_NAME "io.containerd.image.name"
enum { NAME_BYTES_MAX = 1024, PATH_BYTES_MAX = 1024 };

static void json_unref(json_t **value)
{
        json_decref(*value);
}
#define _cleanup_json_ _cleanup_(json_unref)

/* --- JSON ------------------------------------------------------------------------------------------------------------- */

static RESULT parse(struct slice text, const char *what, json_t **ret_root, struct err *e)
{
        json_error_t why;

        if (text.n > LAYOUT_DOCUMENT_MAX)
                return FAIL(e, ERR_LIMIT, 0, "%s has more than %d bytes", what, LAYOUT_DOCUMENT_MAX);
        *ret_root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
        if (!*ret_root)
                return FAIL(e, ERR_INVALID, 0, "%s is not valid JSON: %s (line %d)", what, why.text, why.line);
        return OK;
}

static RESULT copy_string(const json_t *value, const char *field, size_t max, struct arena *arena, struct slice *ret_text, struct err *e)
{
        if (!json_is_string(value))
                return FAIL(e, ERR_INVALID, 0, "%s must be a string", field);
        if (json_string_length(value) > max)
                return FAIL(e, ERR_LIMIT, 0, "%s is longer than %zu characters", field, max);
        *ret_text = arena_copy(arena, (struct slice){ json_string_value(value), json_string_length(value) });
        return ret_text->p ? OK : FAIL(e, ERR_NOMEM, 0, "no memory for %s", field);
}

/* A list of strings; null is an empty one. */
static RESULT copy_strings(const json_t *array, const char *field, size_t max, struct arena *arena, struct slice **ret_items,
                           size_t *ret_count, struct err *e)
{
        size_t count = json_array_size(array);

        if (array && !json_is_array(array) && !json_is_null(array))
                return FAIL(e, ERR_INVALID, 0, "%s must be a list", field);
        if (count > max)
                return FAIL(e, ERR_LIMIT, 0, "%s has more than %zu entries", field, max);
        *ret_items = arena_alloc(arena, (count + 1) * sizeof **ret_items);
        if (!*ret_items)
                return FAIL(e, ERR_NOMEM, 0, "no memory for %s", field);
        for (size_t i = 0; i < count; i++)
                TRY(copy_string(json_array_get(array, i), field, PATH_BYTES_MAX, arena, &(*ret_items)[i], e));
        *ret_count = count;
        return OK;
}

static RESULT array_of(const json_t *array, const char *what, size_t *ret_count, struct err *e)
{
        if (!json_is_array(array))
                return FAIL(e, ERR_INVALID, 0, "%s must be a list", what);
        if (json_array_size(array) > LAYOUT_IMAGES_MAX)
                return FAIL(e, ERR_LIMIT, 0, "%s has more than %d entries", what, LAYOUT_IMAGES_MAX);
        *ret_count = json_array_size(array);
        return OK;
}

static RESULT read_digest(const json_t *value, const char *field, struct digest *ret_digest, struct err *e)
{
        struct slice text = { json_string_value(value), json_string_length(value) };

        if (!json_is_string(value))
                return FAIL(e, ERR_INVALID, 0, "%s must be a string", field);
        return digest_parse(text, ret_digest, e).ok ? OK : err_context(e, "%s", field);
}

/* --- index.json ------------------------------------------------------------------------------------------------------- */

static RESULT read_image(const json_t *entry, struct arena *arena, struct layout_image *image, struct err *e)
{
        const json_t *annotations = json_object_get(entry, "annotations"), *size = json_object_get(entry, "size");
        const json_t *name = json_object_get(annotations, ANNOTATION_CONTAINERD_NAME);

        if (!name)
                name = json_object_get(annotations, ANNOTATION_REF_NAME);
        TRY(copy_string(json_object_get(entry, "mediaType"), "mediaType in index.json", MEDIA_TYPE_MAX, arena, &image->media_type, e));
        TRY(read_digest(json_object_get(entry, "digest"), "digest in index.json", &image->digest, e));
        if (!json_is_integer(size) || json_integer_value(size) < 0)
                return FAIL(e, ERR_INVALID, 0, "size in index.json must be a number of bytes");
        image->size = (uint64_t)json_integer_value(size);
        image->name = S("");
        return name ? copy_string(name, "the image's name in index.json", NAME_BYTES_MAX, arena, &image->name, e) : OK;
}

RESULT layout_parse_index(struct slice json, struct arena *arena, struct layout_image **ret_images, size_t *ret_count, struct err *e)
{
        _cleanup_json_ json_t *root = NULL;
        const json_t *manifests;
        struct layout_image *images;
        size_t count;

        TRY(parse(json, "index.json", &root, e));
        manifests = json_object_get(root, "manifests");
        TRY(array_of(manifests, "manifests in index.json", &count, e));
        images = arena_alloc(arena, (count + 1) * sizeof *images);
        if (!images)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an index of %zu images", count);
        for (size_t i = 0; i < count; i++)
                TRY(read_image(json_array_get(manifests, i), arena, &images[i], e));
        *ret_images = images;
        *ret_count = count;
        return OK;
}

void layout_put_index(struct buf *b, const struct layout_image *images, size_t count)
{
        buf_put(b, S("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_INDEX "\",\"manifests\":["));
        for (size_t i = 0; i < count; i++) {
                buf_put(b, i ? S(",{\"mediaType\":") : S("{\"mediaType\":"));
                buf_put_json_string(b, images[i].media_type);
                buf_printf(b, ",\"digest\":\"%s\",\"size\":%llu", digest_format(&images[i].digest).s,
                           (unsigned long long)images[i].size);
                if (images[i].name.n) {
                        buf_put(b, S(",\"annotations\":{\"" ANNOTATION_REF_NAME "\":"));
                        buf_put_json_string(b, images[i].name);
                        buf_put_char(b, '}');
                }
                buf_put_char(b, '}');
        }
        buf_put(b, S("]}"));
}

/* --- manifest.json ---------------------------------------------------------------------------------------------------- */

static RESULT read_saved(const json_t *entry, struct arena *arena, struct layout_saved *image, struct err *e)
{
        TRY(copy_string(json_object_get(entry, "Config"), "Config in manifest.json", PATH_BYTES_MAX, arena, &image->config, e));
        TRY(copy_strings(json_object_get(entry, "Layers"), "Layers in manifest.json", LAYOUT_LAYERS_MAX, arena, &image->layers,
                         &image->layer_count, e));
        return copy_strings(json_object_get(entry, "RepoTags"), "RepoTags in manifest.json", LAYOUT_TAGS_MAX, arena, &image->tags,
                            &image->tag_count, e);
}

RESULT layout_parse_saved(struct slice json, struct arena *arena, struct layout_saved **ret_images, size_t *ret_count, struct err *e)
{
        _cleanup_json_ json_t *root = NULL;
        struct layout_saved *images;
        size_t count;

        TRY(parse(json, "manifest.json", &root, e));
        TRY(array_of(root, "manifest.json", &count, e));
        images = arena_alloc(arena, (count + 1) * sizeof *images);
        if (!images)
                return FAIL(e, ERR_NOMEM, 0, "no memory for %zu images", count);
        for (size_t i = 0; i < count; i++)
                TRY(read_saved(json_array_get(root, i), arena, &images[i], e));
        *ret_images = images;
        *ret_count = count;
        return OK;
}

/* "blobs/sha256/…" of a descriptor. */
static bool put_blob_path(struct buf *b, const json_t *descriptor)
{
        struct digest_text text;
        struct digest digest;
        struct err ignored;
        char *colon;

        if (!read_digest(json_object_get(descriptor, "digest"), "digest", &digest, &ignored).ok)
                return false;
        text = digest_format(&digest);
        colon = strchr(text.s, ':');
        *colon = 0;
        buf_printf(b, "\"blobs/%s/%s\"", text.s, colon + 1);
        return true;
}

/* docker load takes images whose configuration is one of these. */
static bool is_runnable(const json_t *config)
{
        const char *type = json_string_value(json_object_get(config, "mediaType"));

        return type && (strcmp(type, "application/vnd.oci.image.config.v1+json") == 0 ||
                        strcmp(type, "application/vnd.docker.container.image.v1+json") == 0);
}

bool layout_put_saved(struct buf *b, struct slice manifest, struct slice name)
{
        _cleanup_json_ json_t *root = json_loadb(manifest.p, manifest.n, 0, NULL);
        const json_t *config = json_object_get(root, "config"), *layers = json_object_get(root, "layers");

        if (!is_runnable(config))
                return false;
        buf_put(b, S("{\"Config\":"));
        if (!put_blob_path(b, config))
                return false;
        buf_put(b, S(",\"RepoTags\":["));
        buf_put_json_string(b, name);
        buf_put(b, S("],\"Layers\":["));
        for (size_t i = 0; i < json_array_size(layers); i++) {
                if (i)
                        buf_put_char(b, ',');
                if (!put_blob_path(b, json_array_get(layers, i)))
                        return false;
        }
        buf_put(b, S("]}"));
        return true;
}

RESULT layout_parse_diff_ids(struct slice config, struct arena *arena, struct digest **ret_ids, size_t *ret_count, struct err *e)
{
        _cleanup_json_ json_t *root = NULL;
        const json_t *ids;

        TRY(parse(config, "the image's configuration", &root, e));
        ids = json_object_get(json_object_get(root, "rootfs"), "diff_ids");
        if (!json_is_array(ids) || json_array_size(ids) > LAYOUT_LAYERS_MAX)
                return FAIL(e, ERR_INVALID, 0, "the image's configuration does not list its layers (rootfs.diff_ids)");
        *ret_ids = arena_alloc(arena, (json_array_size(ids) + 1) * sizeof **ret_ids);
        if (!*ret_ids)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an image's configuration");
        for (size_t i = 0; i < json_array_size(ids); i++)
                TRY(read_digest(json_array_get(ids, i), "rootfs.diff_ids", &(*ret_ids)[i], e));
        *ret_count = json_array_size(ids);
        return OK;
}

static void put_part(struct buf *b, const struct layout_part *part)
{
        buf_printf(b, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%llu}", part->media_type, digest_format(&part->digest).s,
                   (unsigned long long)part->size);
}

void layout_put_manifest(struct buf *b, const struct layout_part *parts, size_t count)
{
        buf_put(b, S("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"config\":"));
        put_part(b, &parts[0]);
        buf_put(b, S(",\"layers\":["));
        for (size_t i = 1; i < count; i++) {
                if (i > 1)
                        buf_put_char(b, ',');
                put_part(b, &parts[i]);
        }
        buf_put(b, S("]}"));
}

/* --- Names ------------------------------------------------------------------------------------------------------------ */

static bool is_host(struct slice part)
{
        return slice_eq(part, S("localhost")) || (part.n && (memchr(part.p, '.', part.n) || memchr(part.p, ':', part.n)));
}

static struct slice without_host(struct slice name)
{
        struct slice rest = name, first;

        if (!slice_cut(&rest, '/', &first) || !is_host(first))
                return name;
        if (slice_eq(first, S("docker.io")) && slice_starts(rest, S("library/")))
                return slice_skip(rest, strlen("library/"));
        return rest;
}

struct layout_name layout_split_name(struct slice name, bool tag_alone)
{
        const char *slash, *colon;

        name = without_host(name);
        if (!name.p)
                name = S("");
        slash = memrchr(name.p, '/', name.n);
        colon = memrchr(name.p, ':', name.n);
        if (colon && (!slash || colon > slash))
                return (struct layout_name){ slice_head(name, (size_t)(colon - name.p)),
                                             slice_skip(name, (size_t)(colon - name.p) + 1) };
        if (tag_alone && !slash)
                return (struct layout_name){ S(""), name };
        return (struct layout_name){ name, S("") };
}
