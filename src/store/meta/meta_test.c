/* The contract of a metadata store, through meta.h alone. */
#include "store/meta/testing.h"

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

static void session_is_kept_saved_and_removed(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new(), other = upload_id_new();
        struct meta_upload upload;
        bool exists;

        must(meta_upload_begin(w->meta, S("a/b"), &id, S("zero"), &e));
        must(meta_upload_get(w->meta, S("a/b"), &id, &w->arena, &upload, &e));
        assert_int_equal(upload.received, 0);
        assert_true(slice_eq(upload.hash_state, S("zero")));
        assert_true(slice_eq(upload.repository, S("a/b")));
        assert_string_equal(upload.id.s, id.s);
        must(meta_upload_save(w->meta, &id, 77, S("later"), &e));
        reopen(w);
        must(meta_upload_get(w->meta, S("a/b"), &id, &w->arena, &upload, &e));
        assert_int_equal(upload.received, 77);
        assert_true(slice_eq(upload.hash_state, S("later")));
        assert_true(upload.updated_us >= upload.created_us);

        must_fail(meta_upload_get(w->meta, S("b"), &id, &w->arena, &upload, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_get(w->meta, S("a/b"), &other, &w->arena, &upload, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_save(w->meta, &other, 1, S("x"), &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_upload_remove(w->meta, S("b"), &id, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must(meta_upload_exists(w->meta, &id, &exists, &e));
        assert_true(exists);
        must(meta_upload_remove(w->meta, S("a/b"), &id, &e));
        must(meta_upload_exists(w->meta, &id, &exists, &e));
        assert_false(exists);
        must_fail(meta_upload_remove(w->meta, S("a/b"), &id, &e), ERR_BLOB_UPLOAD_UNKNOWN);
}

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

static void blob_lives_in_the_database_or_as_an_object(void **state)
{
        struct world *w = *state;
        struct upload_id id = upload_id_new(), nobody = upload_id_new();
        struct digest large = digest_of(S("large")), found, small = add_blob(w, S("a"), S("small")), empty = add_blob(w, S("a"), S(""));
        struct meta_blob blob;
        bool surplus;

        must(meta_blob_get(w->meta, S("a"), &small, true, &w->arena, &blob, &e));
        assert_true(blob.in_database && slice_eq(blob.bytes, S("small")));
        must(meta_blob_get(w->meta, S("a"), &small, false, &w->arena, &blob, &e));
        assert_true(blob.in_database && blob.size == 5 && !blob.bytes.p);
        must(meta_blob_get(w->meta, S("a"), &empty, true, &w->arena, &blob, &e));
        assert_true(blob.in_database && blob.size == 0 && blob.bytes.p && blob.bytes.n == 0);

        must(meta_upload_begin(w->meta, S("a"), &id, S("x"), &e));
        must(meta_upload_commit(w->meta, S("a"), &id, &large, 12345, SLICE_NONE, &surplus, &e));
        assert_false(surplus);
        must(meta_blob_get(w->meta, S("a"), &large, true, &w->arena, &blob, &e));
        assert_false(blob.in_database);
        assert_int_equal(blob.size, 12345);
        assert_string_equal(blob.id.s, id.s);
        must(meta_blob_of_upload(w->meta, &id, &found, &e));
        assert_true(digest_eq(&found, &large));
        must_fail(meta_upload_commit(w->meta, S("a"), &id, &large, 12345, SLICE_NONE, &surplus, &e), ERR_BLOB_UPLOAD_UNKNOWN);
        must_fail(meta_blob_of_upload(w->meta, &nobody, &found, &e), ERR_NOT_FOUND);
}

/* The second upload of a digest, in whichever repository, is not stored again. */
static void stored_digest_keeps_its_object(void **state)
{
        struct world *w = *state;
        struct upload_id ids[2] = { upload_id_new(), upload_id_new() };
        struct slice repositories[2] = { S("a"), S("b") };
        struct digest digest = digest_of(S("large")), ignored;
        struct meta_blob blob;
        bool surplus;

        for (size_t i = 0; i < 2; i++) {
                must(meta_upload_begin(w->meta, repositories[i], &ids[i], S("x"), &e));
                must(meta_upload_commit(w->meta, repositories[i], &ids[i], &digest, 99, SLICE_NONE, &surplus, &e));
                assert_int_equal(surplus, i > 0);
                must(meta_blob_get(w->meta, repositories[i], &digest, true, &w->arena, &blob, &e));
                assert_string_equal(blob.id.s, ids[0].s);
        }
        must_fail(meta_blob_of_upload(w->meta, &ids[1], &ignored, &e), ERR_NOT_FOUND);
}

static void blob_belongs_to_its_repositories(void **state)
{
        struct world *w = *state;
        struct digest digest = add_blob(w, S("a"), S("x")), other = add_blob(w, S("b"), S("y"));
        struct meta_blob blob;

        must_fail(meta_blob_get(w->meta, S("a"), &other, true, &w->arena, &blob, &e), ERR_BLOB_UNKNOWN);
        must_fail(meta_blob_get(w->meta, S("c"), &digest, true, &w->arena, &blob, &e), ERR_NAME_UNKNOWN);
        must_fail(meta_blob_delete(w->meta, S("c"), &digest, &e), ERR_NAME_UNKNOWN);
        must_fail(meta_blob_delete(w->meta, S("a"), &other, &e), ERR_BLOB_UNKNOWN);
        must(meta_blob_mount(w->meta, S("a"), S("b"), &digest, &e));
        must(meta_blob_delete(w->meta, S("a"), &digest, &e));
        must_fail(meta_blob_get(w->meta, S("a"), &digest, true, &w->arena, &blob, &e), ERR_BLOB_UNKNOWN);
        must_fail(meta_blob_delete(w->meta, S("a"), &digest, &e), ERR_BLOB_UNKNOWN);
        must(meta_blob_get(w->meta, S("b"), &digest, true, &w->arena, &blob, &e));
        assert_true(slice_eq(blob.bytes, S("x")));
}

static void mount_links_what_is_there(void **state)
{
        static const struct {
                struct slice from, text;
                bool ok;
        } cases[] = {
                { S("a"), S("in a"), true },
                { S(""), S("in a"), true },
                { S("b"), S("in a"), false },
                { S("nobody"), S("in a"), false },
                { S("a"), S("nowhere"), false },
                { S(""), S("nowhere"), false },
                { S(""), S("unlinked"), false },
        };
        struct world *w = *state;
        struct digest unlinked = add_blob(w, S("a"), S("unlinked"));

        add_blob(w, S("a"), S("in a"));
        add_blob(w, S("b"), S("in b"));
        must(meta_blob_delete(w->meta, S("a"), &unlinked, &e));
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct slice to = arena_printf(&w->arena, "to/%zu", i);
                struct digest digest = digest_of(cases[i].text);
                struct meta_blob blob;

                if (cases[i].ok) {
                        must(meta_blob_mount(w->meta, cases[i].from, to, &digest, &e));
                        must(meta_blob_mount(w->meta, cases[i].from, to, &digest, &e));
                        must(meta_blob_get(w->meta, to, &digest, true, &w->arena, &blob, &e));
                        assert_true(slice_eq(blob.bytes, cases[i].text));
                } else {
                        must_fail(meta_blob_mount(w->meta, cases[i].from, to, &digest, &e), ERR_BLOB_UNKNOWN);
                        must_fail(meta_blob_get(w->meta, to, &digest, true, &w->arena, &blob, &e), ERR_NAME_UNKNOWN);
                }
        }
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static void manifest_comes_back_as_it_was(void **state)
{
        struct world *w = *state;
        struct digest subject = digest_of(S("subject"));
        struct slice tags[] = { S("v1"), S("latest") };
        struct meta_manifest manifest = {
                .digest = digest_of(S("{ }")),
                .media_type = IMAGE_TYPE,
                .artifact_type = S("application/x"),
                .annotations = S("{\"a\":\"b\"}"),
                .has_subject = true,
                .subject = subject,
                .payload = S("{ }"),
                .size = 3,
        };

        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, tags, 2, &e));
        for (size_t i = 0; i < 6; i++) {
                bool whole = i % 2;
                struct meta_manifest got;

                must(meta_manifest_get(w->meta, S("a"), i / 2 ? NULL : &manifest.digest, i / 2 ? tags[i / 2 - 1] : S(""), whole,
                                       &w->arena, &got, &e));
                assert_true(digest_eq(&got.digest, &manifest.digest));
                assert_true(slice_eq(got.media_type, manifest.media_type));
                assert_true(slice_eq(got.artifact_type, manifest.artifact_type));
                assert_int_equal(got.annotations.n, 0);         /* they are in the payload, and may be large */
                assert_true(got.has_subject && digest_eq(&got.subject, &subject));
                assert_int_equal(got.size, 3);
                assert_true(got.created_us > 0);
                assert_true(slice_eq(got.payload, whole ? manifest.payload : S("")));
        }
}

static void what_is_not_there_is_told(void **state)
{
        struct world *w = *state;
        struct digest there = put(w, S("a"), S("{1}"), S("v1")), missing = digest_of(S("missing"));
        struct meta_manifest got;

        must_fail(meta_manifest_get(w->meta, S("a"), &missing, S(""), true, &w->arena, &got, &e), ERR_MANIFEST_UNKNOWN);
        must_fail(meta_manifest_get(w->meta, S("a"), NULL, S("v2"), true, &w->arena, &got, &e), ERR_MANIFEST_UNKNOWN);
        must_fail(meta_manifest_get(w->meta, S("b"), &there, S(""), true, &w->arena, &got, &e), ERR_NAME_UNKNOWN);
        must_fail(meta_manifest_get(w->meta, S("b"), NULL, S("v1"), true, &w->arena, &got, &e), ERR_NAME_UNKNOWN);
        must_fail(meta_manifest_delete(w->meta, S("a"), &missing, &e), ERR_MANIFEST_UNKNOWN);
        must_fail(meta_manifest_delete(w->meta, S("b"), &there, &e), ERR_NAME_UNKNOWN);
        must_fail(meta_tag_delete(w->meta, S("a"), S("v2"), &e), ERR_MANIFEST_UNKNOWN);
        must_fail(meta_tag_delete(w->meta, S("b"), S("v1"), &e), ERR_NAME_UNKNOWN);
}

static void parts_must_be_in_the_repository(void **state)
{
        static const struct {
                struct slice text;
                uint64_t size;
                bool is_manifest;
                enum err_code code;     /* ERR_NONE: accepted */
        } cases[] = {
                { S("blob"), 4, false, ERR_NONE },
                { S("{child}"), 7, true, ERR_NONE },
                { S("blob"), 5, false, ERR_SIZE_INVALID },
                { S("{child}"), 6, true, ERR_SIZE_INVALID },
                { S("blob"), 4, true, ERR_MANIFEST_BLOB_UNKNOWN },
                { S("{child}"), 7, false, ERR_MANIFEST_BLOB_UNKNOWN },
                { S("elsewhere"), 9, false, ERR_MANIFEST_BLOB_UNKNOWN },
                { S("{elsewhere}"), 11, true, ERR_MANIFEST_BLOB_UNKNOWN },
                { S("nowhere"), 7, false, ERR_MANIFEST_BLOB_UNKNOWN },
        };
        struct world *w = *state;
        struct meta_names page;

        add_blob(w, S("a"), S("blob"));
        add_blob(w, S("b"), S("elsewhere"));
        put(w, S("a"), S("{child}"), S(""));
        put(w, S("b"), S("{elsewhere}"), S(""));
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct meta_part parts[] = {
                        { .digest = digest_of(S("blob")), .size = 4 },
                        { .digest = digest_of(cases[i].text), .size = cases[i].size, .is_manifest = cases[i].is_manifest },
                };
                size_t first = cases[i].code == ERR_NONE && !cases[i].is_manifest;      /* no part twice */
                struct slice text = arena_printf(&w->arena, "{%zu}", i), tag = arena_printf(&w->arena, "t%zu", i);
                struct result result = manifest_put(w->meta, S("a"), text, parts + first, 2 - first, tag, &e);
                struct meta_manifest got;

                assert_int_equal(result.ok ? ERR_NONE : e.code, cases[i].code);
                if (!result.ok) {
                        assert_non_null(strstr(e.message, digest_format(&parts[1].digest).s));
                        must_fail(meta_manifest_get(w->meta, S("a"), NULL, tag, false, &w->arena, &got, &e), ERR_MANIFEST_UNKNOWN);
                } else {
                        must(meta_manifest_get(w->meta, S("a"), NULL, tag, false, &w->arena, &got, &e));
                }
        }
        /* a repository does not come to be by a push that was refused */
        must_fail(manifest_put(w->meta, S("new"), S("{}"), &(struct meta_part){ .digest = digest_of(S("blob")), .size = 4 }, 1, S("t"), &e),
                  ERR_MANIFEST_BLOB_UNKNOWN);
        must_fail(meta_tags_page(w->meta, S("new"), S(""), 10, &w->arena, &page, &e), ERR_NAME_UNKNOWN);
}

static void manifest_of_many_parts(void **state)
{
        enum { PARTS = 300 };
        struct world *w = *state;
        struct meta_part *parts = arena_alloc(&w->arena, PARTS * sizeof *parts);

        for (size_t i = 0; i < PARTS; i++) {
                struct slice text = arena_printf(&w->arena, "part %zu", i);

                parts[i] = (struct meta_part){ .digest = add_blob(w, S("a"), text), .size = text.n };
        }
        must(manifest_put(w->meta, S("a"), S("{many}"), parts, PARTS, S("many"), &e));
        for (size_t i = 0; i < PARTS; i += 50)
                must_fail(meta_blob_delete(w->meta, S("a"), &parts[i].digest, &e), ERR_DENIED);
        must(meta_manifest_delete(w->meta, S("a"), DIGEST("{many}"), &e));
        for (size_t i = 0; i < PARTS; i += 50)
                must(meta_blob_delete(w->meta, S("a"), &parts[i].digest, &e));
}

static struct slice tagged(struct world *w, struct slice tag)
{
        struct meta_manifest got;

        if (!meta_manifest_get(w->meta, S("a"), NULL, tag, true, &w->arena, &got, &e).ok) {
                assert_int_equal(e.code, ERR_MANIFEST_UNKNOWN);
                return S("none");
        }
        return got.payload;
}

static void tags_move_and_leave_their_siblings(void **state)
{
        struct world *w = *state;
        struct digest one = put(w, S("a"), S("{1}"), S("x")), two = put(w, S("a"), S("{2}"), S("y"));

        put(w, S("a"), S("{1}"), S("z"));
        assert_true(slice_eq(tagged(w, S("x")), S("{1}")));
        put(w, S("a"), S("{2}"), S("x"));
        assert_true(slice_eq(tagged(w, S("x")), S("{2}")));
        must(meta_tag_delete(w->meta, S("a"), S("y"), &e));
        assert_true(slice_eq(tagged(w, S("y")), S("none")));
        assert_true(slice_eq(tagged(w, S("x")), S("{2}")));
        must_fail(meta_tag_delete(w->meta, S("a"), S("y"), &e), ERR_MANIFEST_UNKNOWN);
        must(meta_manifest_delete(w->meta, S("a"), &two, &e));
        assert_true(slice_eq(tagged(w, S("x")), S("none")));
        assert_true(slice_eq(tagged(w, S("z")), S("{1}")));
        must(meta_manifest_delete(w->meta, S("a"), &one, &e));
        assert_true(slice_eq(tagged(w, S("z")), S("none")));
}

static void equal_bytes_again(void **state)
{
        struct world *w = *state;
        struct meta_manifest manifest = { .digest = digest_of(S("{}")), .media_type = IMAGE_TYPE, .payload = S("{}"), .size = 2 }, got;

        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, NULL, 0, &e));
        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, NULL, 0, &e));
        manifest.media_type = S("application/vnd.docker.distribution.manifest.v2+json");
        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, NULL, 0, &e));
        must(meta_manifest_get(w->meta, S("a"), &manifest.digest, S(""), true, &w->arena, &got, &e));
        assert_true(slice_eq(got.media_type, manifest.media_type));
}

