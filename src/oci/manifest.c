/* JSON is jansson's work; here it is held against the specification. A field that is null counts as absent: Go's encoders write
 * empty lists so. */
#include "oci/manifest.h"

#include "base/cleanup.h"

#include <jansson.h>
#include <pthread.h>

/* What a hostile body can cost is bounded by its values, not by its bytes: jansson needs up to 180 bytes for each. Bodies with many
 * are parsed one at a time, so that all workers together need little more than one. Its depth costs stack, of which a worker has
 * little. */
enum { JSON_VALUES_MAX = 400 * 1000, JSON_VALUES_FEW = 10 * 1000, JSON_DEPTH_MAX = 200, FIELD_NAME_MAX = 64 };

static pthread_mutex_t many_values_lock = PTHREAD_MUTEX_INITIALIZER;

enum manifest_kind { KIND_IMAGE, KIND_INDEX };

static const struct known_type {
        const char *media_type;
        enum manifest_kind kind;
} known_types[] = {
        { MEDIA_TYPE_OCI_MANIFEST, KIND_IMAGE },
        { MEDIA_TYPE_OCI_INDEX, KIND_INDEX },
        { MEDIA_TYPE_DOCKER_MANIFEST, KIND_IMAGE },
        { MEDIA_TYPE_DOCKER_LIST, KIND_INDEX },
};

static const char *const schema_1_types[] = {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
};

static const char *const foreign_types[] = {
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
};

static bool one_of(struct slice text, const char *const *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (slice_eq(text, slice_from(list[i])))
                        return true;
        return false;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------- */

static void json_unref(json_t **value)
{
        json_decref(*value);
}
#define _cleanup_json_ _cleanup_(json_unref)

/* How many values are there, and how deep are they, at most? Counts brackets and what separates values, outside of strings. */
struct extent {
        size_t values, depth;
};

static struct extent measure(struct slice text)
{
        struct extent extent = { 0 };
        size_t open = 0;
        bool in_string = false, escaped = false;

        for (size_t i = 0; i < text.n; i++) {
                char c = text.p[i];

                if (escaped)
                        escaped = false;
                else if (in_string && c == '\\')
                        escaped = true;
                else if (c == '"')
                        in_string = !in_string;
                else if (in_string)
                        continue;
                else if ((c == ']' || c == '}') && open)
                        open--;
                else if (c == '[' || c == '{')
                        open++;
                extent.values += !in_string && (c == ',' || c == '[' || c == '{');
                extent.depth = MAX(extent.depth, open);
        }
        return extent;
}

/* Holds the lock until it goes out of scope, where the body has many values; NULL otherwise. */
static pthread_mutex_t *begin_parsing(struct slice body)
{
        if (measure(body).values <= JSON_VALUES_FEW)
                return NULL;
        pthread_mutex_lock(&many_values_lock);
        return &many_values_lock;
}

static void end_parsing(pthread_mutex_t **lock)
{
        if (*lock)
                pthread_mutex_unlock(*lock);
}

static RESULT parse_object(struct slice body, json_t **ret_root, struct err *e)
{
        _cleanup_json_ json_t *root = NULL;
        struct extent extent = measure(body);
        json_error_t why;

        if (extent.values > JSON_VALUES_MAX)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the manifest has more than %d values", JSON_VALUES_MAX);
        if (extent.depth > JSON_DEPTH_MAX)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the manifest is nested more than %d levels deep", JSON_DEPTH_MAX);
        root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &why);
        if (!root)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the manifest is not valid JSON: %s (line %d, column %d)", why.text, why.line,
                            why.column);
        if (!json_is_object(root))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the manifest is not a JSON object");
        *ret_root = TAKE_PTR(root);
        return OK;
}

/* NULL where it is absent or null. */
static const json_t *member(const json_t *object, const char *name)
{
        const json_t *value = json_object_get(object, name);

        return json_is_null(value) ? NULL : value;
}

static RESULT copy(struct arena *arena, struct slice text, struct slice *ret_text, struct err *e)
{
        *ret_text = arena_copy(arena, text);
        return ret_text->p ? OK : FAIL(e, ERR_NOMEM, 0, "no memory for a manifest");
}

