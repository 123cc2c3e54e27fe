/* http/router.h against a second, slower way to say what matches: by trying. The input is a method, a blank, and a path. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/query.h"
#include "http/router.h"

enum { SEGMENTS_MAX = 64 };

#define READ (HTTP_GET | HTTP_HEAD)

static const struct http_route routes[] = {
        { READ, "/v2", .slash = true },
        { READ, "/v2/_catalog" },
        { READ, "/v2/{name...}/blobs/{digest}" },
        { HTTP_DELETE, "/v2/{name...}/blobs/{digest}" },
        { HTTP_POST, "/v2/{name...}/blobs/uploads", .slash = true },
        { READ | HTTP_PUT | HTTP_PATCH, "/v2/{name...}/blobs/uploads/{id}" },
        { READ | HTTP_PUT, "/v2/{name...}/manifests/{reference}" },
        { READ, "/v2/{name...}/tags/list" },
        { HTTP_OPTIONS, "/v2/{name...}", .slash = true },
        { READ, "/" },
        { HTTP_PUT, "/{a}/{b...}/{c}/x" },
        { HTTP_POST, "/{a}/{b...}/x/{c}/{d}" },
};

struct segments {
        struct slice items[SEGMENTS_MAX];
        size_t count;
};

/* false: too many, or not a path. */
static bool split(struct slice path, struct segments *s)
{
        struct slice segment;

        s->count = 0;
        if (path.n == 0 || path.p[0] != '/')
                return false;
        path = slice_skip(path, 1);
        if (path.n == 0)
                return true;
        while (slice_next(&path, '/', &segment)) {
                if (s->count == SEGMENTS_MAX)
                        return false;
                s->items[s->count++] = segment;
        }
        return true;
}

/* One segment of the pattern against one of the path. */
static bool fits(struct slice want, struct slice segment)
{
        if (want.p[0] != '{')
                return slice_eq(want, segment);
        return segment.n && !slice_eq(segment, S(".")) && !slice_eq(segment, S(".."));
}

/* With a tail of so many segments. */
static bool fits_with_tail(const struct segments *pattern, const struct segments *path, size_t tail)
{
        size_t at = 0;

        for (size_t p = 0; p < pattern->count; p++)
                for (size_t n = slice_ends(pattern->items[p], S("...}")) ? tail : 1; n > 0; n--)
                        if (at == path->count || !fits(pattern->items[p], path->items[at++]))
                                return false;
        return at == path->count;
}

static bool matches(const struct http_route *route, struct slice path)
{
        struct segments pattern, segments;

        CHECK(split(slice_from(route->pattern), &pattern));
        if (route->slash && slice_ends(path, S("/")) && path.n > 1)
                path.n--;
        if (!split(path, &segments))
                return false;
        for (size_t tail = 1; tail <= SEGMENTS_MAX; tail++)
                if (fits_with_tail(&pattern, &segments, tail))
                        return true;
        return false;
}

/* The pattern with the parameters put in is the path. */
static void check_params(const struct http_request *rq)
{
        struct slice pattern = slice_from(rq->route->pattern), segment;
        struct buf path = BUF_INIT(1024 * 1024);
        size_t param = 0;

        pattern = slice_skip(pattern, 1);
        while (pattern.n && slice_next(&pattern, '/', &segment)) {
                buf_put_char(&path, '/');
                if (segment.p[0] != '{')
                        buf_put(&path, segment);
                else
                        buf_put(&path, rq->params[param++]);
        }
        if (rq->path.n == 1 || (rq->route->slash && slice_ends(rq->path, S("/"))))
                buf_put_char(&path, '/');
        if (!memchr(rq->path.p, '%', rq->path.n))
                CHECK(slice_eq(buf_slice(&path), rq->path));
        for (size_t i = 0; i < ROUTE_PARAMS_MAX; i++)
                CHECK((i < param) == (rq->params[i].p != NULL) && (i >= param || rq->params[i].n));
        buf_fini(&path);
}

static enum http_method method_of(struct slice text)
{
        for (unsigned i = 0; i < 8; i++)
                if (slice_eq(text, router_allow(1u << i, (char[ROUTER_ALLOW_MAX]){ 0 })))
                        return (enum http_method)(1u << i);
        return HTTP_OTHER;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        static const struct http_app app = { .routes = routes, .route_count = ARRAY_LEN(routes) };
        struct arena arena = ARENA_INIT(64 * 1024);
        struct http_request rq = { .path = fuzz_input(bytes, n), .arena = &arena };
        const struct http_route *first = NULL;
        unsigned allowed = 0, said = 0;
        struct segments segments;
        struct err e = ERR_INIT;
        int status = 0;
        bool found;

        if (slice_cut(&rq.path, ' ', &rq.method_text))
                rq.method = method_of(rq.method_text);
        found = router_find(&app, &rq, &status, &said, &e).ok;
        for (size_t i = 0; split(rq.path, &segments) && i < ARRAY_LEN(routes); i++) {
                if (!matches(&routes[i], rq.path))
                        continue;
                allowed |= routes[i].methods;
                if (!first && (routes[i].methods & rq.method))
                        first = &routes[i];
        }
        if (found) {
                CHECK(!split(rq.path, &segments) || rq.route == first);
                check_params(&rq);
        } else if (split(rq.path, &segments)) {
                CHECK(status == (first ? 400 : (allowed & ~(unsigned)HTTP_OPTIONS) ? 405 : 404));
                CHECK(status != 405 || said == allowed);
                CHECK(status != 400 || memchr(rq.path.p, '%', rq.path.n));
                CHECK(e.message[0]);
        }
        arena_fini(&arena);
        return 0;
}