static void what_is_named_cannot_be_deleted(void **state)
{
        struct world *w = *state;
        struct digest blob = add_blob(w, S("a"), S("blob")), child = put(w, S("a"), S("{child}"), S("child")), index;

        must(manifest_put(w->meta, S("a"), S("{image}"), &(struct meta_part){ .digest = blob, .size = 4 }, 1, S("image"), &e));
        index = put_index(w, S("a"), S("{index}"), S("{child}"), S("index"));
        must_fail(meta_blob_delete(w->meta, S("a"), &blob, &e), ERR_DENIED);
        must_fail(meta_manifest_delete(w->meta, S("a"), &child, &e), ERR_DENIED);
        must(meta_tag_delete(w->meta, S("a"), S("child"), &e));

        must(meta_manifest_delete(w->meta, S("a"), &index, &e));
        must(meta_manifest_delete(w->meta, S("a"), &child, &e));
        must(meta_manifest_delete(w->meta, S("a"), DIGEST("{image}"), &e));
        must(meta_blob_delete(w->meta, S("a"), &blob, &e));
}

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

typedef struct result page_fn(struct world *w, struct slice last, size_t n, struct meta_names *ret_page);

static struct result page_of_tags(struct world *w, struct slice last, size_t n, struct meta_names *ret_page)
{
        return meta_tags_page(w->meta, S("a"), last, n, &w->arena, ret_page, &e);
}

