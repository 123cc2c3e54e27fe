/* Unit tests of the router, with the patterns that the distribution specification needs. */
#include "base/buf.h"
#include "http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum row { BASE, CATALOG, BLOB, BLOB_DELETE, UPLOADS, UPLOAD, MANIFEST, TAGS, PREFLIGHT, LANDING, FIXED, PAIR, FOUR };

#define READ (HTTP_GET | HTTP_HEAD)

static const struct http_route routes[] = {
        [BASE] = { READ, "/v2", .slash = true },
        [CATALOG] = { READ, "/v2/_catalog" },
        [BLOB] = { READ, "/v2/{name...}/blobs/{digest}" },
        [BLOB_DELETE] = { HTTP_DELETE, "/v2/{name...}/blobs/{digest}" },
        [UPLOADS] = { HTTP_POST, "/v2/{name...}/blobs/uploads", .slash = true },
        [UPLOAD] = { READ | HTTP_PUT | HTTP_PATCH, "/v2/{name...}/blobs/uploads/{id}" },
        [MANIFEST] = { READ | HTTP_PUT, "/v2/{name...}/manifests/{reference}" },
        [TAGS] = { READ, "/v2/{name...}/tags/list" },
        [PREFLIGHT] = { HTTP_OPTIONS, "/v2/{name...}", .slash = true },
        [LANDING] = { READ, "/" },
        [FIXED] = { READ, "/ca.crt" },
        [PAIR] = { READ, "/pair/{a}/with/{b}" },
        [FOUR] = { READ, "/four/{a}/{b...}/x/{c}/{d}" },
};

static const struct http_app app = { .routes = routes, .route_count = ARRAY_LEN(routes), .app = (void *)&app };

struct outcome {
        int status;
        unsigned allowed;
        struct http_request rq;
        struct arena arena;
        struct err e;
};

static void run(enum http_method method, struct slice path, struct outcome *o)
{
        *o = (struct outcome){ .arena = ARENA_INIT(10000) };
        o->rq = (struct http_request){ .method = method, .method_text = S("X"), .path = path, .arena = &o->arena };
        if (router_find(&app, &o->rq, &o->status, &o->allowed, &o->e).ok)
                o->status = 0;
        assert_ptr_equal(o->rq.app, app.app);
}

static void test_routes(void **state)
{
        static const struct { enum http_method method; struct slice path; enum row row; struct slice params[ROUTE_PARAMS_MAX]; } rows[] = {
                { HTTP_GET, S("/v2"), BASE, { SLICE_NONE } },
                { HTTP_GET, S("/v2/"), BASE, { SLICE_NONE } },
                { HTTP_GET, S("/"), LANDING, { SLICE_NONE } },
                { HTTP_HEAD, S("/ca.crt"), FIXED, { SLICE_NONE } },
                { HTTP_GET, S("/v2/_catalog"), CATALOG, { SLICE_NONE } },
                { HTTP_GET, S("/v2/a/blobs/sha256:1"), BLOB, { S("a"), S("sha256:1") } },
                { HTTP_DELETE, S("/v2/a/b/c/blobs/sha256:1"), BLOB_DELETE, { S("a/b/c"), S("sha256:1") } },
                { HTTP_POST, S("/v2/a/blobs/uploads/"), UPLOADS, { S("a") } },
                { HTTP_POST, S("/v2/a/b/blobs/uploads"), UPLOADS, { S("a/b") } },
                { HTTP_PATCH, S("/v2/a/blobs/uploads/7"), UPLOAD, { S("a"), S("7") } },
                { HTTP_GET, S("/v2/a/tags/list"), TAGS, { S("a") } },
                { HTTP_GET, S("/pair/1/with/2"), PAIR, { S("1"), S("2") } },
                { HTTP_GET, S("/four/1/2/3/x/4/5"), FOUR, { S("1"), S("2/3"), S("4"), S("5") } },
                /* words of the API in names */
                { HTTP_GET, S("/v2/a/blobs/uploads/b/manifests/c"), MANIFEST, { S("a/blobs/uploads/b"), S("c") } },
                { HTTP_GET, S("/v2/a/manifests/b/manifests/c"), MANIFEST, { S("a/manifests/b"), S("c") } },
                { HTTP_GET, S("/v2/tags/list/tags/list"), TAGS, { S("tags/list") } },
                { HTTP_GET, S("/v2/blobs/uploads/blobs/d"), BLOB, { S("blobs/uploads"), S("d") } },
                { HTTP_PUT, S("/v2/blobs/blobs/uploads/x"), UPLOAD, { S("blobs"), S("x") } },
                { HTTP_POST, S("/v2/manifests/blobs/uploads/"), UPLOADS, { S("manifests") } },
                { HTTP_GET, S("/v2/_catalog/manifests/x"), MANIFEST, { S("_catalog"), S("x") } },
                /* what looks like an upload without an id is, for other methods than POST, a digest that is none */
                { HTTP_GET, S("/v2/a/blobs/uploads"), BLOB, { S("a"), S("uploads") } },
                /* percent-encoding */
                { HTTP_GET, S("/v2/a/blobs/sha256%3A1"), BLOB, { S("a"), S("sha256:1") } },
                { HTTP_GET, S("/v2/a%2Fb/manifests/x"), MANIFEST, { S("a/b"), S("x") } },
                { HTTP_GET, S("/v2/%61/b/manifests/%2e%2e"), MANIFEST, { S("a/b"), S("..") } },
                { HTTP_GET, S("/v2/a/manifests/%2541"), MANIFEST, { S("a"), S("%41") } },
                /* any path below the base */
                { HTTP_OPTIONS, S("/v2/a/b/c/"), PREFLIGHT, { S("a/b/c") } },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct outcome o;

                run(rows[i].method, rows[i].path, &o);
                if (o.status || o.rq.route != &routes[rows[i].row])
                        fail_msg("%.*s: status %d", SLICE_ARG(rows[i].path), o.status);
                for (size_t k = 0; k < ROUTE_PARAMS_MAX; k++)
                        assert_true(slice_eq(o.rq.params[k], rows[i].params[k]));
                arena_fini(&o.arena);
        }
}

