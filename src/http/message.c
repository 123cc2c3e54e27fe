#include "http/message.h"

#include "http/chars.h"

/* --- What is sent ----------------------------------------------------------------------------------------------------- */

/* The opaque part: without W/ and quotes. */
static struct slice etag_core(struct slice tag)
{
        if (slice_starts(tag, S("W/")))
                tag = slice_skip(tag, 2);
        if (tag.n >= 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"')
                tag = slice_head(slice_skip(tag, 1), tag.n - 2);
        return tag;
}

/* One entry of the list; a comma may stand within quotes. */
static bool next_etag(struct slice *list, struct slice *ret_tag)
{
        struct slice tag;
        bool quoted = false;
        size_t n = 0;

        *list = slice_trim(*list);
        if (list->n == 0)
                return false;
        for (; n < list->n && (quoted || list->p[n] != ','); n++)
                quoted ^= list->p[n] == '"';
        tag = slice_head(*list, n);
        *list = slice_skip(*list, n + 1);
        *ret_tag = slice_trim(tag);
        return true;
}

bool message_etag_listed(struct slice list, struct slice etag)
{
        struct slice tag;

        if (slice_eq(slice_trim(list), S("*")))
                return true;
        while (next_etag(&list, &tag))
                if (tag.n && slice_eq(etag_core(tag), etag_core(etag)))
                        return true;
        return false;
}

static bool not_modified(const struct http_request *rq, const struct http_response *rs)
{
        for (size_t i = 0; rs->etag.n && i < rq->header_count; i++)
                if (slice_eq_nocase(rq->headers[i].name, S("If-None-Match")) && message_etag_listed(rq->headers[i].value, rs->etag))
                        return true;
        return false;
}

static enum range_kind find_ranges(const struct http_request *rq, const struct http_response *rs, struct message_selection *s)
{
        struct slice range = http_request_header(rq, S("Range")), if_range;

        if (!rs->ranges || rq->method != HTTP_GET || !range.p)
                return RANGE_WHOLE;
        if_range = http_request_header(rq, S("If-Range"));
        if (if_range.p && !range_if_range(if_range, rs->etag))
                return RANGE_WHOLE;
        return range_parse(range, rs->size, rq->arena, &s->ranges, &s->range_count);
}

static void select_ranges(const struct http_request *rq, const struct http_response *rs, struct message_selection *s)
{
        switch (find_ranges(rq, rs, s)) {
        case RANGE_WHOLE:
                return;
        case RANGE_UNSATISFIABLE:
                s->status = 416;
                return;
        case RANGE_PARTS:
                s->status = 206;
                if (s->range_count == 1) {
                        s->length = s->ranges[0].last - s->ranges[0].first + 1;
                        return;
                }
                multipart_init(&s->multipart, s->ranges, s->range_count, rs->size, rs->content_type);
                s->length = multipart_length(&s->multipart);
                return;
        }
}

void message_select(const struct http_request *rq, const struct http_response *rs, struct message_selection *ret_selection)
{
        struct message_selection s = { .status = rs->status, .length = rs->size };

        if (rs->status == 200 && (rq->method == HTTP_GET || rq->method == HTTP_HEAD)) {
                if (not_modified(rq, rs))
                        s.status = 304;
                else
                        select_ranges(rq, rs, &s);
        }
        s.has_length = s.status != 204 && s.status != 304;
        s.has_body = s.has_length && rq->method != HTTP_HEAD && s.length > 0;
        *ret_selection = s;
}

struct slice message_unsatisfied_range(uint64_t size, struct arena *arena)
{
        return arena_printf(arena, "bytes */%llu", (unsigned long long)size);
}

/* --- The head --------------------------------------------------------------------------------------------------------- */

struct slice message_reason(int status)
{
        static const struct { int status; const char *reason; } table[] = {
                { 100, "Continue" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" },
                { 206, "Partial Content" }, { 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" },
                { 304, "Not Modified" }, { 307, "Temporary Redirect" }, { 308, "Permanent Redirect" }, { 400, "Bad Request" },
                { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
                { 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" },
                { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
                { 415, "Unsupported Media Type" }, { 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" },
                { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
                { 501, "Not Implemented" }, { 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
                { 505, "HTTP Version Not Supported" }, { 507, "Insufficient Storage" },
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (table[i].status == status)
                        return slice_from(table[i].reason);
        return S("");
}

static void put_value(struct buf *b, struct slice value)
{
        while (value.n) {
                size_t n = char_span(value, CHAR_VALUE);

                buf_put(b, slice_head(value, n));
                if (n < value.n)
                        buf_put_char(b, ' ');
                value = slice_skip(value, n + 1);
        }
}

static void put_field(struct buf *b, struct slice name, struct slice value)
{
        CHECK(name.n && char_all(name, CHAR_TOKEN));    /* names are ours, values may not be */
        buf_put(b, name);
        buf_put(b, S(": "));
        put_value(b, value);
        buf_put(b, S("\r\n"));
}

static void put_status_line(struct buf *b, int status)
{
        buf_put(b, S("HTTP/1.1 "));
        buf_put_u64(b, (uint64_t)status);
        buf_put_char(b, ' ');
        buf_put(b, message_reason(status));
        buf_put(b, S("\r\n"));
}

static void put_content_type(struct buf *b, const struct http_response *rs, const struct message_selection *s)
{
        if (s->range_count > 1) {
                buf_put(b, S("Content-Type: multipart/byteranges; boundary="));
                buf_put(b, slice_from(s->multipart.boundary));
                buf_put(b, S("\r\n"));
        } else if (rs->content_type.n) {
                put_field(b, S("Content-Type"), rs->content_type);
        }
}

static void put_content_range(struct buf *b, const struct http_response *rs, const struct range *range)
{
        buf_put(b, S("Content-Range: bytes "));
        buf_put_u64(b, range->first);
        buf_put_char(b, '-');
        buf_put_u64(b, range->last);
        buf_put_char(b, '/');
        buf_put_u64(b, rs->size);
        buf_put(b, S("\r\n"));
}

static void put_body_fields(struct buf *b, const struct http_response *rs, const struct message_selection *s)
{
        put_content_type(b, rs, s);
        buf_put(b, S("Content-Length: "));
        buf_put_u64(b, s->length);
        buf_put(b, S("\r\n"));
        if (s->range_count == 1)
                put_content_range(b, rs, &s->ranges[0]);
        if (rs->ranges)
                buf_put(b, S("Accept-Ranges: bytes\r\n"));
}

static void put_connection(struct buf *b, const struct message_facts *facts)
{
        if (!facts->keep_alive)
                buf_put(b, S("Connection: close\r\n"));
        else if (facts->version_minor == 0)
                buf_put(b, S("Connection: keep-alive\r\n"));
}

void message_head(struct buf *b, const struct http_request *rq, const struct http_response *rs,
                  const struct message_selection *selection, const struct message_facts *facts)
{
        buf_reserve(b, 512);            /* most heads at once; a failure sticks */
        put_status_line(b, selection->status);
        put_field(b, S("Date"), facts->date);
        if (selection->has_length)
                put_body_fields(b, rs, selection);
        if (rs->etag.n)
                put_field(b, S("ETag"), rs->etag);
        put_field(b, S("X-Request-Id"), slice_from(rq->id));
        for (size_t i = 0; i < rs->header_count; i++)
                put_field(b, rs->headers[i].name, rs->headers[i].value);
        put_connection(b, facts);
        buf_put(b, S("\r\n"));
}