static struct result page_of_repositories(struct world *w, struct slice last, size_t n, struct meta_names *ret_page)
{
        return meta_repositories_page(w->meta, last, n, &w->arena, ret_page, &e);
}

/* Pages of every size give each name once, in order, and tell where they end. */
static void walk(struct world *w, page_fn *page_of, const struct slice *want, size_t count)
{
        struct meta_names page;

        for (size_t n = 1; n <= count + 1; n++) {
                struct slice last = S("");
                size_t seen = 0;

                do {
                        must(page_of(w, last, n, &page));
                        assert_true(page.count == n || !page.more);
                        for (size_t i = 0; i < page.count; i++)
                                assert_true(seen < count && slice_eq(page.names[i], want[seen++]));
                        last = page.count ? page.names[page.count - 1] : last;
                } while (page.more);
                assert_int_equal(seen, count);
        }
        must(page_of(w, S(""), 0, &page));
        assert_true(page.count == 0 && page.more == (count > 0));
        must(page_of(w, SLICE_NONE, SIZE_MAX, &page));
        assert_true(page.count == count && !page.more);
        must(page_of(w, S("~"), 10, &page));
        assert_true(page.count == 0 && !page.more);
}

static void tags_in_pages(void **state)
{
        struct world *w = *state;
        struct slice want[] = { S("1"), S("A"), S("Z"), S("_"), S("a"), S("a-b"), S("a.b"), S("aa"), S("b") };
        struct digest digest = digest_of(S("{}"));

        for (size_t i = 0; i < ARRAY_LEN(want); i++)
                put(w, S("a"), S("{}"), want[i * 5 % ARRAY_LEN(want)]);
        put(w, S("a/b"), S("{}"), S("other"));
        put(w, S("b"), S("{}"), S("other"));
        walk(w, page_of_tags, want, ARRAY_LEN(want));
        for (size_t i = 0; i < ARRAY_LEN(want); i++)
                must(meta_tag_delete(w->meta, S("a"), want[i], &e));
        walk(w, page_of_tags, want, 0);                 /* it still has a manifest */
        must(meta_manifest_delete(w->meta, S("a"), &digest, &e));
        must_fail(page_of_tags(w, S(""), 10, &(struct meta_names){ 0 }), ERR_NAME_UNKNOWN);
}