/* A string member, borrowed; empty where it is absent. `where` is for the message. */
static RESULT view_string(const json_t *object, const char *where, const char *name, size_t max, struct slice *ret_text,
                          struct err *e)
{
        const json_t *value = member(object, name);

        *ret_text = S("");
        if (!value)
                return OK;
        if (!json_is_string(value))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%s%s must be a string", where, name);
        if (json_string_length(value) > max)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%s%s is longer than %zu characters", where, name, max);
        *ret_text = (struct slice){ json_string_value(value), json_string_length(value) };
        return OK;
}

static RESULT read_string(const json_t *object, const char *where, const char *name, size_t max, struct arena *arena,
                          struct slice *ret_text, struct err *e)
{
        struct slice text;

        TRY(view_string(object, where, name, max, &text, e));
        return copy(arena, text, ret_text, e);
}

/* An array member; NULL where it is absent. */
static RESULT read_array(const json_t *object, const char *name, const json_t **ret_array, struct err *e)
{
        *ret_array = member(object, name);
        if (*ret_array && !json_is_array(*ret_array))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%s must be a list", name);
        return OK;
}

/* image-spec, annotations.md: a map of strings to strings. */
static RESULT read_annotations(const json_t *object, const char *where, struct arena *arena, struct slice *ret_text, struct err *e)
{
        const json_t *annotations = member(object, "annotations");
        _cleanup_free_ char *text = NULL;
        const char *key;
        json_t *value;

        *ret_text = S("");
        if (!annotations)
                return OK;
        if (!json_is_object(annotations))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%sannotations must be an object", where);
        json_object_foreach((json_t *)annotations, key, value)
                if (!json_is_string(value))
                        return FAIL(e, ERR_MANIFEST_INVALID, 0, "%sannotations: the value of \"%.100s\" must be a string", where, key);
        if (json_object_size(annotations) == 0)
                return OK;
        text = json_dumps(annotations, JSON_COMPACT);
        if (!text)
                return FAIL(e, ERR_NOMEM, 0, "no memory for a manifest");
        return copy(arena, slice_from(text), ret_text, e);
}

/* --- Descriptors ------------------------------------------------------------------------------------------------------ */

static RESULT read_size(const json_t *object, const char *where, uint64_t *ret_size, struct err *e)
{
        const json_t *size = member(object, "size");

        if (!json_is_integer(size) || json_integer_value(size) < 0)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%ssize must be a number of bytes", where);
        *ret_size = (uint64_t)json_integer_value(size);
        return OK;
}

static RESULT read_descriptor(const json_t *object, const char *where, struct arena *arena, struct descriptor *ret_descriptor,
                              struct err *e)
{
        struct descriptor d = { 0 };
        struct slice digest;
        const json_t *urls;

        if (!json_is_object(object))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%s must be a descriptor (an object)", where);
        TRY(read_string(object, where, "mediaType", MEDIA_TYPE_MAX, arena, &d.media_type, e));
        if (d.media_type.n == 0)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "%smediaType is missing", where);
        TRY(view_string(object, where, "digest", DIGEST_TEXT_MAX, &digest, e));
        if (!digest_parse(digest, &d.digest, e).ok)
                return err_context(e, "%sdigest", where);
        TRY(read_size(object, where, &d.size, e));
        TRY(read_array(object, "urls", &urls, e));
        d.is_foreign = json_array_size(urls) > 0 || one_of(d.media_type, foreign_types, ARRAY_LEN(foreign_types));
        *ret_descriptor = d;
        return OK;
}

static RESULT read_descriptors(const json_t *array, const char *name, bool are_manifests, struct arena *arena, struct manifest *m,
                               struct err *e)
{
        for (size_t i = 0; i < json_array_size(array); i++) {
                char where[FIELD_NAME_MAX];
                struct descriptor *d = &m->descriptors[m->descriptor_count];

                snprintf(where, sizeof where, "%s[%zu].", name, i);
                TRY(read_descriptor(json_array_get(array, i), where, arena, d, e));
                d->is_manifest = are_manifests;
                if (are_manifests)
                        d->is_foreign = false;
                m->descriptor_count++;
        }
        return OK;
}

