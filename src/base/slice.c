#include "base/slice.h"

#include "base/check.h"

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
        if (a.n != b.n)
                return false;
        for (size_t i = 0; i < a.n; i++)
                if (lower(a.p[i]) != lower(b.p[i]))
                        return false;
        return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
        return slice_eq(slice_head(s, prefix.n), prefix);
}

bool slice_ends(struct slice s, struct slice suffix)
{
        return s.n >= suffix.n && slice_eq(slice_skip(s, s.n - suffix.n), suffix);
}

struct slice slice_trim(struct slice s)
{
        while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
                s = slice_skip(s, 1);
        while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
                s.n--;
        return s;
}

struct slice slice_skip(struct slice s, size_t n)
{
        n = MIN(n, s.n);
        return (struct slice){ s.p ? s.p + n : NULL, s.n - n };
}

struct slice slice_head(struct slice s, size_t n)
{
        return (struct slice){ s.p, MIN(n, s.n) };
}

bool slice_cut(struct slice *s, char sep, struct slice *ret_before)
{
        const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
        size_t before;

        if (!at)
                return false;
        before = (size_t)(at - s->p);
        *ret_before = slice_head(*s, before);
        *s = slice_skip(*s, before + 1);
        return true;
}

bool slice_next(struct slice *s, char sep, struct slice *ret_part)
{
        if (!s->p)
                return false;
        if (!slice_cut(s, sep, ret_part)) {
                *ret_part = *s;
                *s = SLICE_NONE;
        }
        return true;
}

bool slice_to_u64(struct slice s, uint64_t *ret_value)
{
        uint64_t value = 0;

        if (s.n == 0)
                return false;
        for (size_t i = 0; i < s.n; i++) {
                if (s.p[i] < '0' || s.p[i] > '9')
                        return false;
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
                        return false;
        }
        *ret_value = value;
        return true;
}

bool slice_to_cstr(struct slice s, char *ret_str, size_t size)
{
        if (s.n >= size || (s.n && memchr(s.p, 0, s.n)))
                return false;
        if (s.n)
                memcpy(ret_str, s.p, s.n);
        ret_str[s.n] = 0;
        return true;
}

int slice_compare(struct slice a, struct slice b)
{
        size_t n = MIN(a.n, b.n);
        int order = n ? memcmp(a.p, b.p, n) : 0;

        if (order)
                return order;
        return a.n < b.n ? -1 : a.n > b.n;
}
