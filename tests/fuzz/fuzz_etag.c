/* Lists of If-None-Match (http/message.h). The input is an ETag without its quotes, a line end, and a list: an ETag that stands
 * in a list is found there, whatever stands around it. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/message.h"

static bool listed(struct slice before, const char *weak, struct slice core, struct slice after)
{
        struct buf list = BUF_INIT(1024 * 1024), etag = BUF_INIT(1024 * 1024);
        bool found;

        buf_printf(&etag, "\"%.*s\"", SLICE_ARG(core));
        buf_put(&list, before);
        buf_printf(&list, "%s\"%.*s\"", weak, SLICE_ARG(core));
        buf_put(&list, after);
        found = message_etag_listed(buf_slice(&list), buf_slice(&etag));
        buf_fini(&list);
        buf_fini(&etag);
        return found;
}

static bool has_any(struct slice s, const char *bytes)
{
        for (; *bytes; bytes++)
                if (s.n && memchr(s.p, *bytes, s.n))
                        return true;
        return s.n && memchr(s.p, 0, s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice list = fuzz_input(bytes, n), core = fuzz_line(&list);

        message_etag_listed(list, core);
        if (has_any(core, "\""))
                return 0;
        CHECK(listed(S(""), "", core, S("")));
        CHECK(listed(S(""), "W/", core, S(" , \"x\"")));
        CHECK(listed(S("\"a,b\",,\t"), "", core, S("")));
        if (!has_any(list, "\""))
                CHECK(listed(S("\"x\", "), "W/", core, S("")));
        return 0;
}
