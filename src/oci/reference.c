#include "oci/reference.h"

static bool is_name_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* ".", "_", "__", or any number of "-". */
static bool is_separator(struct slice s)
{
        if (slice_eq(s, S(".")) || slice_eq(s, S("_")) || slice_eq(s, S("__")))
                return true;
        for (size_t i = 0; i < s.n; i++)
                if (s.p[i] != '-')
                        return false;
        return s.n > 0;
}

static size_t run_of(struct slice s, bool name_chars)
{
        size_t n = 0;

        while (n < s.n && is_name_char(s.p[n]) == name_chars)
                n++;
        return n;
}

/* Runs of name characters with a separator between each two. */
static bool is_component(struct slice s)
{
        for (;;) {
                size_t n = run_of(s, true);

                if (n == 0)
                        return false;
                s = slice_skip(s, n);
                if (s.n == 0)
                        return true;
                n = run_of(s, false);
                if (!is_separator(slice_head(s, n)))
                        return false;
                s = slice_skip(s, n);
        }
}

RESULT reference_check_repository(struct slice name, struct err *e)
{
        struct slice rest = name, component;

        if (name.n == 0)
                return FAIL(e, ERR_NAME_INVALID, 0, "the repository's name is empty");
        if (name.n > REPOSITORY_NAME_MAX)
                return FAIL(e, ERR_NAME_INVALID, 0, "the repository's name has %zu characters; at most %d are possible", name.n,
                            REPOSITORY_NAME_MAX);
        while (slice_next(&rest, '/', &component))
                if (!is_component(component))
                        return FAIL(e, ERR_NAME_INVALID, 0,
                                    "\"%.*s\" is not a repository's name: use lower-case letters and digits, separated by single "
                                    ". _ - or / characters", SLICE_ARG(name));
        return OK;
}

static bool is_tag_char(char c)
{
        return is_name_char(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

RESULT reference_check_tag(struct slice tag, struct err *e)
{
        bool good = tag.n > 0 && tag.n <= TAG_MAX && is_tag_char(tag.p[0]);

        for (size_t i = 1; good && i < tag.n; i++)
                good = is_tag_char(tag.p[i]) || tag.p[i] == '.' || tag.p[i] == '-';
        if (!good)
                return FAIL(e, ERR_TAG_INVALID, 0,
                            "\"%.*s\" is not a tag: use at most %d letters, digits, and _ . - (the last two not at its start)",
                            SLICE_ARG(slice_head(tag, 2 * TAG_MAX)), TAG_MAX);
        return OK;
}

RESULT reference_parse(struct slice text, struct reference *ret_reference, struct err *e)
{
        struct reference r = { .tag = SLICE_NONE };

        if (text.n && memchr(text.p, ':', text.n)) {
                r.is_digest = true;
                TRY(digest_parse(text, &r.digest, e));
        } else {
                TRY(reference_check_tag(text, e));
                r.tag = text;
        }
        *ret_reference = r;
        return OK;
}
