#include "oci/list.h"

static void put_strings(struct buf *b, const struct slice *strings, size_t count)
{
        buf_put_char(b, '[');
        for (size_t i = 0; i < count; i++) {
                if (i)
                        buf_put_char(b, ',');
                buf_put_json_string(b, strings[i]);
        }
        buf_put_char(b, ']');
}

void list_tags(struct buf *b, struct slice repository, const struct slice *tags, size_t count)
{
        buf_put(b, S("{\"name\":"));
        buf_put_json_string(b, repository);
        buf_put(b, S(",\"tags\":"));
        put_strings(b, tags, count);
        buf_put(b, S("}\n"));
}

void list_repositories(struct buf *b, const struct slice *names, size_t count)
{
        buf_put(b, S("{\"repositories\":"));
        put_strings(b, names, count);
        buf_put(b, S("}\n"));
}

static void put_referrer(struct buf *b, const struct referrer *r)
{
        buf_put(b, S("{\"mediaType\":"));
        buf_put_json_string(b, r->media_type);
        buf_printf(b, ",\"digest\":\"%s\",\"size\":%llu", digest_format(&r->digest).s, (unsigned long long)r->size);
        if (r->artifact_type.n) {
                buf_put(b, S(",\"artifactType\":"));
                buf_put_json_string(b, r->artifact_type);
        }
        if (r->annotations.n) {
                buf_put(b, S(",\"annotations\":"));
                buf_put(b, r->annotations);
        }
        buf_put_char(b, '}');
}

void list_referrers(struct buf *b, const struct referrer *referrers, size_t count)
{
        buf_put(b, S("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":["));
        for (size_t i = 0; i < count; i++) {
                if (i)
                        buf_put_char(b, ',');
                put_referrer(b, &referrers[i]);
        }
        buf_put(b, S("]}\n"));
}
