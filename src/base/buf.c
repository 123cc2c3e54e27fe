#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *b)
{
        free(b->p);
        *b = BUF_INIT(b->max);
}

void buf_reset(struct buf *b)
{
        b->n = 0;
        b->failed = false;
}

char *buf_reserve(struct buf *b, size_t n)
{
        size_t want, capacity;
        char *p;

        if (b->failed)
                return NULL;
        if (n > b->max || b->n > b->max - n) {
                b->failed = true;
                return NULL;
        }
        want = b->n + n;
        if (want <= b->capacity)
                return b->p + b->n;
        capacity = b->capacity ? b->capacity * 2 : 128;
        capacity = MAX(capacity, want);
        capacity = MIN(capacity, b->max);
        p = realloc(b->p, capacity);
        if (!p) {
                b->failed = true;
                return NULL;
        }
        b->p = p;
        b->capacity = capacity;
        return b->p + b->n;
}

void buf_put(struct buf *b, struct slice s)
{
        char *at = s.n ? buf_reserve(b, s.n) : NULL;

        if (!at)
                return;
        memcpy(at, s.p, s.n);
        b->n += s.n;
}

void buf_put_char(struct buf *b, char c)
{
        buf_put(b, (struct slice){ &c, 1 });
}

void buf_put_u64(struct buf *b, uint64_t value)
{
        char digits[20];
        size_t at = sizeof digits;

        do {
                digits[--at] = (char)('0' + value % 10);
                value /= 10;
        } while (value);
        buf_put(b, (struct slice){ digits + at, sizeof digits - at });
}

/* Prints into the room that there is, and only where that is too small once more: most texts are short. */
void buf_printf(struct buf *b, const char *fmt, ...)
{
        size_t room = b->capacity - b->n;
        va_list ap;
        char *at;
        int n;

        if (b->failed)
                return;
        va_start(ap, fmt);
        n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
        va_end(ap);
        if (n < 0 || (size_t)n >= room) {
                at = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
                if (!at) {
                        b->failed = true;
                        return;
                }
                va_start(ap, fmt);
                vsnprintf(at, (size_t)n + 1, fmt, ap);
                va_end(ap);
        }
        b->n += (size_t)n;
}

void buf_consume(struct buf *b, size_t n)
{
        CHECK(n <= b->n);
        if (n == 0)
                return;
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
}

const char *buf_cstr(struct buf *b)
{
        char *at = buf_reserve(b, 1);

        if (!at)
                return "";
        *at = 0;
        return b->p;
}

/* The length of the valid UTF-8 sequence at the start of s, or 0. */
static size_t utf8_length(struct slice s)
{
        static const struct utf8_form { unsigned char mask, lead, n; } forms[] = {
                { 0x80, 0x00, 1 }, { 0xe0, 0xc0, 2 }, { 0xf0, 0xe0, 3 }, { 0xf8, 0xf0, 4 },
        };
        const struct utf8_form *form;
        unsigned char lead = (unsigned char)s.p[0], second;

        for (form = forms; form < forms + ARRAY_LEN(forms); form++)
                if ((lead & form->mask) == form->lead)
                        break;
        if (form == forms + ARRAY_LEN(forms) || form->n > s.n || lead == 0xc0 || lead == 0xc1 || lead > 0xf4)
                return 0;
        for (size_t i = 1; i < form->n; i++)
                if (((unsigned char)s.p[i] & 0xc0) != 0x80)
                        return 0;
        second = form->n > 1 ? (unsigned char)s.p[1] : 0;
        /* overlong forms, surrogates, above U+10FFFF */
        if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
            (lead == 0xf4 && second > 0x8f))
                return 0;
        return form->n;
}

void buf_put_json_string(struct buf *b, struct slice s)
{
        buf_put_char(b, '"');
        while (s.n) {
                unsigned char c = (unsigned char)s.p[0];
                size_t n = utf8_length(s);

                if (n == 0)
                        buf_put(b, S("\\ufffd"));
                else if (c == '"' || c == '\\')
                        buf_printf(b, "\\%c", c);
                else if (c == '\n')
                        buf_put(b, S("\\n"));
                else if (c < 0x20 || c == 0x7f)
                        buf_printf(b, "\\u%04x", c);
                else
                        buf_put(b, slice_head(s, n));
                s = slice_skip(s, n ? n : 1);
        }
        buf_put_char(b, '"');
}
