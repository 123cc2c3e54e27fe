#include "base/cleanup.h"
#include "base/pool.h"
#include "oci/digest.h"
#include "oci/error.h"
#include "oci/list.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "oci/upload_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DIGEST_A "sha256:" HEX_A
#define DIGEST_B "sha256:" HEX_B

static struct err e;

static void digests(void **state)
{
        static const char *const good[] = { DIGEST_A, "sha512:" HEX_A HEX_B };
        static const char *const bad[] = {
                "", ":", "sha256", "sha256:", "sha256:" HEX_A "a", ":" HEX_A, "md5:" HEX_A, "SHA256:" HEX_A, "sha512:" HEX_A,
                "sha256:Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:" HEX_A ":", "sha256+x:" HEX_A,
                "sha256:gaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " DIGEST_A, DIGEST_A " ",
        };
        struct digest d, back;
        unsigned char code[DIGEST_CODE_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                size_t n;

                assert_true(digest_parse(slice_from(good[i]), &d, &e).ok);
                assert_string_equal(digest_format(&d).s, good[i]);
                n = digest_encode(&d, code);
                assert_true(digest_decode((struct slice){ (char *)code, n }, &back));
                assert_true(digest_eq(&d, &back));
                assert_false(digest_decode((struct slice){ (char *)code, n - 1 }, &back));
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                assert_false(digest_parse(slice_from(bad[i]), &d, &e).ok);
                assert_int_equal(e.code, ERR_DIGEST_INVALID);
        }
        digest_of_bytes(SHA_256, S("abc"), &d);
        assert_string_equal(digest_format(&d).s, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void upload_ids(void **state)
{
        struct upload_id id = upload_id_new(), back;

        (void)state;
        assert_true(upload_id_parse(slice_from(id.s), &back));
        assert_string_equal(id.s, back.s);
        assert_false(upload_id_parse(S("../../../../etc/passwd/aaaaaaaaa"), &back));
        assert_false(upload_id_parse(S("abc"), &back));
        assert_false(upload_id_parse(S(HEX_A), &back));
}

static void repository_names(void **state)
{
        static const char *const good[] = { "a", "a/b", "library/debian", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "a/b/c/d/e-f" };
        static const char *const bad[] = {
                "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a.-b", "-a", "a-", "_a", "a_", ".", "..", "../a", "a/../b",
                "a b", "a:b", "a@b", "\xc3\xa4",
        };
        char longest[REPOSITORY_NAME_MAX + 1];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                assert_true(reference_check_repository(slice_from(good[i]), &e).ok);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                assert_false(reference_check_repository(slice_from(bad[i]), &e).ok);
                assert_int_equal(e.code, ERR_NAME_INVALID);
        }
        memset(longest, 'a', sizeof longest);
        assert_true(reference_check_repository((struct slice){ longest, REPOSITORY_NAME_MAX }, &e).ok);
        assert_false(reference_check_repository((struct slice){ longest, REPOSITORY_NAME_MAX + 1 }, &e).ok);
}

static void tags_and_references(void **state)
{
        static const char *const good[] = { "a", "latest", "V1.0-rc_2", "_x", "0" };
        static const char *const bad[] = { "", ".a", "-a", "a b", "a/b", "a+b", "\xc3\xa4" };
        char longest[TAG_MAX + 1];
        struct reference r;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                assert_true(reference_parse(slice_from(good[i]), &r, &e).ok);
                assert_false(r.is_digest);
                assert_true(slice_eq(r.tag, slice_from(good[i])));
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                assert_false(reference_parse(slice_from(bad[i]), &r, &e).ok);
                assert_int_equal(e.code, ERR_TAG_INVALID);
        }
        memset(longest, 'a', sizeof longest);
        assert_true(reference_check_tag((struct slice){ longest, TAG_MAX }, &e).ok);
        assert_false(reference_check_tag((struct slice){ longest, TAG_MAX + 1 }, &e).ok);
        assert_true(reference_parse(S(DIGEST_A), &r, &e).ok);
        assert_true(r.is_digest);
        assert_false(reference_parse(S("sha256:abc"), &r, &e).ok);
        assert_int_equal(e.code, ERR_DIGEST_INVALID);
}

