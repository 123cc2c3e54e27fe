/* base/log.h and the JSON strings of base/buf.h: no value can begin a line or a field of its own, and JSON stays JSON. The input is
 * one value, a line end, and another. */
#include "base/buf.h"
#include "base/log.h"
#include "fuzz.h"

#include <jansson.h>

/* Fields outside of quotes are separated by blanks: there are as many as were given. */
static void check_text(struct slice line, size_t fields)
{
        bool quoted = false, escaped = false;
        size_t blanks = 0, equal_signs = 0;

        for (size_t i = 0; i < line.n; i++) {
                char c = line.p[i];

                CHECK(c >= ' ' && c <= '~');
                if (!escaped && c == '"')
                        quoted = !quoted;
                escaped = quoted && !escaped && c == '\\';
                blanks += !quoted && c == ' ';
                equal_signs += !quoted && c == '=';
        }
        CHECK(!quoted && equal_signs == fields && blanks == 2 + fields);
}

static void check_json(struct slice line, struct slice value)
{
        json_t *root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        const json_t *member;
        struct slice text;

        CHECK(json_is_object(root) && json_object_size(root) == 6);
        member = json_object_get(root, "one");
        CHECK(json_is_string(member));
        text = (struct slice){ json_string_value(member), json_string_length(member) };
        CHECK(value.n > LOG_TEXT_MAX || text.n >= value.n);     /* what is not UTF-8 becomes longer, never shorter */
        json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice second = fuzz_input(bytes, n), first = fuzz_line(&second);
        const struct log_field fields[] = { LOG_S("one", first), LOG_U("number", n), LOG_S("two", second), { .name = NULL } };
        struct buf line = BUF_INIT(64 * 1024);

        log_format_line(&line, LOG_TEXT, LOG_INFO, "request", fields);
        CHECK(buf_ok(&line));
        check_text(buf_slice(&line), 3);
        buf_reset(&line);
        log_format_line(&line, LOG_JSON, LOG_INFO, "request", fields);
        CHECK(buf_ok(&line));
        check_json(buf_slice(&line), first);
        buf_fini(&line);
        return 0;
}