static void only_repositories_with_manifests_are_listed(void **state)
{
        struct world *w = *state;
        struct slice want[] = { S("a"), S("a-b"), S("a/b"), S("b"), S("c/d/e") };
        struct digest digest = digest_of(S("{}"));

        walk(w, page_of_repositories, want, 0);
        add_blob(w, S("blobs/only"), S("x"));
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
                struct slice emptied = arena_printf(&w->arena, "emptied/%zu", i);

                put(w, want[i * 2 % ARRAY_LEN(want)], S("{}"), S("tag"));
                put(w, emptied, S("{}"), S("tag"));
                must(meta_manifest_delete(w->meta, emptied, &digest, &e));
        }
        walk(w, page_of_repositories, want, ARRAY_LEN(want));
        put(w, S("emptied/3"), S("{}"), S("again"));
        must(meta_repositories_page(w->meta, S("c/d/e"), 5, &w->arena, &(struct meta_names){ 0 }, &e));
        must(meta_tags_page(w->meta, S("emptied/3"), S(""), 5, &w->arena, &(struct meta_names){ 0 }, &e));
}

static void small_arena_is_an_error(void **state)
{
        struct world *w = *state;
        _cleanup_(arena_fini) struct arena tiny = ARENA_INIT(64);
        struct digest digest = put(w, S("a"), S("{something longer than the arena has room for, which is not much}"), S("tag"));
        struct meta_manifest got;
        struct meta_names page;

        must_fail(meta_tags_page(w->meta, S("a"), S(""), 10, &tiny, &page, &e), ERR_NOMEM);
        must_fail(meta_manifest_get(w->meta, S("a"), &digest, S(""), true, &tiny, &got, &e), ERR_NOMEM);
}

