/* Patterns are read where they stand, once a request: a prefix is compared from the left, then what stands right of "{x...}" from
 * the right, and the rest is x. A row that does not match costs the comparison of one or two short words. */
#include "http/router.h"

#include "http/query.h"

#include <stdio.h>

/* --- Segments: a list between "/"; .p is NULL when it is used up ------------------------------------------------------- */

static bool take_first(struct slice *rest, struct slice *ret_segment)
{
        return slice_next(rest, '/', ret_segment);
}

static bool take_last(struct slice *rest, struct slice *ret_segment)
{
        const char *at;
        size_t before;

        if (!rest->p)
                return false;
        at = rest->n ? memrchr(rest->p, '/', rest->n) : NULL;
        if (!at) {
                *ret_segment = *rest;
                *rest = SLICE_NONE;
                return true;
        }
        before = (size_t)(at - rest->p);
        *ret_segment = slice_skip(*rest, before + 1);
        *rest = slice_head(*rest, before);
        return true;
}

/* What stands behind the first "/". */
static struct slice segments_of(struct slice path)
{
        return path.n > 1 ? slice_skip(path, 1) : SLICE_NONE;
}

static bool is_param(struct slice pattern)
{
        return pattern.n && pattern.p[0] == '{';
}

static bool can_be_value(struct slice segment)
{
        return segment.n && !slice_eq(segment, S(".")) && !slice_eq(segment, S(".."));
}

static bool can_be_values(struct slice segments)
{
        struct slice segment;

        if (!segments.p)
                return false;
        while (take_first(&segments, &segment))
                if (!can_be_value(segment))
                        return false;
        return true;
}

/* --- Matching --------------------------------------------------------------------------------------------------------- */

struct match {
        struct slice params[ROUTE_PARAMS_MAX];
        size_t count;
};

static bool match_segment(struct slice pattern, struct slice segment, struct slice *ret_param)
{
        if (!is_param(pattern))
                return slice_eq(pattern, segment);
        *ret_param = segment;
        return can_be_value(segment);
}

static size_t count_params(struct slice pattern)
{
        struct slice segment;
        size_t n = 0;

        while (take_first(&pattern, &segment))
                n += is_param(segment);
        return n;
}

/* From "{x...}" on, which is the match's next parameter; `pattern` is what stands right of it. */
static bool match_right(struct slice pattern, struct slice path, struct match *m)
{
        size_t tail = m->count, at = tail + count_params(pattern);
        struct slice want, segment;

        CHECK(at < ROUTE_PARAMS_MAX);
        m->count = at + 1;
        while (take_last(&pattern, &want)) {
                if (!take_last(&path, &segment) || !match_segment(want, segment, &m->params[at]))
                        return false;
                at -= is_param(want);
        }
        m->params[tail] = path;
        return can_be_values(path);
}

static bool match_route(const struct http_route *route, struct slice path, struct match *m)
{
        struct slice pattern = segments_of(slice_from(route->pattern)), want, segment;

        if (!slice_starts(path, S("/")))        /* "*" */
                return false;
        if (route->slash && path.n > 1 && path.p[path.n - 1] == '/')
                path.n--;
        path = segments_of(path);
        m->count = 0;
        while (take_first(&pattern, &want)) {
                if (slice_ends(want, S("...}")))
                        return match_right(pattern, path, m);
                CHECK(m->count < ROUTE_PARAMS_MAX);
                if (!take_first(&path, &segment) || !match_segment(want, segment, &m->params[m->count]))
                        return false;
                m->count += is_param(want);
        }
        return !path.p;
}

/* --- The answer ------------------------------------------------------------------------------------------------------- */

static RESULT take_params(struct http_request *rq, const struct match *m, int *ret_status, struct err *e)
{
        for (size_t i = 0; i < m->count; i++) {
                rq->params[i] = percent_decode(m->params[i], rq->arena);
                if (!rq->params[i].p) {
                        *ret_status = 400;
                        return FAIL(e, ERR_INVALID, 0, "the path's percent-encoding is malformed");
                }
        }
        return OK;
}

static RESULT no_route(const struct http_app *app, struct http_request *rq, int *ret_status, unsigned *ret_allowed, struct err *e)
{
        struct match m = { 0 };
        unsigned allowed = 0;

        for (size_t i = 0; i < app->route_count; i++)
                if (match_route(&app->routes[i], rq->path, &m))
                        allowed |= app->routes[i].methods;
        if (!(allowed & ~(unsigned)HTTP_OPTIONS)) {
                *ret_status = 404;
                return FAIL(e, ERR_NOT_FOUND, 0, "there is nothing at this path; the registry's API begins at /v2/");
        }
        *ret_status = 405;
        *ret_allowed = allowed;
        return FAIL(e, ERR_UNSUPPORTED, 0, "this path does not take the method %.*s", SLICE_ARG(slice_head(rq->method_text, 32)));
}

RESULT router_find(const struct http_app *app, struct http_request *rq, int *ret_status, unsigned *ret_allowed, struct err *e)
{
        struct match m = { 0 };

        rq->app = app->app;
        for (size_t i = 0; i < app->route_count; i++) {
                const struct http_route *route = &app->routes[i];

                if ((route->methods & rq->method) && match_route(route, rq->path, &m)) {
                        rq->route = route;
                        return take_params(rq, &m, ret_status, e);
                }
        }
        return no_route(app, rq, ret_status, ret_allowed, e);
}

struct slice router_allow(unsigned methods, char ret_text[static ROUTER_ALLOW_MAX])
{
        static const char *const names[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (methods & 1u << i)
                        n += (size_t)snprintf(ret_text + n, ROUTER_ALLOW_MAX - n, "%s%s", n ? ", " : "", names[i]);
                CHECK(n < ROUTER_ALLOW_MAX);
        }
        return (struct slice){ ret_text, n };
}
