/* What is no part of the distribution protocol: the page for people who open the address in a browser or with curl, the
 * authority's certificate, health; and the protocol's own "are you there" (distribution-spec, "Determining Support"). */
#include "api/internal.h"

#include <stdlib.h>

enum { PAGE_BYTES_MAX = 64 * 1024, HOST_MAX = 260 };

/* --- Small answers ---------------------------------------------------------------------------------------------------- */

bool base_get(struct http_request *rq, struct http_response *rs)
{
        (void)rq;
        http_response_bytes(rs, 200, S("application/json"), S("{}"));
        http_response_header(rs, S("Docker-Distribution-API-Version"), S("registry/2.0"));
        return true;
}

bool preflight(struct http_request *rq, struct http_response *rs)
{
        http_response_empty(rs, 204);
        http_response_header(rs, S("Allow"), S("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        if (!api_of(rq)->cors_origin)
                return true;
        http_response_header(rs, S("Access-Control-Allow-Methods"), S("GET, HEAD, POST, PUT, PATCH, DELETE"));
        http_response_header(rs, S("Access-Control-Allow-Headers"), S("Accept, Authorization, Content-Range, Content-Type, Range"));
        http_response_header(rs, S("Access-Control-Max-Age"), S("3600"));
        return true;
}

bool health_get(struct http_request *rq, struct http_response *rs)
{
        (void)rq;
        http_response_bytes(rs, 200, S("text/plain; charset=utf-8"), S("alive\n"));
        http_response_header(rs, S("Cache-Control"), S("no-store"));
        return true;
}

/* A failure says why: who asks for this runs the registry. */
RESULT ready_get(struct http_request *rq, struct http_response *rs, struct err *e)
{
        if (registry_probe(registry_of(rq), e).ok)
                http_response_bytes(rs, 200, S("text/plain; charset=utf-8"), S("ready\n"));
        else
                http_response_bytes(rs, 503, S("text/plain; charset=utf-8"),
                                    e->code == ERR_FULL ? S("not ready: the storage is full\n")
                                                        : S("not ready: the storage cannot be written\n"));
        http_response_header(rs, S("Cache-Control"), S("no-store"));
        return OK;
}

/* Copies of what a SIGHUP may change meanwhile. */
static struct slice identity_copy(struct http_request *rq, const struct buf *part)
{
        struct api *api = api_of(rq);
        struct slice copy;

        pthread_mutex_lock(&api->identity_lock);
        copy = arena_copy(rq->arena, buf_slice(part));
        pthread_mutex_unlock(&api->identity_lock);
        CHECK(copy.p);
        return copy;
}

bool authority_get(struct http_request *rq, struct http_response *rs)
{
        struct slice pem = identity_copy(rq, &api_of(rq)->ca_pem);
        struct err e;

        if (pem.n) {
                http_response_bytes(rs, 200, S("application/x-pem-file"), pem);
                return true;
        }
        IGNORE(FAIL(&e, ERR_NOT_FOUND, 0, "this registry has no authority of its own: its certificate was given to it, or it has none"));
        api_fail(rq, rs, 404, &e);
        return true;
}

/* --- The page --------------------------------------------------------------------------------------------------------- */

/* The registry's address as the reader knows it: what the request was sent to. Only what can stand in an address is taken. */
static struct slice reader_host(struct http_request *rq)
{
        struct slice host = http_request_header(rq, S("Host"));

        if (host.n == 0 || host.n > HOST_MAX)
                return S("localhost:5000");
        for (size_t i = 0; i < host.n; i++) {
                char c = host.p[i];

                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(".-:[]_", c))))
                        return S("localhost:5000");
        }
        return host;
}

static bool wants_html(struct http_request *rq)
{
        struct slice accept = http_request_header(rq, S("Accept"));

        return accept.p && memmem(accept.p, accept.n, "text/html", 9);
}

/* A paragraph and a block of commands, as a web page or as text. */
struct page {
        struct buf *b;
        bool html;
};

