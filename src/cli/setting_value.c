#include "cli/setting_value.h"

#include <errno.h>

struct unit {
        const char *name;
        uint64_t factor;
};

/* Largest first: a value is shown in the largest unit that divides it. The unit "" is that of a bare number. */
static const struct unit byte_units[] = {
        { "TiB", TIB }, { "GiB", GIB }, { "MiB", MIB }, { "KiB", KIB }, { "B", 1 }, { "", 1 },
};
static const struct unit time_units[] = {
        { "d", DAY }, { "h", HOUR }, { "m", 60 * SECOND }, { "s", SECOND }, { "ms", 1 }, { "", SECOND },
};

static void *field_of(const struct settings *s, const struct setting *row)
{
        return (char *)s + row->offset;
}

static struct slice digits_of(struct slice s)
{
        size_t n = 0;

        while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
                n++;
        return slice_head(s, n);
}

static void put_with_unit(struct buf *b, uint64_t value, const struct unit *units, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (value % units[i].factor || (value == 0 && units[i].factor != SECOND))
                        continue;
                buf_put_u64(b, value / units[i].factor);
                buf_put(b, slice_from(units[i].name));
                return;
        }
        buf_put_u64(b, value);
}

static void put_number(const struct setting *row, uint64_t value, struct buf *b)
{
        if (row->type == SETTING_DURATION)
                put_with_unit(b, value, time_units, ARRAY_LEN(time_units) - 1);
        else if (row->type != SETTING_INTEGER && value % KIB == 0)
                put_with_unit(b, value, byte_units, ARRAY_LEN(byte_units) - 2);
        else
                buf_put_u64(b, value);
        if (row->type == SETTING_RATE && value)
                buf_put(b, S("/s"));
}

static void put_choices(const struct setting *row, struct buf *b)
{
        struct slice list = slice_from(row->value), choice;

        buf_put(b, S("one of "));
        for (bool first = true; slice_next(&list, '|', &choice); first = false) {
                if (!first)
                        buf_put(b, S(", "));
                buf_put(b, choice);
        }
}

void setting_value_range(const struct setting *row, struct buf *b)
{
        switch (row->type) {
        case SETTING_STRING:
                buf_printf(b, "%llu to %llu bytes", (unsigned long long)row->min, (unsigned long long)row->max);
                return;
        case SETTING_LIST:
                buf_printf(b, "%llu to %llu values", (unsigned long long)row->min, (unsigned long long)row->max);
                return;
        case SETTING_ENUM:
                put_choices(row, b);
                return;
        case SETTING_BOOL:
                buf_put(b, S("true or false"));
                return;
        case SETTING_INTEGER:
        case SETTING_BYTES:
        case SETTING_RATE:
        case SETTING_DURATION:
                put_number(row, row->min, b);
                buf_put(b, S(" to "));
                put_number(row, row->max, b);
                return;
        }
}

/* The value does not fit: says what would. */
static struct result refuse(const struct setting *row, struct slice text, const char *wanted, struct err *e)
{
        _cleanup_(buf_fini) struct buf range = BUF_INIT(256);

        setting_value_range(row, &range);
        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not %s: allowed is %s", (int)MIN(text.n, (size_t)80), text.p ? text.p : "",
                    wanted, buf_cstr(&range));
}

static RESULT parse_scaled(const struct setting *row, struct slice text, const struct unit *units, size_t n, const char *wanted,
                           uint64_t *ret_value, struct err *e)
{
        struct slice digits = digits_of(text), unit = slice_trim(slice_skip(text, digits.n));
        uint64_t value;

        if (!slice_to_u64(digits, &value))
                return refuse(row, text, wanted, e);
        for (size_t i = 0; i < n; i++) {
                if (!slice_eq_nocase(unit, slice_from(units[i].name)))
                        continue;
                if (value > UINT64_MAX / units[i].factor)
                        return refuse(row, text, "in range", e);
                *ret_value = value * units[i].factor;
                return OK;
        }
        return refuse(row, text, wanted, e);
}

static RESULT parse_number(const struct setting *row, struct slice text, uint64_t *ret_value, struct err *e)
{
        struct slice amount = text;
        uint64_t value = 0;

        if (row->type == SETTING_INTEGER) {
                if (!slice_to_u64(text, &value))
                        return refuse(row, text, "a whole number", e);
        } else if (row->type == SETTING_DURATION) {
                TRY(parse_scaled(row, text, time_units, ARRAY_LEN(time_units), "a time such as 30s, 5m, 1h or 2d", &value, e));
        } else {
                if (row->type == SETTING_RATE && slice_ends(amount, S("/s")))
                        amount = slice_trim(slice_head(amount, amount.n - 2));
                TRY(parse_scaled(row, amount, byte_units, ARRAY_LEN(byte_units), "a size such as 4096, 64KiB, 4MiB or 1GiB",
                                 &value, e));
        }
        if (value < row->min || value > row->max)
                return refuse(row, text, "in range", e);
        *ret_value = value;
        return OK;
}