static void every_error_has_a_row(void **state)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(1000);

        (void)state;
        for (int code = 0; code < ERR_CODE_COUNT; code++) {
                assert_in_range(error_status((enum err_code)code), 400, 599);
                assert_true(error_name((enum err_code)code, error_status((enum err_code)code)).n > 0);
        }
        assert_true(slice_eq(error_name(ERR_BUSY, 503), S("TOOMANYREQUESTS")));
        error_body(&b, S("DENIED"), S("no \"x\""));
        assert_string_equal(buf_cstr(&b), "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\\"x\\\"\"}]}\n");
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

#define DESCRIPTOR(type, digest, size) "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define CONFIG DESCRIPTOR("application/vnd.oci.image.config.v1+json", DIGEST_A, "7")
#define LAYER DESCRIPTOR("application/vnd.oci.image.layer.v1.tar+gzip", DIGEST_B, "9")
#define IMAGE(more) "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"config\":" CONFIG more "}"
#define INDEX(more) "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_INDEX "\"" more "}"

static bool parse(struct arena *arena, const char *type, const char *text, struct manifest *m)
{
        return manifest_parse(slice_from(type), slice_from(text), arena, m, &e).ok;
}

static void image_manifests(void **state)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);
        struct manifest m;

        (void)state;
        assert_true(parse(&arena, MEDIA_TYPE_OCI_MANIFEST, IMAGE(",\"layers\":[" LAYER "," LAYER "]"), &m));
        assert_int_equal(m.descriptor_count, 2);
        assert_int_equal(m.descriptors[0].size, 7);
        assert_false(m.has_subject);
        assert_true(slice_eq(m.artifact_type, S("application/vnd.oci.image.config.v1+json")));
        assert_true(slice_eq(m.media_type, S(MEDIA_TYPE_OCI_MANIFEST)));

        assert_true(parse(&arena, MEDIA_TYPE_OCI_MANIFEST "; charset=utf-8", IMAGE(""), &m));
        assert_true(parse(&arena, "", IMAGE(",\"layers\":null"), &m));
        assert_true(parse(&arena, MEDIA_TYPE_OCI_MANIFEST,
                          IMAGE(",\"layers\":[],\"artifactType\":\"a/b\",\"annotations\":{\"k\":\"v\"},\"subject\":" LAYER), &m));
        assert_true(m.has_subject);
        assert_true(slice_eq(m.artifact_type, S("a/b")));
        assert_true(slice_eq(m.annotations, S("{\"k\":\"v\"}")));

        assert_true(parse(&arena, MEDIA_TYPE_DOCKER_MANIFEST, "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER "]}", &m));
        assert_true(slice_eq(m.media_type, S(MEDIA_TYPE_DOCKER_MANIFEST)));

        assert_true(parse(&arena, "", IMAGE(",\"layers\":[{\"mediaType\":\"x\",\"digest\":\"" DIGEST_B
                                            "\",\"size\":1,\"urls\":[\"http://x/\"]}]"), &m));
        assert_true(m.descriptors[1].is_foreign);
        assert_true(parse(&arena, "", IMAGE(",\"layers\":["
                                            DESCRIPTOR("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", DIGEST_B, "1")
                                            "]"), &m));
        assert_true(m.descriptors[1].is_foreign);
}

static void indexes(void **state)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);
        struct referrer *referrers;
        struct manifest m;
        size_t count;

        (void)state;
        assert_true(parse(&arena, MEDIA_TYPE_OCI_INDEX, INDEX(",\"manifests\":[" LAYER "]"), &m));
        assert_int_equal(m.descriptor_count, 1);
        assert_true(m.descriptors[0].is_manifest);
        assert_int_equal(m.artifact_type.n, 0);
        assert_true(parse(&arena, "", "{\"schemaVersion\":2,\"manifests\":[]}", &m));
        assert_true(slice_eq(m.media_type, S(MEDIA_TYPE_OCI_INDEX)));

        assert_true(index_referrers_parse(S(INDEX(",\"manifests\":[1," LAYER ",{},{\"digest\":1}]")), &arena, &referrers, &count, &e).ok);
        assert_int_equal(count, 1);
        assert_int_equal(referrers[0].size, 9);
}

