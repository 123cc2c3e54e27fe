/* Lists, a page at a time: distribution-spec, "Listing Tags", "Listing Referrers", and the catalog that Docker's registry has. */
#include "api/internal.h"

#include "oci/list.h"
#include "oci/reference.h"

enum { TYPES_MAX = 16, PAGE_BYTES_MAX = 64 * 1024 * 1024 };

/* ?last=: the page begins after it. */
static struct slice last_of(struct http_request *rq)
{
        struct slice last = http_request_query(rq, S("last"), 0);

        return last.p ? last : S("");
}

/* Is there a further page, and a name after which it begins? */
static bool has_next(const struct meta_names *page)
{
        return page->more && page->count > 0;
}

static struct slice encoded_last(struct http_request *rq, const struct meta_names *page)
{
        return api_percent_encode(rq, page->names[page->count - 1]);
}

RESULT tags_list(struct http_request *rq, struct http_response *rs, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        struct slice repository;
        struct meta_names page;
        size_t n;

        TRY(api_repository(rq, &repository, e));
        TRY(api_page_size(rq, &n, e));
        TRY(registry_tags(registry_of(rq), repository, last_of(rq), n, rq->arena, &page, e));

        list_tags(&body, repository, page.names, page.count);
        if (has_next(&page))
                api_link_next(rq, rs, api_text(rq, "/v2/%.*s/tags/list?n=%zu&last=%.*s", SLICE_ARG(repository), n,
                                               SLICE_ARG(encoded_last(rq, &page))));
        return api_answer_buf(rs, 200, S("application/json"), &body, e);
}

RESULT catalog_list(struct http_request *rq, struct http_response *rs, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        struct meta_names page;
        size_t n;

        TRY(api_page_size(rq, &n, e));
        TRY(registry_catalog(registry_of(rq), last_of(rq), n, rq->arena, &page, e));

        list_repositories(&body, page.names, page.count);
        if (has_next(&page))
                api_link_next(rq, rs, api_text(rq, "/v2/_catalog?n=%zu&last=%.*s", n, SLICE_ARG(encoded_last(rq, &page))));
        return api_answer_buf(rs, 200, S("application/json"), &body, e);
}

/* --- Referrers -------------------------------------------------------------------------------------------------------- */

/* ?artifactType=, several. */
static RESULT wanted_types(struct http_request *rq, struct slice types[static TYPES_MAX], size_t *ret_count, struct err *e)
{
        struct slice type;
        size_t count = 0;

        while ((type = http_request_query(rq, S("artifactType"), count)).p) {
                if (count == TYPES_MAX)
                        return FAIL(e, ERR_INVALID, 0, "one request may name at most %d artifact types", TYPES_MAX);
                types[count++] = type;
        }
        *ret_count = count;
        return OK;
}

static void link_next_referrers(struct http_request *rq, struct http_response *rs, const struct registry_referrers_request *request,
                                const struct digest *last)
{
        struct slice filter = S("");

        for (size_t i = 0; i < request->type_count; i++)
                filter = api_text(rq, "%.*s&artifactType=%.*s", SLICE_ARG(filter),
                                  SLICE_ARG(api_percent_encode(rq, request->types[i])));
        api_link_next(rq, rs, api_text(rq, "/v2/%.*s/referrers/%s?n=%zu&last=%s%.*s", SLICE_ARG(request->repository),
                                       digest_format(&request->subject).s, request->n, digest_format(last).s, SLICE_ARG(filter)));
}

RESULT referrers_list(struct http_request *rq, struct http_response *rs, struct err *e)
{
        _cleanup_(buf_fini) struct buf body = BUF_INIT(PAGE_BYTES_MAX);
        struct slice types[TYPES_MAX], last = http_request_query(rq, S("last"), 0);
        struct registry_referrers_request request = { .types = types, .has_last = last.p != NULL };
        struct registry_referrers_page page;

        TRY(api_repository(rq, &request.repository, e));
        TRY(api_digest(rq, &request.subject, e));
        TRY(api_page_size(rq, &request.n, e));
        TRY(wanted_types(rq, types, &request.type_count, e));
        if (last.p)
                TRY(digest_parse(last, &request.last, e));
        TRY(registry_referrers(registry_of(rq), &request, rq->arena, &page, e));

        list_referrers(&body, page.referrers, page.count);
        if (request.type_count)
                http_response_header(rs, S("OCI-Filters-Applied"), S("artifactType"));
        if (page.more && request.n)
                link_next_referrers(rq, rs, &request, &page.last);
        return api_answer_buf(rs, 200, S("application/vnd.oci.image.index.v1+json"), &body, e);
}
