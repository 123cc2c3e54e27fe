/* From method and path to a row of the application's table (http/handler.h says what patterns are).
 *
 * Segments are separated by "/" as it was sent, then each is percent-decoded once: "%3A" and "%2F" in a parameter are ":" and "/",
 * while literal segments are compared as they were sent. "{x...}" takes what the segments on its right leave, so a repository may
 * be called "a/blobs/uploads/b". Empty segments and dot segments match nothing.
 *
 * Where several rows match, the first one counts. Pure; any thread; memory is used only for parameters that have a "%". */
#pragma once

#include "http/handler.h"

/* Sets rq->route, rq->params and rq->app. On failure *ret_status is 404, 405 or 400 (malformed percent encoding), and for 405
 * *ret_allowed has the methods that the path knows. OPTIONS alone does not make a path known. */
RESULT router_find(const struct http_app *app, struct http_request *rq, int *ret_status, unsigned *ret_allowed, struct err *e);

/* The value of Allow: "GET, HEAD". At most ROUTER_ALLOW_MAX bytes. */
#define ROUTER_ALLOW_MAX 64
struct slice router_allow(unsigned methods, char ret_text[static ROUTER_ALLOW_MAX]);