static void broken_manifests(void **state)
{
        static const char *const bad[] = {
                "", "x", "[]", "1", "{", "{}", "{\"schemaVersion\":2}", "{\"schemaVersion\":\"2\",\"config\":" CONFIG "}",
                "{\"schemaVersion\":3,\"config\":" CONFIG "}", "{\"config\":" CONFIG "}", "{\"schemaVersion\":1,\"fsLayers\":[]}",
                IMAGE(",\"layers\":{}"), IMAGE(",\"layers\":[1]"), IMAGE(",\"layers\":[{}]"), IMAGE(",\"manifests\":[]"),
                IMAGE(",\"schemaVersion\":2"), IMAGE(",\"annotations\":[]"), IMAGE(",\"annotations\":{\"a\":1}"),
                IMAGE(",\"subject\":1"), IMAGE(",\"subject\":{}"), IMAGE(",\"artifactType\":1"), IMAGE("}"),
                IMAGE(",\"layers\":[" DESCRIPTOR("x", DIGEST_B, "-1") "]"), IMAGE(",\"layers\":[" DESCRIPTOR("x", DIGEST_B, "1.5") "]"),
                IMAGE(",\"layers\":[" DESCRIPTOR("x", DIGEST_B, "\"1\"") "]"),
                IMAGE(",\"layers\":[" DESCRIPTOR("x", DIGEST_B, "99999999999999999999") "]"),
                IMAGE(",\"layers\":[" DESCRIPTOR("x", "sha256:abc", "1") "]"), IMAGE(",\"layers\":[" DESCRIPTOR("", DIGEST_B, "1") "]"),
                IMAGE(",\"layers\":[" DESCRIPTOR("x", DIGEST_B, "1") "," DESCRIPTOR("x", DIGEST_B, "2") "]"),
                INDEX(",\"layers\":[],\"manifests\":[]"), INDEX(",\"config\":{},\"manifests\":[]"), INDEX(",\"manifests\":1"),
                "{\"schemaVersion\":2,\"mediaType\":\"text/plain\"}", "{\"schemaVersion\":2,\"mediaType\":\"\xff\"}",
                "{\"schemaVersion\":2,\"mediaType\":\"a\\u0000b\"}",
        };
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);
        struct manifest m;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                if (parse(&arena, "", bad[i], &m))
                        fail_msg("accepted: %s", bad[i]);
                if (e.code != ERR_MANIFEST_INVALID && e.code != ERR_DIGEST_INVALID)
                        fail_msg("code %d for %s", (int)e.code, bad[i]);
        }
        assert_false(parse(&arena, MEDIA_TYPE_OCI_INDEX, IMAGE(""), &m));
        assert_false(parse(&arena, "application/vnd.docker.distribution.manifest.v1+prettyjws", "{\"schemaVersion\":1}", &m));
        assert_non_null(strstr(e.message, "schema 1"));
}

/* A body full of tiny values costs a bounded amount of memory: it is not even parsed. */
static void absurd_manifests(void **state)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);
        size_t n = 4 * 1024 * 1024;
        char *text = malloc(n);
        struct manifest m;

        (void)state;
        memset(text, '[', n);
        assert_false(manifest_parse(S(""), (struct slice){ text, n }, &arena, &m, &e).ok);
        assert_int_equal(e.code, ERR_MANIFEST_INVALID);
        memset(text, '[', 10000);
        assert_false(manifest_parse(S(""), (struct slice){ text, 10000 }, &arena, &m, &e).ok);
        assert_int_equal(e.code, ERR_MANIFEST_INVALID);
        free(text);
}