static RESULT parse_bool(const struct setting *row, struct slice text, bool *ret_value, struct err *e)
{
        static const struct { const char *word; bool value; } words[] = {
                { "true", true }, { "false", false }, { "yes", true }, { "no", false },
                { "on", true }, { "off", false }, { "1", true }, { "0", false },
        };

        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
                if (slice_eq_nocase(text, slice_from(words[i].word))) {
                        *ret_value = words[i].value;
                        return OK;
                }
        }
        return refuse(row, text, "a truth value", e);
}

static RESULT parse_enum(const struct setting *row, struct slice text, unsigned *ret_value, struct err *e)
{
        struct slice list = slice_from(row->value), choice;

        for (unsigned i = 0; slice_next(&list, '|', &choice); i++) {
                if (slice_eq(choice, text)) {
                        *ret_value = i;
                        return OK;
                }
        }
        return refuse(row, text, "a choice", e);
}

static RESULT copy_string(struct settings *s, const struct setting *row, struct slice text, const char **ret_string, struct err *e)
{
        struct slice copy;

        if (text.n && memchr(text.p, 0, text.n))
                return FAIL(e, ERR_INVALID, 0, "the value holds a NUL byte");
        if (row->check && text.n)
                TRY(row->check(text, e));
        copy = arena_copy(&s->arena, text);
        if (!copy.p)
                return FAIL(e, ERR_NOMEM, 0, "the settings are too large");
        *ret_string = copy.p;
        return OK;
}

static RESULT parse_string(struct settings *s, const struct setting *row, struct slice text, const char **ret_string, struct err *e)
{
        if (text.n < row->min || text.n > row->max)
                return refuse(row, text, text.n < row->min ? "long enough" : "short enough", e);
        return copy_string(s, row, text, ret_string, e);
}

static RESULT parse_list(struct settings *s, const struct setting *row, struct slice text, struct settings_list *list, struct err *e)
{
        struct slice part;

        CHECK(row->max <= SETTINGS_LIST_MAX);
        while (slice_next(&text, ',', &part)) {
                part = slice_trim(part);
                if (part.n == 0)
                        continue;
                if (list->count >= row->max)
                        return FAIL(e, ERR_INVALID, 0, "more than %llu values", (unsigned long long)row->max);
                TRY(copy_string(s, row, part, &list->items[list->count], e));
                list->count++;
        }
        if (list->count < row->min)
                return FAIL(e, ERR_INVALID, 0, "at least %llu value is needed", (unsigned long long)row->min);
        return OK;
}

RESULT setting_value_parse(struct settings *s, const struct setting *row, struct slice text, struct err *e)
{
        void *field = field_of(s, row);

        text = slice_trim(text);
        switch (row->type) {
        case SETTING_STRING:
                return parse_string(s, row, text, field, e);
        case SETTING_LIST:
                return parse_list(s, row, text, field, e);
        case SETTING_ENUM:
                return parse_enum(row, text, field, e);
        case SETTING_BOOL:
                return parse_bool(row, text, field, e);
        case SETTING_INTEGER:
        case SETTING_BYTES:
        case SETTING_RATE:
        case SETTING_DURATION:
                return parse_number(row, text, field, e);
        }
        return FAIL(e, ERR_INTERNAL, 0, "a setting without a type");
}

static struct slice choice_at(const struct setting *row, unsigned index)
{
        struct slice list = slice_from(row->value), choice = SLICE_NONE;

        for (unsigned i = 0; i <= index; i++)
                CHECK(slice_next(&list, '|', &choice));
        return choice;
}

static void put_list(const struct settings_list *list, struct buf *b)
{
        for (size_t i = 0; i < list->count; i++)
                buf_printf(b, "%s%s", i ? "," : "", list->items[i]);
}

void setting_value_format(const struct settings *s, const struct setting *row, struct buf *b)
{
        const void *field = field_of(s, row);

        switch (row->type) {
        case SETTING_STRING:
                buf_put(b, slice_from(*(const char *const *)field));
                return;
        case SETTING_LIST:
                put_list(field, b);
                return;
        case SETTING_ENUM:
                buf_put(b, choice_at(row, *(const unsigned *)field));
                return;
        case SETTING_BOOL:
                buf_put(b, *(const bool *)field ? S("true") : S("false"));
                return;
        case SETTING_INTEGER:
        case SETTING_BYTES:
        case SETTING_RATE:
        case SETTING_DURATION:
                put_number(row, *(const uint64_t *)field, b);
                return;
        }
}

bool setting_value_equal(const struct settings *a, const struct settings *b, const struct setting *row)
{
        _cleanup_(buf_fini) struct buf left = BUF_INIT(256 * 1024);
        _cleanup_(buf_fini) struct buf right = BUF_INIT(256 * 1024);

        setting_value_format(a, row, &left);
        setting_value_format(b, row, &right);
        return slice_eq(buf_slice(&left), buf_slice(&right));
}
