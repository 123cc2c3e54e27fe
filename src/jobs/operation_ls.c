/* ls: repositories, the tags of one, or what stands behind a tag. Sizes and platforms are those that manifests tell. */
#include "jobs/operation.h"

#include "base/fs.h"
#include "oci/reference.h"

#include <jansson.h>

enum { PAGE = 100, ARENA_BYTES = 16 * 1024 * 1024, CONFIG_MAX = 1024 * 1024, CHILDREN_MAX = 200 };

/* What is told of one manifest. */
struct seen {
        struct digest digest;
        struct slice media_type;
        uint64_t bytes;                 /* its own, and those of all that it names */
        struct slice platforms;         /* with commas; arena */
        int64_t pushed_us;
};

/* --- Platforms -------------------------------------------------------------------------------------------------------- */

/* "linux/arm64/v8" of an object with os, architecture and variant; none: SLICE_NONE. */
static struct slice platform_of(const json_t *object, struct arena *arena)
{
        const char *os = json_string_value(json_object_get(object, "os"));
        const char *architecture = json_string_value(json_object_get(object, "architecture"));
        const char *variant = json_string_value(json_object_get(object, "variant"));

        if (!os || !*os || !architecture || !*architecture)
                return SLICE_NONE;
        return arena_printf(arena, "%.32s/%.32s%s%.32s", os, architecture, variant && *variant ? "/" : "", variant ? variant : "");
}

static bool load_blob(struct registry *registry, struct slice repository, const struct digest *digest, struct arena *arena,
                      struct slice *ret_bytes)
{
        struct registry_blob blob;
        struct err ignored;
        char *bytes;
        size_t n = 0;
        bool good;

        if (!registry_blob_open(registry, repository, digest, arena, &blob, &ignored).ok)
                return false;
        *ret_bytes = blob.bytes;
        if (blob.fd < 0)
                return true;
        bytes = blob.size <= CONFIG_MAX ? arena_alloc(arena, blob.size + 1) : NULL;
        good = bytes && fs_read_at(blob.fd, 0, bytes, blob.size, &n, "config", &ignored).ok;
        close(blob.fd);
        *ret_bytes = (struct slice){ bytes, n };
        return good;
}

/* An image's platform stands in its config, which may be any JSON or none. */
static struct slice platform_of_config(struct operation *op, struct slice repository, const json_t *manifest, struct arena *arena)
{
        const char *text = json_string_value(json_object_get(json_object_get(manifest, "config"), "digest"));
        struct slice bytes, platform;
        struct digest digest;
        struct err ignored;
        json_t *config;

        if (!text || !digest_parse(slice_from(text), &digest, &ignored).ok || !load_blob(op->registry, repository, &digest, arena, &bytes))
                return SLICE_NONE;
        config = json_loadb(bytes.p ? bytes.p : "", bytes.n, 0, NULL);
        platform = platform_of(config, arena);
        json_decref(config);
        return platform;
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static uint64_t size_in(const json_t *descriptor)
{
        json_int_t size = json_integer_value(json_object_get(descriptor, "size"));

        return size > 0 ? (uint64_t)size : 0;
}

static RESULT look(struct operation *op, struct slice repository, struct slice reference, struct arena *arena, struct seen *ret_seen,
                   json_t **ret_json, struct err *e)
{
        struct meta_manifest manifest;
        struct seen seen = { .platforms = SLICE_NONE };
        const json_t *layer;
        json_t *json;
        size_t i;

        TRY(registry_manifest_get(op->registry, repository, reference, arena, &manifest, e));
        json = json_loadb(manifest.payload.p, manifest.payload.n, 0, NULL);
        seen.digest = manifest.digest;
        seen.media_type = manifest.media_type;
        seen.pushed_us = manifest.created_us;
        seen.bytes = manifest.size + size_in(json_object_get(json, "config"));
        json_array_foreach(json_object_get(json, "layers"), i, layer)
                seen.bytes += size_in(layer);
        if (json_object_get(json, "config"))
                seen.platforms = platform_of_config(op, repository, json, arena);
        *ret_seen = seen;
        *ret_json = json;
        return OK;
}

static RESULT tell(struct operation *op, const char *kind, struct slice tag, const struct seen *seen, struct err *e)
{
        line_begin(op, kind);
        line_text(op, "tag", tag);
        line_digest(op, "digest", &seen->digest);
        line_text(op, "media_type", seen->media_type);
        line_number(op, "size", seen->bytes);
        line_text(op, "platforms", seen->platforms);
        line_time(op, "pushed", seen->pushed_us);
        return line_end(op, e);
}

static void add_platform(struct seen *seen, struct slice platform, struct arena *arena)
{
        if (!platform.p)
                return;
        seen->platforms = seen->platforms.p ? arena_printf(arena, "%.*s,%.*s", SLICE_ARG(seen->platforms), SLICE_ARG(platform)) : platform;
}

/* Children that were not pushed, and what is no image, count with what the index says of them. With `details` each has a line. */
static RESULT look_at_child(struct operation *op, struct slice repository, const json_t *descriptor, bool details, struct arena *arena,
                            struct seen *index, struct err *e)
{
        const char *text = json_string_value(json_object_get(descriptor, "digest"));
        struct slice platform = platform_of(json_object_get(descriptor, "platform"), arena);
        struct seen child;
        json_t *json;