struct parse_task {
        struct pool_task task;
        struct slice body;
        struct err e;
        bool ok;
};

static void run_parse(struct pool_task *task)
{
        struct parse_task *p = CONTAINER_OF(task, struct parse_task, task);
        struct arena arena = ARENA_INIT(1024 * 1024);
        struct manifest m;

        p->ok = manifest_parse(S(""), p->body, &arena, &m, &p->e).ok;
        arena_fini(&arena);
}

static void deep_manifests_are_refused(void **state)
{
        (void)state;
        for (int levels = 198; levels <= 202; levels += 2) {
                _cleanup_(arena_fini) struct arena arena = ARENA_INIT(1024 * 1024);
                _cleanup_(buf_fini) struct buf body = BUF_INIT(100000);
                struct manifest m;

                buf_put(&body, S("{\"schemaVersion\":2,\"config\":" CONFIG ",\"x\":\"[[\\\"{\",\"y\":"));
                for (int i = 1; i < levels; i++)
                        buf_put(&body, i % 2 ? S("[") : S("{\"z\":"));
                buf_put_char(&body, '0');
                for (int i = levels; --i > 0;)
                        buf_put(&body, i % 2 ? S("]") : S("}"));
                buf_put_char(&body, '}');
                assert_int_equal(manifest_parse(S(""), buf_slice(&body), &arena, &m, &e).ok, levels <= 200);
        }
}

/* Many values at once, on several threads: they wait for one another, and all are right. */
static void large_manifests_one_at_a_time(void **state)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(4 * 1024 * 1024);
        struct parse_task tasks[8];
        struct pool *pool;

        (void)state;
        buf_put(&body, S("{\"schemaVersion\":2,\"config\":" CONFIG ",\"x\":[0"));
        for (int i = 0; i < 50000; i++)
                buf_put(&body, S(",{}"));
        buf_put(&body, S("]}"));
        assert_true(pool_new(4, &pool, &e).ok);
        for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
                tasks[i] = (struct parse_task){ .task.run = run_parse, .body = buf_slice(&body) };
                pool_submit(pool, &tasks[i].task);
        }
        pool_free(pool);
        for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
                assert_true(tasks[i].ok);
}

static void lists(void **state)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(10000);
        const struct slice names[] = { S("a"), S("b\"") };
        struct referrer r = { .size = 5, .media_type = S("m"), .artifact_type = S("t"), .annotations = S("{\"k\":\"v\"}") };

        (void)state;
        list_tags(&b, S("x/y"), names, 2);
        assert_string_equal(buf_cstr(&b), "{\"name\":\"x/y\",\"tags\":[\"a\",\"b\\\"\"]}\n");
        buf_reset(&b);
        list_tags(&b, S("x"), NULL, 0);
        assert_string_equal(buf_cstr(&b), "{\"name\":\"x\",\"tags\":[]}\n");
        buf_reset(&b);
        list_repositories(&b, names, 1);
        assert_string_equal(buf_cstr(&b), "{\"repositories\":[\"a\"]}\n");
        buf_reset(&b);
        assert_true(digest_parse(S(DIGEST_A), &r.digest, &e).ok);
        list_referrers(&b, &r, 1);
        assert_non_null(strstr(buf_cstr(&b), "[{\"mediaType\":\"m\",\"digest\":\"" DIGEST_A "\",\"size\":5,\"artifactType\":\"t\","
                                             "\"annotations\":{\"k\":\"v\"}}]}"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(digests),
                cmocka_unit_test(upload_ids),
                cmocka_unit_test(repository_names),
                cmocka_unit_test(tags_and_references),
                cmocka_unit_test(every_error_has_a_row),
                cmocka_unit_test(image_manifests),
                cmocka_unit_test(indexes),
                cmocka_unit_test(broken_manifests),
                cmocka_unit_test(absurd_manifests),
                cmocka_unit_test(deep_manifests_are_refused),
                cmocka_unit_test(large_manifests_one_at_a_time),
                cmocka_unit_test(lists),
        };

        return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
