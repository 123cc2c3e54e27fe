/* What handlers write into a response (http/handler.h). */
#include "http/message.h"

#include <unistd.h>

void http_response_header(struct http_response *rs, struct slice name, struct slice value)
{
        CHECK(rs->header_count < HTTP_RESPONSE_HEADERS_MAX);
        rs->headers[rs->header_count++] = (struct http_header){ name, value };
}

void message_drop_body(struct http_response *rs)
{
        if (rs->fd >= 0)
                close(rs->fd);
        if (rs->release)                /* headers may point into what it releases, whatever the body is */
                rs->release(rs->release_arg);
        rs->kind = HTTP_BODY_EMPTY;
        rs->bytes = SLICE_NONE;
        rs->release = NULL;
        rs->release_arg = NULL;
        rs->fd = -1;
        rs->size = 0;
        rs->content_type = SLICE_NONE;
}

static void set(struct http_response *rs, int status, enum http_body_kind kind, struct slice content_type)
{
        message_drop_body(rs);
        rs->status = status;
        rs->kind = kind;
        rs->content_type = content_type;
}

void http_response_bytes(struct http_response *rs, int status, struct slice content_type, struct slice bytes)
{
        set(rs, status, HTTP_BODY_BYTES, content_type);
        rs->bytes = bytes;
        rs->size = bytes.n;
}

void http_response_file(struct http_response *rs, int status, struct slice content_type, int fd, uint64_t size)
{
        set(rs, status, HTTP_BODY_FILE, content_type);
        rs->fd = fd;
        rs->size = size;
}

void http_response_empty(struct http_response *rs, int status)
{
        set(rs, status, HTTP_BODY_EMPTY, SLICE_NONE);
}