static void test_refusals(void **state)
{
        static const struct { enum http_method method; struct slice path; int status; unsigned allowed; } rows[] = {
                { HTTP_GET, S("*"), 404, 0 },
                { HTTP_GET, S(""), 404, 0 },
                { HTTP_GET, S("//"), 404, 0 },
                { HTTP_GET, S("/v1"), 404, 0 },
                { HTTP_GET, S("/v2/x"), 404, 0 },
                { HTTP_GET, S("//v2/"), 404, 0 },
                { HTTP_GET, S("/v2//"), 404, 0 },
                { HTTP_GET, S("/ca.crt/"), 404, 0 },
                { HTTP_GET, S("/v2/_catalog/"), 404, 0 },
                { HTTP_GET, S("/V2/"), 404, 0 },
                { HTTP_GET, S("/v2/tags/list"), 404, 0 },               /* no name */
                { HTTP_GET, S("/v2/blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2//blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2/a//blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2//a/blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2/a/blobs//x"), 404, 0 },
                { HTTP_GET, S("/v2/a/blobs/"), 404, 0 },
                { HTTP_GET, S("/v2/a/blobs/x/"), 404, 0 },
                { HTTP_GET, S("/v2/a/tags/list/x"), 404, 0 },
                { HTTP_GET, S("/v2/a/%62lobs/x"), 404, 0 },             /* literal segments are compared as sent */
                { HTTP_GET, S("/v2/../v2/"), 404, 0 },
                { HTTP_GET, S("/v2/./a/blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2/a/../b/blobs/x"), 404, 0 },
                { HTTP_GET, S("/v2/a/manifests/.."), 404, 0 },
                { HTTP_GET, S("/v2/a/manifests/."), 404, 0 },
                { HTTP_GET, S("/pair//with/2"), 404, 0 },
                { HTTP_GET, S("/pair/1/2/with/2"), 404, 0 },
                { HTTP_OPTIONS, S("/elsewhere"), 404, 0 },
                { HTTP_POST, S("/v2/"), 405, READ },
                { HTTP_OTHER, S("/v2/"), 405, READ },
                { HTTP_OPTIONS, S("/"), 405, READ },
                { HTTP_POST, S("/v2/a/blobs/x"), 405, READ | HTTP_DELETE | HTTP_OPTIONS },
                { HTTP_PUT, S("/v2/a/blobs/uploads/"), 405, HTTP_POST | HTTP_OPTIONS },
                { HTTP_DELETE, S("/v2/a/blobs/uploads/x"), 405, READ | HTTP_PUT | HTTP_PATCH | HTTP_OPTIONS },
                { HTTP_GET, S("/v2/a%/manifests/x"), 400, 0 },
                { HTTP_GET, S("/v2/a/manifests/%zz"), 400, 0 },
                { HTTP_GET, S("/v2/a/manifests/x%00"), 400, 0 },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct outcome o;

                run(rows[i].method, rows[i].path, &o);
                if (o.status != rows[i].status || o.allowed != rows[i].allowed)
                        fail_msg("%.*s: status %d, methods %x", SLICE_ARG(rows[i].path), o.status, o.allowed);
                assert_true(o.e.message[0]);
                arena_fini(&o.arena);
        }
}

static void test_memory_only_for_encoded_parameters(void **state)
{
        struct outcome o;

        (void)state;
        run(HTTP_GET, S("/v2/a/b/c/manifests/latest"), &o);
        assert_int_equal(o.arena.used, 0);
        arena_fini(&o.arena);
}

static void test_absurd_paths(void **state)
{
        struct buf path = BUF_INIT(100000);
        struct outcome o;

        (void)state;
        buf_put(&path, S("/v2"));
        for (int i = 0; i < 8000; i++)
                buf_put(&path, S("/a"));
        run(HTTP_GET, buf_slice(&path), &o);
        assert_int_equal(o.status, 404);
        buf_put(&path, S("/manifests/x"));
        run(HTTP_GET, buf_slice(&path), &o);
        assert_int_equal(o.status, 0);          /* whether it is a name is for others to say */
        buf_fini(&path);
}

static void test_allow(void **state)
{
        char text[ROUTER_ALLOW_MAX];

        (void)state;
        assert_true(slice_eq(router_allow(0, text), S("")));
        assert_true(slice_eq(router_allow(READ, text), S("GET, HEAD")));
        assert_true(slice_eq(router_allow(0xff, text), S("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_routes),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_memory_only_for_encoded_parameters),
                cmocka_unit_test(test_absurd_paths),
                cmocka_unit_test(test_allow),
        };

        return cmocka_run_group_tests_name("http/router", tests, NULL, NULL);
}
