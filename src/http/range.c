/* Ranges (RFC 9110, section 14). What a request may cost is bounded by the body's own size: ranges whose sum is more get the whole
 * body, so asking for the same bytes a thousand times gives them once. */
#include "http/range.h"

#include "base/rand.h"
#include "http/chars.h"

/* --- Range ------------------------------------------------------------------------------------------------------------ */

/* Digits only; what is too large for 64 bits is as good as the largest number. */
static bool parse_position(struct slice text, uint64_t *ret_position)
{
        if (text.n == 0 || !char_all(text, CHAR_DIGIT))
                return false;
        if (!slice_to_u64(text, ret_position))
                *ret_position = UINT64_MAX;
        return true;
}

enum spec { SPEC_MALFORMED, SPEC_OUTSIDE, SPEC_RANGE };

static enum spec resolve_suffix(uint64_t length, uint64_t size, struct range *ret_range)
{
        if (length == 0)
                return SPEC_OUTSIDE;
        *ret_range = (struct range){ size - MIN(length, size), size - 1 };
        return SPEC_RANGE;
}

/* "first-last", "first-", "-length"; size is not 0. */
static enum spec parse_spec(struct slice text, uint64_t size, struct range *ret_range)
{
        struct slice after = text, before;
        uint64_t first, last = UINT64_MAX;

        if (!slice_cut(&after, '-', &before))
                return SPEC_MALFORMED;
        if (before.n == 0)
                return parse_position(after, &last) ? resolve_suffix(last, size, ret_range) : SPEC_MALFORMED;
        if (!parse_position(before, &first) || (after.n && !parse_position(after, &last)))
                return SPEC_MALFORMED;
        if (first >= size || last < first)
                return SPEC_OUTSIDE;
        *ret_range = (struct range){ first, MIN(last, size - 1) };
        return SPEC_RANGE;
}

/* At least the number of ranges in the list. */
static size_t list_length(struct slice list)
{
        struct slice part;
        size_t n = 0;

        while (slice_next(&list, ',', &part))
                n++;
        return n;
}

enum range_kind range_parse(struct slice value, uint64_t size, struct arena *arena, struct range **ret_ranges, size_t *ret_count)
{
        struct slice list = slice_trim(value), unit, part;
        size_t length, count = 0, outside = 0;
        struct range *ranges;
        uint64_t sum = 0;

        if (size == 0 || !slice_cut(&list, '=', &unit) || !slice_eq_nocase(unit, S("bytes")))
                return RANGE_WHOLE;
        length = list_length(list);
        ranges = length <= RANGE_PARTS_MAX ? arena_alloc(arena, length * sizeof *ranges) : NULL;
        if (!ranges)
                return RANGE_WHOLE;
        while (slice_next(&list, ',', &part)) {
                enum spec spec;

                part = slice_trim(part);
                if (part.n == 0)        /* empty elements are passed over (section 5.6.1.2) */
                        continue;
                spec = parse_spec(part, size, &ranges[count]);
                if (spec == SPEC_MALFORMED)
                        return RANGE_WHOLE;
                if (spec == SPEC_OUTSIDE) {
                        outside++;
                        continue;
                }
                /* neither can overflow: each is at most the size, and the sum is checked each time */
                if (ranges[count].last - ranges[count].first + 1 > size - sum)
                        return RANGE_WHOLE;
                sum += ranges[count].last - ranges[count].first + 1;
                count++;
        }
        if (count == 0)
                return outside ? RANGE_UNSATISFIABLE : RANGE_WHOLE;
        *ret_ranges = ranges;
        *ret_count = count;
        return RANGE_PARTS;
}

bool range_if_range(struct slice if_range, struct slice etag)
{
        return etag.n >= 2 && etag.p[0] == '"' && slice_eq(slice_trim(if_range), etag);
}

bool range_parse_chunk(struct slice value, uint64_t *ret_first, uint64_t *ret_last)
{
        struct slice size = slice_trim(value), first, last;
        uint64_t number;

        if (slice_eq_nocase(slice_head(size, 6), S("bytes ")))
                size = slice_skip(size, 6);
        if (!slice_cut(&size, '-', &first))
                return false;
        if (!slice_cut(&size, '/', &last)) {
                last = size;
                size = S("*");
        }
        if (!slice_eq(size, S("*")) && !slice_to_u64(size, &number))
                return false;
        return slice_to_u64(first, ret_first) && slice_to_u64(last, ret_last) && *ret_first <= *ret_last && *ret_last < INT64_MAX;
}

/* --- multipart/byteranges --------------------------------------------------------------------------------------------- */

enum { CONTENT_TYPE_MAX = 255 };

void multipart_init(struct multipart *m, const struct range *ranges, size_t count, uint64_t size, struct slice content_type)
{
        if (content_type.n > CONTENT_TYPE_MAX || !char_all(content_type, CHAR_VALUE))
                content_type = S("");
        *m = (struct multipart){ .ranges = ranges, .count = count, .size = size, .content_type = content_type };
        rand_hex(m->boundary, MULTIPART_BOUNDARY_LENGTH / 2);
}

void multipart_put_head(const struct multipart *m, size_t i, struct buf *b)
{
        CHECK(i < m->count);
        buf_put(b, i ? S("\r\n--") : S("--"));
        buf_put(b, slice_from(m->boundary));
        if (m->content_type.n) {
                buf_put(b, S("\r\nContent-Type: "));
                buf_put(b, m->content_type);
        }
        buf_put(b, S("\r\nContent-Range: bytes "));
        buf_put_u64(b, m->ranges[i].first);
        buf_put_char(b, '-');
        buf_put_u64(b, m->ranges[i].last);
        buf_put_char(b, '/');
        buf_put_u64(b, m->size);
        buf_put(b, S("\r\n\r\n"));
}

void multipart_put_end(const struct multipart *m, struct buf *b)
{
        buf_put(b, S("\r\n--"));
        buf_put(b, slice_from(m->boundary));
        buf_put(b, S("--\r\n"));
}

static unsigned digits_of(uint64_t value)
{
        unsigned n = 1;

        for (; value >= 10; value /= 10)
                n++;
        return n;
}

/* What multipart_put_head() and multipart_put_end() write, counted without writing it. */
uint64_t multipart_length(const struct multipart *m)
{
        uint64_t length = S("\r\n--").n + MULTIPART_BOUNDARY_LENGTH + S("--\r\n").n;
        uint64_t fixed = S("\r\n--").n + MULTIPART_BOUNDARY_LENGTH + S("\r\nContent-Range: bytes -/\r\n\r\n").n + digits_of(m->size);

        if (m->content_type.n)
                fixed += S("\r\nContent-Type: ").n + m->content_type.n;
        for (size_t i = 0; i < m->count; i++) {
                const struct range *r = &m->ranges[i];

                length += fixed + digits_of(r->first) + digits_of(r->last) + (r->last - r->first + 1);
        }
        return m->count ? length - S("\r\n").n : length;         /* no line end stands before the first part */
}
