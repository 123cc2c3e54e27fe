/* The head of a request, found by head_scan() while bytes come, then read by head_parse().
 *
 * What makes request smuggling possible is two readers that see different ends of a message. So there is one way to write each
 * thing: a line ends with CRLF, a name ends at its colon, a body has either one Content-Length or one "chunked". All else is 400. */
#include "http/head.h"

#include "http/chars.h"

enum {
        LEADING_LINES_MAX = 2,
        SHOWN_BYTES_MAX = 80,           /* of the client's bytes in a message to it */
        TLS_RECORD_HANDSHAKE = 0x16,    /* RFC 8446, section 5.1: how a ClientHello begins */
};

/* --- Scanning --------------------------------------------------------------------------------------------------------- */

static struct result refuse(int *ret_status, int status, struct err *e, const char *message)
{
        *ret_status = status;
        return FAIL(e, status == 414 || status == 431 ? ERR_LIMIT : ERR_INVALID, 0, "%s", message);
}

static enum head_state scan_refuse(int *ret_status, int status, struct err *e, const char *message)
{
        IGNORE(refuse(ret_status, status, e, message));         /* the state tells it */
        return HEAD_BAD;
}

/* HEAD_COMPLETE: the head begins at scan->skip. */
static enum head_state skip_leading_lines(struct head_scan *scan, struct slice buffered)
{
        struct slice rest;

        while ((rest = slice_skip(buffered, scan->skip)).n) {
                if (rest.p[0] != '\r' && rest.p[0] != '\n')
                        return HEAD_COMPLETE;
                if (rest.p[0] == '\n' || scan->skip == 2 * LEADING_LINES_MAX)
                        return HEAD_BAD;
                if (rest.n == 1)
                        return HEAD_MORE;
                if (rest.p[1] != '\n')
                        return HEAD_BAD;
                scan->skip += 2;
                scan->at = scan->line = scan->skip;
        }
        return HEAD_MORE;
}

/* The status if the head is above a limit now that `seen` bytes of it are there, or 0. `ended`: they end with a line's end. */
static int over_limit(const struct head_scan *scan, size_t seen, bool ended, const struct head_limits *limits)
{
        size_t room = limits->head_bytes_max;

        if (scan->lines == 0)
                room = MIN(room, limits->line_bytes_max + 2);
        if (ended ? seen > room : seen >= room)
                return scan->lines == 0 ? 414 : 431;
        if (ended && scan->lines > limits->fields_max && seen - (scan->line - scan->skip) > 2)
                return 431;
        return 0;
}

static const char *limit_message(int status)
{
        return status == 414 ? "the request line is too long" : "the request's headers are too many or too long";
}

enum head_state head_scan(struct head_scan *scan, struct slice buffered, const struct head_limits *limits, size_t *ret_skip,
                          size_t *ret_head_bytes, int *ret_status, struct err *e)
{
        enum head_state leading = skip_leading_lines(scan, buffered);
        struct slice rest, line;
        int status;

        if (leading == HEAD_BAD)
                return scan_refuse(ret_status, 400, e, "the request does not begin with a request line");
        if (leading == HEAD_MORE)
                return HEAD_MORE;
        if (!char_is(buffered.p[scan->skip], CHAR_TOKEN))
                return scan_refuse(ret_status, 400, e, buffered.p[scan->skip] == TLS_RECORD_HANDSHAKE ?
                                   "this port speaks HTTP without TLS: use http://" : "this is not an HTTP request");
        for (;;) {
                bool ended;

                rest = slice_skip(buffered, scan->at);
                ended = slice_cut(&rest, '\n', &line);
                scan->at = ended ? buffered.n - rest.n : buffered.n;
                status = over_limit(scan, scan->at - scan->skip, ended, limits);
                if (status)
                        return scan_refuse(ret_status, status, e, limit_message(status));
                if (!ended)
                        return HEAD_MORE;
                if (scan->at - scan->line < 2 || buffered.p[scan->at - 2] != '\r')
                        return scan_refuse(ret_status, 400, e, "a line of the request ends with LF alone; it must end with CR LF");
                if (scan->at - scan->line == 2)
                        break;
                scan->line = scan->at;
                scan->lines++;
        }
        *ret_skip = scan->skip;
        *ret_head_bytes = scan->at - scan->skip;
        return HEAD_COMPLETE;
}

/* --- Parsing ---------------------------------------------------------------------------------------------------------- */

struct parse {
        struct http_request *rq;
        struct head head;
        int *ret_status;
        struct err *e;
        unsigned hosts, lengths, codings;
        bool close, keep, expect;       /* seen in Connection, in Expect */
        struct slice coding;
};

static struct result bad(struct parse *p, const char *message)
{
        return refuse(p->ret_status, 400, p->e, message);
}

static struct result bad_bytes(struct parse *p, const char *message, struct slice bytes)
{
        *p->ret_status = 400;
        return FAIL(p->e, ERR_INVALID, 0, "%s: \"%.*s\"", message, SLICE_ARG(slice_head(bytes, SHOWN_BYTES_MAX)));
}

