/* oci/manifest.h: what is accepted is in order and within limits, what is refused says why, and the lists made of it are JSON. The
 * input is a Content-Type, a line end, and a body. */
#include "fuzz.h"
#include "oci/manifest.h"

#include <jansson.h>

static void check_json(struct slice text)
{
        json_error_t why;
        json_t *value = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);

        CHECK(json_is_object(value));
        json_decref(value);
}

static void check_manifest(const struct manifest *m)
{
        static const char *const types[] = { MEDIA_TYPE_OCI_MANIFEST, MEDIA_TYPE_OCI_INDEX, MEDIA_TYPE_DOCKER_MANIFEST,
                                             MEDIA_TYPE_DOCKER_LIST };
        size_t type = 0;

        while (type < ARRAY_LEN(types) && !slice_eq(m->media_type, slice_from(types[type])))
                type++;
        CHECK(type < ARRAY_LEN(types));
        CHECK(m->artifact_type.n <= MEDIA_TYPE_MAX && m->descriptor_count <= MANIFEST_DESCRIPTORS_MAX + 1);
        for (size_t i = 0; i < m->descriptor_count; i++) {
                const struct descriptor *d = &m->descriptors[i];

                CHECK(d->size <= INT64_MAX && d->media_type.n > 0 && d->media_type.n <= MEDIA_TYPE_MAX);
                CHECK(d->is_manifest == (type % 2 == 1) && !(d->is_manifest && d->is_foreign));
                CHECK(i == 0 || digest_compare(&m->descriptors[i - 1].digest, &d->digest) < 0);
        }
        if (m->annotations.n)
                check_json(m->annotations);
}

static void check_list(const struct referrer *referrers, size_t count)
{
        struct buf list = BUF_INIT(4 * 1024 * 1024);

        list_referrers(&list, referrers, count);
        CHECK(buf_ok(&list));
        check_json(buf_slice(&list));
        buf_fini(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice body = fuzz_input(bytes, n), type = fuzz_line(&body);
        struct arena arena = ARENA_INIT(8 * 1024 * 1024);
        struct referrer *referrers = NULL;
        struct err e = ERR_INIT;
        struct manifest m;
        size_t count = 0;

        if (manifest_parse(type, body, &arena, &m, &e).ok)
                check_manifest(&m);
        else
                CHECK((e.code == ERR_MANIFEST_INVALID || e.code == ERR_DIGEST_INVALID) && e.message[0]);
        if (index_referrers_parse(body, &arena, &referrers, &count, &e).ok)
                check_list(referrers, count);
        else
                CHECK(e.code == ERR_MANIFEST_INVALID && e.message[0]);
        arena_fini(&arena);
        return 0;
}
