/* Borrowed bytes: a pointer and a length, passed by value. Never NUL-terminated, never owned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
        const char *p;
        size_t n;
};

#define S(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })
#define SLICE_NONE ((struct slice){ NULL, 0 })
/* For printf: "%.*s", SLICE_ARG(s) */
#define SLICE_ARG(s) ((int)(s).n), ((s).p ? (s).p : "")

static inline struct slice slice_from(const char *s)
{
        return (struct slice){ s, s ? strlen(s) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
        return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_eq_nocase(struct slice a, struct slice b);        /* ASCII only */
bool slice_starts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
struct slice slice_trim(struct slice s);                     /* spaces and tabs */
struct slice slice_skip(struct slice s, size_t n);           /* without the first n bytes; n is cut to the length */
struct slice slice_head(struct slice s, size_t n);           /* the first n bytes at most */

/* Splits at the first `sep`: *ret_before is what stands before it, *s what stands after it. false, and nothing is changed,
 * where there is none. */
bool slice_cut(struct slice *s, char sep, struct slice *ret_before);

/* Takes the next part of a list separated by `sep`; false when the list is used up (s->p is NULL then). */
bool slice_next(struct slice *s, char sep, struct slice *ret_part);

/* Decimal digits only, no sign, no space, no overflow. */
bool slice_to_u64(struct slice s, uint64_t *ret_value);

/* Copies to a C string of `size` bytes; false where it does not fit or holds a NUL. */
bool slice_to_cstr(struct slice s, char *ret_str, size_t size);

int slice_compare(struct slice a, struct slice b);           /* byte order */