static bool take_line(struct slice *rest, struct slice *ret_line)
{
        struct slice after = *rest, line;

        if (!slice_cut(&after, '\n', &line) || !slice_ends(line, S("\r")))
                return false;
        *ret_line = slice_head(line, line.n - 1);
        *rest = after;
        return true;
}

static enum http_method method_of(struct slice text)
{
        static const struct { struct slice text; enum http_method method; } table[] = {
                { S("GET"), HTTP_GET }, { S("HEAD"), HTTP_HEAD }, { S("PUT"), HTTP_PUT }, { S("POST"), HTTP_POST },
                { S("PATCH"), HTTP_PATCH }, { S("DELETE"), HTTP_DELETE }, { S("OPTIONS"), HTTP_OPTIONS },
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (slice_eq(text, table[i].text))
                        return table[i].method;
        return HTTP_OTHER;
}

static RESULT parse_version(struct parse *p, struct slice text)
{
        if (text.n != 8 || !slice_starts(text, S("HTTP/")) || !char_is(text.p[5], CHAR_DIGIT) || text.p[6] != '.' ||
            !char_is(text.p[7], CHAR_DIGIT))
                return bad(p, "the request line must be <method> <target> HTTP/1.1, with single spaces");
        if (text.p[5] != '1')
                return refuse(p->ret_status, 505, p->e, "this server speaks HTTP/1.1 and HTTP/1.0");
        p->head.version_minor = text.p[7] == '0' ? 0 : 1;      /* a later one is answered as 1.1 (RFC 9110, section 2.5) */
        return OK;
}

/* [host [":" port]] (RFC 9110, section 7.2). Nobody here decides anything by it, but what is refused cannot confuse who does. */
static bool host_is_valid(struct slice host)
{
        struct slice rest = host;

        if (rest.n && rest.p[0] == '[') {
                size_t n = 1;

                while (n < rest.n && (char_is(rest.p[n], CHAR_HEX) || rest.p[n] == ':' || rest.p[n] == '.'))
                        n++;
                if (n == 1 || n == rest.n || rest.p[n] != ']')
                        return false;
                rest = slice_skip(rest, n + 1);
        } else {
                rest = slice_skip(rest, char_span(rest, CHAR_HOST));
        }
        return rest.n == 0 || (rest.p[0] == ':' && char_all(slice_skip(rest, 1), CHAR_DIGIT));
}

/* absolute-form (RFC 9112, section 3.2.2): the path counts, the authority has to be one. */
static RESULT strip_authority(struct parse *p, struct slice *target)
{
        size_t scheme = slice_eq_nocase(slice_head(*target, 7), S("http://")) ? 7 :
                        slice_eq_nocase(slice_head(*target, 8), S("https://")) ? 8 : 0;
        struct slice rest = slice_skip(*target, scheme);
        size_t n = 0;

        while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
                n++;
        if (scheme == 0 || n == 0 || !host_is_valid(slice_head(rest, n)))
                return bad_bytes(p, "the request's target must be a path that begins with /", *target);
        *target = slice_skip(rest, n);
        return OK;
}

static RESULT parse_target(struct parse *p, struct slice target)
{
        struct http_request *rq = p->rq;

        if (target.n == 0 || !char_all(target, CHAR_VISIBLE) || memchr(target.p, '#', target.n))
                return bad(p, "the request's target holds bytes that must be percent-encoded");
        rq->target = target;
        if (target.p[0] != '/' && !(slice_eq(target, S("*")) && rq->method == HTTP_OPTIONS))
                TRY(strip_authority(p, &target));
        if (!slice_cut(&target, '?', &rq->path)) {
                rq->path = target;
                target = SLICE_NONE;
        }
        rq->query = target;
        if (rq->path.n == 0)
                rq->path = S("/");
        return OK;
}

static RESULT parse_request_line(struct parse *p, struct slice line, const struct head_limits *limits)
{
        struct http_request *rq = p->rq;
        struct slice target;

        if (line.n > limits->line_bytes_max)
                return refuse(p->ret_status, 414, p->e, limit_message(414));
        if (!slice_cut(&line, ' ', &rq->method_text) || rq->method_text.n == 0 || !char_all(rq->method_text, CHAR_TOKEN)) {
                rq->method_text = SLICE_NONE;
                return bad(p, "the request line must be <method> <target> HTTP/1.1, with single spaces");
        }
        rq->method = method_of(rq->method_text);
        if (!slice_cut(&line, ' ', &target))
                return bad(p, "the request line must be <method> <target> HTTP/1.1, with single spaces");
        TRY(parse_version(p, line));
        return parse_target(p, target);
}

/* --- Fields that the engine itself must understand */

static RESULT on_host(struct parse *p, struct slice value)
{
        if (p->hosts++)
                return bad(p, "there are several Host headers");
        if (!host_is_valid(value))
                return bad_bytes(p, "the Host header is malformed", value);
        return OK;
}

static RESULT on_content_length(struct parse *p, struct slice value)
{
        if (p->lengths++)
                return bad(p, "there are several Content-Length headers");
        if (!slice_to_u64(value, &p->head.length) || p->head.length > INT64_MAX)
                return bad_bytes(p, "the Content-Length is not a number of bytes", value);
        p->head.has_length = true;
        return OK;
}

static RESULT on_transfer_encoding(struct parse *p, struct slice value)
{
        if (p->codings++)
                return bad(p, "there are several Transfer-Encoding headers");
        p->coding = value;
        return OK;
}

static RESULT on_connection(struct parse *p, struct slice value)
{
        struct slice option;

        while (slice_next(&value, ',', &option)) {
                option = slice_trim(option);
                p->close |= slice_eq_nocase(option, S("close"));
                p->keep |= slice_eq_nocase(option, S("keep-alive"));
        }
        return OK;
}

static RESULT on_expect(struct parse *p, struct slice value)
{
        if (!slice_eq_nocase(value, S("100-continue")))
                return refuse(p->ret_status, 417, p->e, "the only expectation that this server knows is 100-continue");
        p->expect = true;
        return OK;
}

static RESULT look_at_field(struct parse *p, const struct http_header *field)
{
        static const struct { struct slice name; RESULT_FN(look, (struct parse *p, struct slice value)); } table[] = {
                { S("Host"), on_host },
                { S("Content-Length"), on_content_length },
                { S("Transfer-Encoding"), on_transfer_encoding },
                { S("Connection"), on_connection },
                { S("Expect"), on_expect },
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (slice_eq_nocase(field->name, table[i].name))
                        return table[i].look(p, field->value);
        return OK;
}

static RESULT parse_field(struct parse *p, struct slice line, struct http_header *ret_field)
{
        struct slice value = line, name;

        if (line.p[0] == ' ' || line.p[0] == '\t')
                return bad(p, "a header is folded over several lines");
        if (!slice_cut(&value, ':', &name))
                return bad_bytes(p, "a header has no colon", line);
        if (name.n == 0 || !char_all(name, CHAR_TOKEN))
                return bad_bytes(p, "this is not a header's name (no space may stand before the colon)", name);
        if (!char_all(value, CHAR_VALUE))
                return bad_bytes(p, "a control character stands in the value of this header", name);
        *ret_field = (struct http_header){ name, slice_trim(value) };
        return look_at_field(p, ret_field);
}

static size_t count_lines(struct slice s)
{
        struct slice line;
        size_t n = 0;

        while (slice_cut(&s, '\n', &line))
                n++;
        return n;
}

static RESULT parse_fields(struct parse *p, struct slice *rest, const struct head_limits *limits)
{
        size_t lines = count_lines(*rest), count = lines ? lines - 1 : 0;
        struct http_header *fields;
        struct slice line;

        if (count > limits->fields_max)
                return refuse(p->ret_status, 431, p->e, limit_message(431));
        fields = arena_alloc(p->rq->arena, count * sizeof *fields);
        if (!fields) {
                *p->ret_status = 503;
                return FAIL(p->e, ERR_NOMEM, 0, "no memory for the request's headers");
        }
        for (size_t i = 0; take_line(rest, &line); i++) {
                if (line.n == 0) {
                        p->rq->headers = fields;
                        p->rq->header_count = i;
                        return OK;
                }
                if (i == count)
                        break;
                TRY(parse_field(p, line, &fields[i]));
        }
        return bad(p, "a line of the request does not end with CR LF");
}

/* --- The message as a whole */

static RESULT check_framing(struct parse *p)
{
        if (p->hosts == 0 && p->head.version_minor == 1)
                return bad(p, "the Host header is missing");
        if (p->codings == 0)
                return OK;
        if (p->head.has_length)
                return bad(p, "Content-Length and Transfer-Encoding may not stand in one request");
        if (p->head.version_minor == 0)
                return bad(p, "HTTP/1.0 has no Transfer-Encoding");
        if (!slice_eq_nocase(p->coding, S("chunked")))
                return bad_bytes(p, "the only transfer coding that this server knows is chunked, not this", p->coding);
        p->head.chunked = true;
        return OK;
}

RESULT head_parse(struct slice head_bytes, const struct head_limits *limits, struct http_request *rq, struct head *ret_head,
                  int *ret_status, struct err *e)
{
        struct parse p = { .rq = rq, .ret_status = ret_status, .e = e };
        struct slice rest = head_bytes, line;

        rq->method = HTTP_OTHER;
        if (head_bytes.n > limits->head_bytes_max)
                return refuse(ret_status, 431, e, limit_message(431));
        if (!take_line(&rest, &line))
                return bad(&p, "the request line does not end with CR LF");
        TRY(parse_request_line(&p, line, limits));
        TRY(parse_fields(&p, &rest, limits));
        if (rest.n)
                return bad(&p, "bytes follow the request's head");
        TRY(check_framing(&p));

        p.head.keep_alive = !p.close && (p.head.version_minor == 1 || p.keep);
        /* RFC 9110, section 10.1.1: not with HTTP/1.0, and nothing to wait for without a body */
        p.head.expect_continue = p.expect && p.head.version_minor == 1 && (p.head.chunked || p.head.length > 0);
        rq->has_length = p.head.has_length;
        rq->length = p.head.length;
        *ret_head = p.head;
        return OK;
}