/* --- Referrers -------------------------------------------------------------------------------------------------------- */

enum { REFERRERS = 40 };

static void put_referrer(struct world *w, struct slice repository, const struct digest *subject, size_t number, struct slice annotations)
{
        static const struct slice types[] = { S("type/a"), S("type/b"), { NULL, 0 } };
        struct slice text = arena_printf(&w->arena, "{\"number\":%zu}", number);
        struct meta_manifest manifest = {
                .digest = digest_of(text),
                .media_type = IMAGE_TYPE,
                .artifact_type = types[number % 3],
                .annotations = annotations,
                .has_subject = true,
                .subject = *subject,
                .payload = text,
                .size = text.n,
        };

        must(meta_manifest_put(w->meta, repository, &manifest, NULL, 0, NULL, 0, &e));
}

static size_t walk_referrers(struct world *w, const struct digest *subject, size_t n, const struct slice *types, size_t type_count)
{
        struct meta_referrers page;
        struct digest last;
        size_t seen = 0;
        bool on = false;

        do {
                must(meta_referrers_page(w->meta, S("a"), subject, on ? &last : NULL, n, types, type_count, &w->arena, &page, &e));
                for (size_t i = 0; i < page.count; i++, seen++) {
                        assert_true(!on || digest_compare(&last, &page.manifests[i].digest) < 0);
                        last = page.manifests[i].digest;
                        on = true;
                        if (type_count == 1)
                                assert_true(slice_eq(page.manifests[i].artifact_type, types[0]));
                }
                assert_true(!page.more || !on || digest_compare(&last, &page.last) <= 0);
                last = page.last;
                on = true;
        } while (page.more);
        return seen;
}

