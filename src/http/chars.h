/* Classes of bytes that HTTP's grammar is made of (RFC 9110, section 5.6). */
#pragma once

#include "base/slice.h"

enum char_class {
        CHAR_TOKEN = 1 << 0,            /* tchar */
        CHAR_VALUE = 1 << 1,            /* of a field's value: VCHAR, obs-text, SP, HTAB */
        CHAR_VISIBLE = 1 << 2,          /* VCHAR */
        CHAR_HOST = 1 << 3,             /* reg-name: unreserved, sub-delims, "%" (RFC 3986, section 3.2.2) */
        CHAR_DIGIT = 1 << 4,
        CHAR_HEX = 1 << 5,
};

extern const unsigned char char_classes[256];

static inline bool char_is(char c, enum char_class class)
{
        return char_classes[(unsigned char)c] & class;
}

/* How many bytes at the beginning are of that class? */
static inline size_t char_span(struct slice s, enum char_class class)
{
        size_t n = 0;

        while (n < s.n && char_is(s.p[n], class))
                n++;
        return n;
}

static inline bool char_all(struct slice s, enum char_class class)
{
        return char_span(s, class) == s.n;
}

/* The value of a hexadecimal digit; only for CHAR_HEX. */
static inline unsigned char_hex_value(char c)
{
        return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}
