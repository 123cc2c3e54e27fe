/* cli/setting_value.h: a value that is accepted, written out and read again, is the same. The input is the name of a setting, a line
 * end, and its text. */
#include "cli/setting_value.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice text = fuzz_input(bytes, n), name = fuzz_line(&text);
        const struct setting *row = settings_find(name);
        struct settings first = { .arena = ARENA_INIT(1024 * 1024) }, second = { .arena = ARENA_INIT(1024 * 1024) };
        struct buf out = BUF_INIT(1024 * 1024);
        struct err e = ERR_INIT;

        CHECK(settings_nearest(name));
        if (!row)
                row = &settings_table[fuzz_number(name, SETTING_COUNT)];
        if (setting_value_parse(&first, row, text, &e).ok) {
                setting_value_format(&first, row, &out);
                CHECK(buf_ok(&out));
                CHECK(setting_value_parse(&second, row, buf_slice(&out), &e).ok);
                CHECK(setting_value_equal(&first, &second, row));
        } else {
                CHECK(e.code == ERR_INVALID && e.message[0]);
        }
        arena_fini(&first.arena);
        arena_fini(&second.arena);
        buf_fini(&out);
        return 0;
}