static void referrers_in_pages(void **state)
{
        struct world *w = *state;
        struct slice types[] = { S("type/a"), S("type/b"), S("type/none") };
        struct digest subject = digest_of(S("subject")), other = digest_of(S("other"));
        struct meta_referrers page;

        for (size_t i = 0; i < REFERRERS; i++)
                put_referrer(w, S("a"), &subject, i, SLICE_NONE);
        put_referrer(w, S("a"), &other, 1000, SLICE_NONE);
        put_referrer(w, S("b"), &subject, 1001, SLICE_NONE);
        for (size_t n = 1; n <= REFERRERS + 1; n += 3) {
                assert_int_equal(walk_referrers(w, &subject, n, NULL, 0), REFERRERS);
                assert_int_equal(walk_referrers(w, &subject, n, types, 1), 14);
                assert_int_equal(walk_referrers(w, &subject, n, types, 2), 27);
                assert_int_equal(walk_referrers(w, &subject, n, types + 2, 1), 0);
        }
        must(meta_referrers_page(w->meta, S("nobody"), &subject, NULL, 5, NULL, 0, &w->arena, &page, &e));
        assert_true(page.count == 0 && !page.more);
        must(meta_referrers_page(w->meta, S("a"), DIGEST("unknown"), NULL, 5, NULL, 0, &w->arena, &page, &e));
        assert_true(page.count == 0 && !page.more);
        must(meta_referrers_page(w->meta, S("a"), &subject, NULL, 0, NULL, 0, &w->arena, &page, &e));
        assert_true(page.count == 0 && page.more);
}