static int by_digest(const void *a, const void *b)
{
        return digest_compare(&((const struct descriptor *)a)->digest, &((const struct descriptor *)b)->digest);
}

/* In digest order, each once: a layer may stand in an image twice. */
static RESULT sort_and_merge(struct manifest *m, struct err *e)
{
        size_t kept = 0;

        if (m->descriptor_count == 0)
                return OK;
        qsort(m->descriptors, m->descriptor_count, sizeof *m->descriptors, by_digest);
        for (size_t i = 1; i < m->descriptor_count; i++) {
                struct descriptor *last = &m->descriptors[kept], *next = &m->descriptors[i];

                if (!digest_eq(&last->digest, &next->digest)) {
                        m->descriptors[++kept] = *next;
                        continue;
                }
                if (last->size != next->size)
                        return FAIL(e, ERR_MANIFEST_INVALID, 0, "%s is named with two different sizes", digest_format(&last->digest).s);
                last->is_foreign = last->is_foreign && next->is_foreign;
        }
        m->descriptor_count = kept + 1;
        return OK;
}

static RESULT room_for(struct manifest *m, size_t count, struct arena *arena, struct err *e)
{
        if (count > MANIFEST_DESCRIPTORS_MAX)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the manifest names %zu parts; at most %d are possible", count,
                            MANIFEST_DESCRIPTORS_MAX);
        m->descriptors = arena_alloc(arena, (count + 1) * sizeof *m->descriptors);
        return m->descriptors ? OK : FAIL(e, ERR_NOMEM, 0, "no memory for a manifest with %zu parts", count);
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

/* Without parameters. */
static struct slice essence(struct slice content_type)
{
        struct slice rest = content_type, before;

        return slice_trim(slice_cut(&rest, ';', &before) ? before : content_type);
}

static RESULT refuse_schema_1(struct slice type, const json_t *root, struct err *e)
{
        const json_t *version = member(root, "schemaVersion");

        if (one_of(type, schema_1_types, ARRAY_LEN(schema_1_types)) || json_integer_value(version) == 1)
                return FAIL(e, ERR_MANIFEST_INVALID, 0,
                            "schema 1 manifests are not supported: push the image with a newer client (Docker 1.10 or later)");
        if (json_integer_value(version) != 2)
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "schemaVersion must be 2");
        return OK;
}

/* The type of the request and the type in the body must agree; one of them is enough, and without both the fields tell. */
static RESULT choose_type(struct slice sent, const json_t *root, struct arena *arena, struct slice *ret_type, struct err *e)
{
        struct slice inside;

        TRY(read_string(root, "", "mediaType", MEDIA_TYPE_MAX, arena, &inside, e));
        if (sent.n && inside.n && !slice_eq(sent, inside))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "the Content-Type is %.*s, but the manifest's mediaType is %.*s",
                            SLICE_ARG(slice_head(sent, MEDIA_TYPE_MAX)), SLICE_ARG(inside));
        if (inside.n)
                *ret_type = inside;
        else if (sent.n)
                return copy(arena, sent, ret_type, e);
        else
                *ret_type = member(root, "manifests") ? S(MEDIA_TYPE_OCI_INDEX) : S(MEDIA_TYPE_OCI_MANIFEST);
        return OK;
}

static RESULT kind_of(struct slice type, enum manifest_kind *ret_kind, struct err *e)
{
        for (size_t i = 0; i < ARRAY_LEN(known_types); i++) {
                if (slice_eq(type, slice_from(known_types[i].media_type))) {
                        *ret_kind = known_types[i].kind;
                        return OK;
                }
        }
        return FAIL(e, ERR_MANIFEST_INVALID, 0, "manifests of type \"%.*s\" are not supported; use %s or %s",
                    SLICE_ARG(slice_head(type, MEDIA_TYPE_MAX)), MEDIA_TYPE_OCI_MANIFEST, MEDIA_TYPE_OCI_INDEX);
}

