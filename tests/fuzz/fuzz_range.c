/* http/range.h: ranges lie within the body and cost no more than it; a multipart body has the length that was told. The input is
 * the body's size, a line end, and the value of Range. */
#include "fuzz.h"
#include "http/range.h"

static void check_multipart(const struct range *ranges, size_t count, uint64_t size, struct slice content_type)
{
        struct buf b = BUF_INIT(1024 * 1024);
        struct multipart m;
        uint64_t length = 0;

        multipart_init(&m, ranges, count, size, content_type);
        for (size_t i = 0; i < count; i++) {
                size_t before = b.n;

                multipart_put_head(&m, i, &b);
                CHECK(b.n - before <= MULTIPART_HEAD_BYTES_MAX);
                length += ranges[i].last - ranges[i].first + 1;
        }
        multipart_put_end(&m, &b);
        CHECK(buf_ok(&b) && multipart_length(&m) == length + b.n);
        buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice value = fuzz_input(bytes, n), line = fuzz_line(&value);
        struct arena arena = ARENA_INIT(64 * 1024);
        struct range *ranges = NULL;
        uint64_t size, sum = 0, first, last;
        size_t count = 0;
        enum range_kind kind;

        if (!slice_to_u64(line, &size) || size > INT64_MAX)
                size = 1000;
        kind = range_parse(value, size, &arena, &ranges, &count);
        CHECK(kind != RANGE_UNSATISFIABLE || size > 0);
        CHECK((kind == RANGE_PARTS) == (count > 0) && count <= RANGE_PARTS_MAX);
        for (size_t i = 0; i < count; i++) {
                CHECK(ranges[i].first <= ranges[i].last && ranges[i].last < size);
                sum += ranges[i].last - ranges[i].first + 1;
        }
        CHECK(sum <= size);
        if (count)
                check_multipart(ranges, count, size, value);
        CHECK(!range_if_range(value, S("\"e\"")) || slice_eq(slice_trim(value), S("\"e\"")));
        if (range_parse_chunk(value, &first, &last))
                CHECK(first <= last && last < INT64_MAX);
        arena_fini(&arena);
        return 0;
}