        add_platform(index, platform, arena);
        if (!text || !look(op, repository, slice_from(text), arena, &child, &json, e).ok) {
                index->bytes += size_in(descriptor);
                return OK;
        }
        json_decref(json);
        index->bytes += child.bytes;
        if (platform.p)
                child.platforms = platform;
        return details ? tell(op, "child", SLICE_NONE, &child, e) : OK;
}

static RESULT look_at_children(struct operation *op, struct slice repository, const json_t *json, bool details, struct arena *arena,
                               struct seen *seen, struct err *e)
{
        const json_t *descriptor;
        size_t i;

        json_array_foreach(json_object_get(json, "manifests"), i, descriptor)
                if (i < CHILDREN_MAX)
                        TRY(look_at_child(op, repository, descriptor, details, arena, seen, e));
        return OK;
}

static RESULT list_tag(struct operation *op, struct slice repository, struct slice tag, bool details, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct result result;
        struct seen seen;
        json_t *json;

        TRY(look(op, repository, tag, &arena, &seen, &json, e));
        result = look_at_children(op, repository, json, details, &arena, &seen, e);
        json_decref(json);
        TRY(result);
        return tell(op, "tag", tag, &seen, e);
}

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

/* A tag that went while the list was made is left out. */
static RESULT tell_tags(struct operation *op, struct slice repository, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_names page = { .more = true };
        char last[TAG_MAX + 1] = "";

        while (page.more) {
                arena_reset(&arena);
                TRY(registry_tags(op->registry, repository, slice_from(last), PAGE, &arena, &page, e));
                for (size_t i = 0; i < page.count; i++) {
                        if (!list_tag(op, repository, page.names[i], false, e).ok && e->code != ERR_MANIFEST_UNKNOWN)
                                return FAILED;
                        if (!slice_to_cstr(page.names[i], last, sizeof last))
                                return FAIL(e, ERR_CORRUPT, 0, "a tag is too long");
                }
        }
        return OK;
}

static RESULT tell_repositories(struct operation *op, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_names page = { .more = true };
        char last[REPOSITORY_NAME_MAX + 1] = "";

        while (page.more) {
                arena_reset(&arena);
                TRY(registry_catalog(op->registry, slice_from(last), PAGE, &arena, &page, e));
                for (size_t i = 0; i < page.count; i++) {
                        line_begin(op, "repository");
                        line_text(op, "repository", page.names[i]);
                        TRY(line_end(op, e));
                        if (!slice_to_cstr(page.names[i], last, sizeof last))
                                return FAIL(e, ERR_CORRUPT, 0, "a repository's name is too long");
                }
        }
        return OK;
}

RESULT operation_ls(struct operation *op, struct err *e)
{
        struct slice word = op->request->word_count ? op->request->words[0] : S("");
        const char *slash = memrchr(word.p, '/', word.n), *colon = memrchr(word.p, ':', word.n);
        struct slice rest = word, name;

        if (op->request->word_count > 1)
                return FAIL(e, ERR_INVALID, 0, "ls takes one word: REPOSITORY or REPOSITORY:TAG");
        if (!word.n)
                return tell_repositories(op, e);
        if (slice_cut(&rest, '@', &name))
                return list_tag(op, name, rest, true, e);
        if (colon && (!slash || colon > slash))
                return list_tag(op, slice_head(word, (size_t)(colon - word.p)), slice_skip(word, (size_t)(colon - word.p) + 1), true, e);
        return tell_tags(op, word, e);
}