static void heading(struct page *page, const char *text)
{
        buf_printf(page->b, page->html ? "<h2>%s</h2>\n" : "\n%s\n\n", text);
}

static void paragraph(struct page *page, struct slice text)
{
        buf_printf(page->b, page->html ? "<p>%.*s</p>\n" : "%.*s\n", SLICE_ARG(text));
}

static void commands(struct page *page, struct slice lines)
{
        struct slice line;

        buf_put(page->b, page->html ? S("<pre>") : S(""));
        while (slice_next(&lines, '\n', &line))
                buf_printf(page->b, page->html ? "%.*s\n" : "    %.*s\n", SLICE_ARG(line));
        buf_put(page->b, page->html ? S("</pre>\n") : S(""));
}

static void page_begin(struct page *page)
{
        if (page->html)
                buf_put(page->b, S("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Orlop</title>"
                                   "<meta name=\"viewport\" content=\"width=device-width\">\n<style>"
                                   "body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}"
                                   "pre{background:#f3f3f1;padding:.8em;overflow:auto}"
                                   "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#262626}}"
                                   "</style></head><body>\n<h1>Orlop</h1>\n"));
        else
                buf_put(page->b, S("Orlop\n\n"));
}

static void put_trust(struct page *page, struct http_request *rq, struct slice host)
{
        struct slice fingerprint = identity_copy(rq, &api_of(rq)->fingerprint);

        if (!rq->tls) {
                heading(page, "Trust it");
                paragraph(page, S("It is reached without TLS here: whoever can reach the network can read and change what travels."));
                return;
        }
        heading(page, "Trust it");
        if (fingerprint.n) {
                paragraph(page, S("The certificate's SHA-256 fingerprint; compare it with what the registry printed when it started:"));
                commands(page, fingerprint);
        }
        if (!identity_copy(rq, &api_of(rq)->ca_pem).n)
                return;
        paragraph(page, S("Docker on another machine, as root (on the registry's own machine localhost needs nothing):"));
        commands(page, api_text(rq, "mkdir -p /etc/docker/certs.d/%.*s\n"
                                    "curl -k https://%.*s/ca.crt -o /etc/docker/certs.d/%.*s/ca.crt",
                                SLICE_ARG(host), SLICE_ARG(host), SLICE_ARG(host)));
        paragraph(page, S("Podman, Buildah, Skopeo: the same file in /etc/containers/certs.d. Then compare the fingerprint:"));
        commands(page, api_text(rq, "openssl s_client -connect %.*s </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
                                SLICE_ARG(host)));
}

static void put_page(struct page *page, struct http_request *rq)
{
        struct slice host = reader_host(rq);

        page_begin(page);
        paragraph(page, api_text(rq, "This is a private container registry (version %s). Container clients talk to it.",
                                 api_of(rq)->version));
        heading(page, "Push and pull");
        commands(page, api_text(rq, "docker tag IMAGE %.*s/IMAGE\ndocker push %.*s/IMAGE\ndocker pull %.*s/IMAGE", SLICE_ARG(host),
                                SLICE_ARG(host), SLICE_ARG(host)));
        put_trust(page, rq, host);
        buf_put(page->b, page->html ? S("</body></html>\n") : S(""));
}

bool landing_get(struct http_request *rq, struct http_response *rs)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        struct page page = { .b = &body, .html = wants_html(rq) };
        struct err e;

        put_page(&page, rq);
        if (!api_answer_buf(rs, 200, page.html ? S("text/html; charset=utf-8") : S("text/plain; charset=utf-8"), &body, &e).ok) {
                api_fail(rq, rs, 0, &e);
                return true;
        }
        http_response_header(rs, S("Vary"), S("Accept"));
        http_response_header(rs, S("Content-Security-Policy"), S("default-src 'none'; style-src 'unsafe-inline'"));
        http_response_header(rs, S("X-Content-Type-Options"), S("nosniff"));
        return true;
}
