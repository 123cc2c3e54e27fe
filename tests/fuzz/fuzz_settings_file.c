/* cli/settings_file.h: rows lie within the text and their lines exist; what is wrong is said with its place. */
#include "cli/settings_file.h"
#include "fuzz.h"

static struct result on_row(void *arg, const struct settings_file_row *row, struct err *e)
{
        const struct slice *text = arg;
        size_t lines = 1;

        for (size_t i = 0; i < text->n; i++)
                lines += text->p[i] == '\n';
        CHECK(row->line >= 1 && row->line <= lines);
        CHECK(row->section.p && row->key.p && row->value.p);
        CHECK(row->key.n + row->value.n <= text->n);
        if (slice_eq(row->key, S("refused")))
                return FAIL(e, ERR_INVALID, 0, "refused");
        return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice text = fuzz_input(bytes, n);
        struct err e = ERR_INIT;

        if (!settings_file_parse(text, "file.ini", on_row, &text, &e).ok)
                CHECK(slice_starts(slice_from(e.message), S("file.ini")) && (e.code == ERR_INVALID || e.code == ERR_LIMIT));
        return 0;
}