/* Whoever asks for a type that nobody has gets on in steps. */
static void a_page_looks_at_few_rows(void **state)
{
        enum { COUNT = META_REFERRERS_LOOKED_AT + 300 };
        struct world *w = *state;
        struct digest subject = digest_of(S("subject"));
        struct slice types[] = { S("type/a"), S("type/none") };
        struct meta_referrers page;

        for (size_t i = 0; i < COUNT; i++)
                put_referrer(w, S("a"), &subject, i, SLICE_NONE);
        must(meta_referrers_page(w->meta, S("a"), &subject, NULL, 100, types + 1, 1, &w->arena, &page, &e));
        assert_true(page.count == 0 && page.more);
        must(meta_referrers_page(w->meta, S("a"), &subject, &page.last, 100, types + 1, 1, &w->arena, &page, &e));
        assert_true(page.count == 0 && !page.more);
        assert_int_equal(walk_referrers(w, &subject, 1000, types, 1), COUNT / 3 + 1);
        assert_int_equal(walk_referrers(w, &subject, COUNT, NULL, 0), COUNT);
}

static void large_annotations_end_a_page(void **state)
{
        enum { ANNOTATIONS = META_REFERRERS_BYTES / 3 };
        struct world *w = *state;
        struct digest subject = digest_of(S("subject"));
        char *text = arena_alloc(&w->arena, ANNOTATIONS);
        struct meta_referrers page;

        memset(text, 'x', ANNOTATIONS);
        for (size_t i = 0; i < 6; i++)
                put_referrer(w, S("a"), &subject, i, (struct slice){ text, ANNOTATIONS });
        must(meta_referrers_page(w->meta, S("a"), &subject, NULL, 100, NULL, 0, &w->arena, &page, &e));
        assert_true(page.more);
        assert_int_equal(page.count, 4);
        must(meta_referrers_page(w->meta, S("a"), &subject, &page.manifests[3].digest, 100, NULL, 0, &w->arena, &page, &e));
        assert_int_equal(page.count, 2);
        assert_false(page.more);
}

/* --- What became stale ------------------------------------------------------------------------------------------------ */

struct heard {
        char text[4096];                /* "repository:tag=first-bytes-of-digest " for each */
        size_t count;
        bool all;
};

static void hear(void *arg, const struct meta_change *changes, size_t n)
{
        struct heard *heard = arg;

        heard->count += n;
        for (size_t i = 0; i < n; i++) {
                size_t used = strlen(heard->text);
                struct digest_text text = { "" };

                heard->all |= changes[i].repository.n == 0;
                if (changes[i].digest.algorithm)
                        text = digest_format(&changes[i].digest);
                snprintf(heard->text + used, sizeof heard->text - used, "%.*s:%.*s=%.4s ", SLICE_ARG(changes[i].repository),
                         SLICE_ARG(changes[i].tag), *text.s ? text.s + 7 : "");
        }
}

/* Each expectation is a word that must be there. */
static void expect_heard(struct heard *heard, const char *tag, const struct digest *digest)
{
        char word[64];

        snprintf(word, sizeof word, "a:%s=%.4s ", tag, digest ? digest_format(digest).s + 7 : "");
        if (!strstr(heard->text, word))
                fail_msg("\"%s\" was not told, but: %s", word, heard->text);
}

static void forget(struct heard *heard, size_t count)
{
        assert_int_equal(heard->count, count);
        *heard = (struct heard){ 0 };
}