/* A document that can be read as an image and as an index would be two things under one digest. */
static RESULT read_image(const json_t *root, struct arena *arena, struct manifest *m, struct err *e)
{
        const json_t *layers;
        struct descriptor *config;

        if (member(root, "manifests"))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "an image manifest may not have the field manifests");
        TRY(read_array(root, "layers", &layers, e));
        TRY(room_for(m, json_array_size(layers) + 1, arena, e));
        config = &m->descriptors[m->descriptor_count++];
        TRY(read_descriptor(member(root, "config"), "config.", arena, config, e));
        if (m->artifact_type.n == 0)
                m->artifact_type = config->media_type;
        return read_descriptors(layers, "layers", false, arena, m, e);
}

static RESULT read_index(const json_t *root, struct arena *arena, struct manifest *m, struct err *e)
{
        const json_t *manifests;

        if (member(root, "layers") || member(root, "config"))
                return FAIL(e, ERR_MANIFEST_INVALID, 0, "an index may not have the fields config and layers");
        TRY(read_array(root, "manifests", &manifests, e));
        TRY(room_for(m, json_array_size(manifests), arena, e));
        return read_descriptors(manifests, "manifests", true, arena, m, e);
}

RESULT manifest_parse(struct slice content_type, struct slice body, struct arena *arena, struct manifest *ret_manifest,
                      struct err *e)
{
        _guard_(end_parsing) pthread_mutex_t *lock = begin_parsing(body);
        _cleanup_json_ json_t *root = NULL;
        struct manifest m = { 0 };
        enum manifest_kind kind = KIND_IMAGE;

        TRY(parse_object(body, &root, e));
        TRY(choose_type(essence(content_type), root, arena, &m.media_type, e));
        TRY(refuse_schema_1(m.media_type, root, e));
        TRY(kind_of(m.media_type, &kind, e));
        TRY(read_string(root, "", "artifactType", MEDIA_TYPE_MAX, arena, &m.artifact_type, e));
        TRY(read_annotations(root, "", arena, &m.annotations, e));
        m.has_subject = member(root, "subject") != NULL;
        if (m.has_subject)
                TRY(read_descriptor(member(root, "subject"), "subject.", arena, &m.subject, e));
        TRY(kind == KIND_IMAGE ? read_image(root, arena, &m, e) : read_index(root, arena, &m, e));
        TRY(sort_and_merge(&m, e));
        *ret_manifest = m;
        return OK;
}

/* --- Fallback tags ---------------------------------------------------------------------------------------------------- */

static RESULT read_referrer(const json_t *entry, struct arena *arena, struct referrer *ret_referrer, struct err *e)
{
        struct referrer r = { 0 };
        struct descriptor d;

        TRY(read_descriptor(entry, "", arena, &d, e));
        TRY(read_string(entry, "", "artifactType", MEDIA_TYPE_MAX, arena, &r.artifact_type, e));
        TRY(read_annotations(entry, "", arena, &r.annotations, e));
        r.digest = d.digest;
        r.size = d.size;
        r.media_type = d.media_type;
        *ret_referrer = r;
        return OK;
}

RESULT index_referrers_parse(struct slice body, struct arena *arena, struct referrer **ret_referrers, size_t *ret_count,
                             struct err *e)
{
        _guard_(end_parsing) pthread_mutex_t *lock = begin_parsing(body);
        _cleanup_json_ json_t *root = NULL;
        const json_t *manifests;
        struct referrer *referrers;
        size_t count = 0, n;

        TRY(parse_object(body, &root, e));
        TRY(read_array(root, "manifests", &manifests, e));
        n = MIN(json_array_size(manifests), (size_t)MANIFEST_DESCRIPTORS_MAX);
        referrers = arena_alloc(arena, (n + 1) * sizeof *referrers);
        if (!referrers)
                return FAIL(e, ERR_NOMEM, 0, "no memory for an index with %zu entries", n);
        for (size_t i = 0; i < n; i++) {
                if (read_referrer(json_array_get(manifests, i), arena, &referrers[count], e).ok)
                        count++;
                else if (e->code == ERR_NOMEM)
                        return FAILED;
        }
        *ret_referrers = referrers;
        *ret_count = count;
        return OK;
}
