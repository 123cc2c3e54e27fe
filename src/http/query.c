#include "http/query.h"

#include "http/chars.h"
#include "http/handler.h"

/* Takes one byte, decoded; false where there is no such byte. */
static bool take_decoded(struct slice *s, char *ret_byte)
{
        if (s->p[0] != '%') {
                *ret_byte = s->p[0];
                *s = slice_skip(*s, 1);
                return true;
        }
        if (s->n < 3 || !char_is(s->p[1], CHAR_HEX) || !char_is(s->p[2], CHAR_HEX))
                return false;
        *ret_byte = (char)(char_hex_value(s->p[1]) << 4 | char_hex_value(s->p[2]));
        *s = slice_skip(*s, 3);
        return *ret_byte != 0;
}

struct slice percent_decode(struct slice text, struct arena *arena)
{
        size_t n = 0;
        char *out;

        if (text.n == 0 || !memchr(text.p, '%', text.n))
                return text;
        out = arena_alloc(arena, text.n);
        if (!out)
                return SLICE_NONE;
        while (text.n)
                if (!take_decoded(&text, &out[n++]))
                        return SLICE_NONE;
        return (struct slice){ out, n };
}

/* Does the text stand for that name, once it is decoded? */
static bool names(struct slice text, struct slice name)
{
        char byte;

        for (; text.n && name.n; name = slice_skip(name, 1))
                if (!take_decoded(&text, &byte) || byte != name.p[0])
                        return false;
        return text.n == 0 && name.n == 0;
}

struct slice http_request_query(const struct http_request *rq, struct slice name, size_t index)
{
        struct slice rest = rq->query, value, key;

        while (slice_next(&rest, '&', &value)) {
                if (!slice_cut(&value, '=', &key)) {
                        key = value;
                        value = S("");
                }
                if (names(key, name) && index-- == 0)
                        return percent_decode(value, rq->arena);
        }
        return SLICE_NONE;
}

struct slice http_request_header(const struct http_request *rq, struct slice name)
{
        for (size_t i = 0; i < rq->header_count; i++)
                if (slice_eq_nocase(rq->headers[i].name, name))
                        return rq->headers[i].value;
        return SLICE_NONE;
}