static void every_change_tells_what_became_stale(void **state)
{
        struct world *w = *state;
        struct digest one = digest_of(S("{1}")), two = digest_of(S("{2}")), subject = digest_of(S("subject")), blob;
        struct digest referrer = digest_of(S("{\"number\":0}"));
        struct heard heard = { 0 };

        meta_on_change(w->meta, hear, &heard);
        blob = add_blob(w, S("a"), S("blob"));
        expect_heard(&heard, "", &blob);
        forget(&heard, 1);
        must(meta_blob_mount(w->meta, S(""), S("a"), &blob, &e));
        must(meta_blob_delete(w->meta, S("a"), &blob, &e));
        expect_heard(&heard, "", &blob);
        forget(&heard, 2);
        put(w, S("a"), S("{1}"), S("x"));
        expect_heard(&heard, "", &one);
        expect_heard(&heard, "x", &one);
        forget(&heard, 2);
        put(w, S("a"), S("{1}"), S("x"));
        forget(&heard, 0);                      /* nothing that anybody could hold is different */
        put(w, S("a"), S("{2}"), S("x"));
        expect_heard(&heard, "x", &two);
        forget(&heard, 2);
        must(meta_tag_delete(w->meta, S("a"), S("x"), &e));
        expect_heard(&heard, "x", NULL);
        forget(&heard, 1);
        put(w, S("a"), S("{2}"), S("y"));
        put(w, S("a"), S("{2}"), S("z"));
        forget(&heard, 2);
        must(meta_manifest_delete(w->meta, S("a"), &two, &e));
        expect_heard(&heard, "", &two);
        expect_heard(&heard, "y", &two);
        expect_heard(&heard, "z", &two);
        forget(&heard, 3);
        put_referrer(w, S("a"), &subject, 0, SLICE_NONE);
        expect_heard(&heard, "", &subject);
        forget(&heard, 2);
        must(meta_manifest_delete(w->meta, S("a"), &referrer, &e));
        expect_heard(&heard, "", &subject);
        forget(&heard, 2);
        must_fail(meta_manifest_delete(w->meta, S("a"), &referrer, &e), ERR_MANIFEST_UNKNOWN);
        forget(&heard, 0);
}

static void more_than_fits_is_told_as_all(void **state)
{
        enum { TAGS = 5000 };
        struct world *w = *state;
        struct slice *tags = arena_alloc(&w->arena, TAGS * sizeof *tags);
        struct meta_manifest manifest = { .digest = digest_of(S("{}")), .media_type = IMAGE_TYPE, .payload = S("{}"), .size = 2 };
        struct heard heard = { 0 };

        for (size_t i = 0; i < TAGS; i++)
                tags[i] = arena_printf(&w->arena, "tag-%zu", i);
        must(meta_manifest_put(w->meta, S("a"), &manifest, NULL, 0, tags, TAGS, &e));
        meta_on_change(w->meta, hear, &heard);
        must(meta_manifest_delete(w->meta, S("a"), &manifest.digest, &e));
        assert_true(heard.all);
        forget(&heard, 1);
        put(w, S("a"), S("{}"), S("x"));
        assert_false(heard.all);
}

/* --- The store -------------------------------------------------------------------------------------------------------- */

static void store_is_sound_and_writable(void **state)
{
        struct world *w = *state;

        must(meta_probe(w->meta, &e));
        put(w, S("a"), S("{}"), S("x"));
        must(meta_check(w->meta, &e));
        reopen(w);
        must(meta_probe(w->meta, &e));
        assert_true(slice_eq(tagged(w, S("x")), S("{}")));
        meta_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(session_is_kept_saved_and_removed),
                TEST(blob_lives_in_the_database_or_as_an_object),
                TEST(stored_digest_keeps_its_object),
                TEST(blob_belongs_to_its_repositories),
                TEST(mount_links_what_is_there),
                TEST(manifest_comes_back_as_it_was),
                TEST(what_is_not_there_is_told),
                TEST(parts_must_be_in_the_repository),
                TEST(manifest_of_many_parts),
                TEST(tags_move_and_leave_their_siblings),
                TEST(equal_bytes_again),
                TEST(what_is_named_cannot_be_deleted),
                TEST(tags_in_pages),
                TEST(only_repositories_with_manifests_are_listed),
                TEST(small_arena_is_an_error),
                TEST(referrers_in_pages),
                TEST(a_page_looks_at_few_rows),
                TEST(large_annotations_end_a_page),
                TEST(every_change_tells_what_became_stale),
                TEST(more_than_fits_is_told_as_all),
                TEST(store_is_sound_and_writable),
        };

        return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
