#include "content.h"

#include "base/check.h"
#include "base/cleanup.h"
#include "oci/manifest.h"

#include <stdio.h>

static const size_t blob_bytes[BLOBS] = { 17, 300, 900, 2500, 5000, 8192, 8193, 20000, 70000, 150000, 9000, 30000 };

#define BIT(n) (1u << (n))
static const struct {
        unsigned blobs, children;
        int subject;
} plans[MANIFESTS] = {
        { BIT(0) | BIT(6) | BIT(8), 0, -1 },
        { BIT(1) | BIT(6) | BIT(7), 0, -1 },
        { BIT(2) | BIT(5) | BIT(8), 0, -1 },
        { BIT(3) | BIT(9), 0, -1 },
        { BIT(4) | BIT(7) | BIT(9), 0, -1 },
        { BIT(0) | BIT(1) | BIT(3), 0, -1 },
        { 0, BIT(0) | BIT(1), -1 },
        { 0, BIT(2) | BIT(5), -1 },
        { 0, BIT(3) | BIT(6), -1 },
        { BIT(2), 0, 0 },
        { BIT(4), 0, 6 },
        { BIT(7), 0, 9 },
};

static void make_blob(int number, struct blob *ret_blob)
{
        size_t n = blob_bytes[number];
        char *bytes = malloc(n);

        CHECK(bytes && n <= BLOB_BYTES_MAX);
        for (size_t i = 0; i < n; i++)
                bytes[i] = (char)((i * 31 + i / 251) ^ (size_t)number);
        ret_blob->bytes = (struct slice){ bytes, n };
        digest_of_bytes(number % 4 == 3 ? SHA_512 : SHA_256, ret_blob->bytes, &ret_blob->digest);
        ret_blob->name = digest_format(&ret_blob->digest);
}

static void write_descriptor(FILE *out, const char *type, const char *digest, size_t size)
{
        fprintf(out, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", type, digest, size);
}

static void write_manifest(FILE *out, const struct content *content, int number, const char *type)
{
        const struct image *subject = plans[number].subject < 0 ? NULL : &content->manifests[plans[number].subject];
        const char *before = "\"config\":";

        fprintf(out, "{\"schemaVersion\":2,\"mediaType\":\"%s\",", type);
        for (int i = 0; i < BLOBS; i++) {
                const struct blob *blob = &content->blobs[i];

                if (!(plans[number].blobs & BIT(i)))
                        continue;
                fputs(before, out);
                write_descriptor(out, "application/x-part", blob->name.s, blob->bytes.n);
                before = *before == '"' ? ",\"layers\":[" : ",";
        }
        fprintf(out, "%s", *before == ',' && before[1] ? ",\"layers\":[]" : "]");
        if (subject) {
                fprintf(out, ",\"artifactType\":\"application/x-note\",\"subject\":");
                write_descriptor(out, subject->children ? MEDIA_TYPE_OCI_INDEX : MEDIA_TYPE_OCI_MANIFEST, subject->name.s, subject->body.n);
        }
        fputc('}', out);
}

static void write_index(FILE *out, const struct content *content, int number, const char *type)
{
        const char *before = "";

        fprintf(out, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[", type);
        for (int i = 0; i < MANIFESTS; i++) {
                const struct image *child = &content->manifests[i];

                if (!(plans[number].children & BIT(i)))
                        continue;
                fputs(before, out);
                write_descriptor(out, child->children ? MEDIA_TYPE_OCI_INDEX : MEDIA_TYPE_OCI_MANIFEST, child->name.s, child->body.n);
                before = ",";
        }
        fprintf(out, "]}");
}

static void make_manifest(struct content *content, int number)
{
        bool is_index = plans[number].children != 0;
        const char *type = is_index ? MEDIA_TYPE_OCI_INDEX : MEDIA_TYPE_OCI_MANIFEST;
        struct image *manifest = &content->manifests[number];
        char *text;
        size_t n;
        FILE *out = open_memstream(&text, &n);

        CHECK(out);
        (is_index ? write_index : write_manifest)(out, content, number, type);
        CHECK(fclose(out) == 0);
        *manifest = (struct image){
                .media_type = slice_from(type),
                .body = { text, n },
                .blobs = plans[number].blobs,
                .children = plans[number].children,
                .subject = plans[number].subject,
        };
        digest_of_bytes(SHA_256, manifest->body, &manifest->digest);
        manifest->name = digest_format(&manifest->digest);
}

void content_make(struct content *ret_content)
{
        for (int i = 0; i < BLOBS; i++)
                make_blob(i, &ret_content->blobs[i]);
        for (int i = 0; i < MANIFESTS; i++)
                make_manifest(ret_content, i);
}

void content_free(struct content *content)
{
        for (int i = 0; i < BLOBS; i++)
                free((char *)content->blobs[i].bytes.p);
        for (int i = 0; i < MANIFESTS; i++)
                free((char *)content->manifests[i].body.p);
}

struct slice repository_name(int repository)
{
        static const char *const names[REPOSITORIES] = { "race/a", "race/b", "race/c", "race/d" };

        return slice_from(names[repository]);
}

struct slice tag_name(int tag)
{
        static const char *const names[TAGS] = { "v1", "v2", "v3", "latest" };

        return slice_from(names[tag]);
}
