/* The settings' table, and a settings object made from all its sources, the weakest first. */
#include "cli/settings.h"

#include "cli/nearest.h"
#include "cli/setting_value.h"
#include "cli/settings_check.h"
#include "cli/settings_file.h"

enum { STRINGS_MAX = 1024 * 1024, VARIABLE_NAME_MAX = 64 };

enum { APPLIED_RESTART, APPLIED_LIVE };

const struct setting settings_table[SETTING_COUNT] = {
#define X(field, name_, type_, value_, fallback_, min_, max_, section_, applied, check_, sentence_) \
        [SETTING_ID_##field] = { .name = (name_), .value = (value_), .fallback = (fallback_), .sentence = (sentence_), \
                                 .min = (min_), .max = (max_), .type = SETTING_##type_, .section = SECTION_##section_, \
                                 .live = APPLIED_##applied, .offset = offsetof(struct settings, field), .check = (check_) },
        SETTINGS(X)
#undef X
};

const struct setting_heading settings_headings[SECTION_COUNT] = {
#define X(section, key_, title_) [SECTION_##section] = { .key = (key_), .title = (title_) },
        SETTING_SECTIONS(X)
#undef X
};

/* --- Names ------------------------------------------------------------------------------------------------------------ */

const struct setting *settings_find(struct slice name)
{
        for (size_t i = 0; i < SETTING_COUNT; i++)
                if (slice_eq(name, slice_from(settings_table[i].name)))
                        return &settings_table[i];
        return NULL;
}

const char *settings_nearest(struct slice name)
{
        struct nearest near = NEAREST_INIT(name);

        for (size_t i = 0; i < SETTING_COUNT; i++)
                nearest_offer(&near, settings_table[i].name);
        return near.best;
}

void settings_variable(const struct setting *row, struct buf *b)
{
        buf_put(b, S("ORLOP_"));
        for (const char *p = row->name; *p; p++)
                buf_put_char(b, *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
}

static struct slice heading_of(const struct setting *row)
{
        return slice_from(settings_headings[row->section].key);
}

/* --- Sources ---------------------------------------------------------------------------------------------------------- */

/* The first value of a source takes the place of what weaker sources said; further ones of the same source add to a list. */
static RESULT set(struct settings *s, const struct setting *row, struct slice text, enum setting_source source, struct err *e)
{
        enum setting_source *from = &s->sources[row - settings_table];

        if (row->type == SETTING_LIST && *from != source)
                ((struct settings_list *)(void *)((char *)s + row->offset))->count = 0;
        *from = source;
        return setting_value_parse(s, row, text, e);
}

static void set_default(struct settings *s, const struct setting *row)
{
        struct err e;

        CHECK(setting_value_parse(s, row, slice_from(row->fallback), &e).ok);
}

static RESULT check_heading(struct slice section, struct err *e)
{
        struct nearest near = NEAREST_INIT(section);

        for (size_t i = 0; i < SECTION_COUNT; i++) {
                if (slice_eq(section, slice_from(settings_headings[i].key)))
                        return OK;
                nearest_offer(&near, settings_headings[i].key);
        }
        return FAIL(e, ERR_INVALID, 0, "there is no heading [%.*s]; the nearest is [%s]", SLICE_ARG(section), near.best);
}

static struct result set_from_file(void *arg, const struct settings_file_row *at, struct err *e)
{
        struct settings *s = arg;
        const struct setting *row = settings_find(at->key);

        if (at->section.n)
                TRY(check_heading(at->section, e));
        if (!row)
                return FAIL(e, ERR_INVALID, 0, "there is no setting \"%.*s\"; the nearest is \"%s\"", SLICE_ARG(at->key),
                            settings_nearest(at->key));
        if (row == &settings_table[SETTING_ID_config])
                return FAIL(e, ERR_INVALID, 0, "\"config\" names this file and cannot stand in it");
        if (!slice_eq(at->section, heading_of(row)))
                return FAIL(e, ERR_INVALID, 0, "\"%s\" belongs under the heading [%.*s]", row->name, SLICE_ARG(heading_of(row)));
        if (s->sources[row - settings_table] == SOURCE_FILE && row->type != SETTING_LIST)
                return FAIL(e, ERR_INVALID, 0, "\"%s\" stands here for the second time (an indented line continues the one before)",
                            row->name);
        if (!set(s, row, at->value, SOURCE_FILE, e).ok)
                return err_context(e, "%s", row->name);
        return OK;
}

/* Kubernetes gives every container such variables of the services around it; one called "orlop" must not stop the daemon. */
static bool is_service_variable(struct slice name)
{
        return slice_ends(name, S("_PORT")) || memmem(name.p, name.n, "_PORT_", 6) || memmem(name.p, name.n, "_SERVICE_", 9);
}

/* ORLOP_MAX_PAGE stands for max-page. */
static const struct setting *find_variable(struct slice name, struct buf *ret_name)
{
        struct slice rest = slice_skip(name, strlen("ORLOP_"));

        for (size_t i = 0; i < rest.n; i++)
                buf_put_char(ret_name, rest.p[i] == '_' ? '-' : rest.p[i] >= 'A' && rest.p[i] <= 'Z' ? (char)(rest.p[i] - 'A' + 'a')
                                                                                                       : '?');
        return settings_find(buf_slice(ret_name));
}

static RESULT set_from_variable(struct settings *s, struct slice name, struct slice value, struct err *e)
{
        _cleanup_(buf_fini) struct buf plain = BUF_INIT(VARIABLE_NAME_MAX), right = BUF_INIT(VARIABLE_NAME_MAX);
        const struct setting *row = find_variable(slice_head(name, VARIABLE_NAME_MAX), &plain);

        if (!row && is_service_variable(name))
                return OK;
        if (!row) {
                settings_variable(settings_find(slice_from(settings_nearest(buf_slice(&plain)))), &right);
                return FAIL(e, ERR_INVALID, 0, "there is no variable %.*s; the nearest is %s", SLICE_ARG(slice_head(name, 200)),
                            buf_cstr(&right));
        }
        if (!set(s, row, value, SOURCE_VARIABLE, e).ok)
                return err_context(e, "%.*s", SLICE_ARG(name));
        return OK;
}

static RESULT set_from_environment(struct settings *s, char *const *environment, struct err *e)
{
        for (; environment && *environment; environment++) {
                struct slice value = slice_from(*environment), name;

                if (!slice_starts(value, S("ORLOP_")) || !slice_cut(&value, '=', &name) || value.n == 0)
                        continue;
                TRY(set_from_variable(s, name, value, e));
        }
        return OK;
}

static RESULT set_from_flags(struct settings *s, const struct settings_input *in, struct err *e)
{
        for (size_t i = 0; i < in->flag_count; i++) {
                const struct setting *row = &settings_table[in->flags[i].id];

                if (!set(s, row, slice_from(in->flags[i].value), SOURCE_FLAG, e).ok)
                        return err_context(e, "--%s", row->name);
        }
        return OK;
}

/* --- Together --------------------------------------------------------------------------------------------------------- */

static RESULT check_together(const struct settings *s, struct err *e)
{
        if (s->tls == TLS_SOURCE_FILES && (!*s->tls_cert || !*s->tls_key))
                return FAIL(e, ERR_INVALID, 0, "--tls files needs --tls-cert and --tls-key");
        if (s->tls != TLS_SOURCE_FILES && (*s->tls_cert || *s->tls_key))
                return FAIL(e, ERR_INVALID, 0, "%s is used with --tls files only", *s->tls_cert ? "--tls-cert" : "--tls-key");
        if (s->max_request_line_bytes > s->max_head_bytes)
                return FAIL(e, ERR_INVALID, 0, "--max-request-line is larger than --max-head, which contains it");
        return OK;
}

/* Where the file is can be told by a flag or a variable only. "": no file. */
static const char *config_path(const struct settings_input *in)
{
        const char *path = "";

        for (char *const *variable = in->environment; variable && *variable; variable++)
                if (slice_starts(slice_from(*variable), S("ORLOP_CONFIG=")))
                        path = *variable + strlen("ORLOP_CONFIG=");
        for (size_t i = 0; i < in->flag_count; i++)
                if (in->flags[i].id == SETTING_ID_config)
                        path = in->flags[i].value;
        return path;
}

static RESULT fill(struct settings *s, const struct settings_input *in, struct err *e)
{
        const char *path = config_path(in);

        for (size_t i = 0; i < SETTING_COUNT; i++)
                set_default(s, &settings_table[i]);
        if (*path)
                TRY(settings_file_read(path, set_from_file, s, e));
        TRY(set_from_environment(s, in->environment, e));
        TRY(set_from_flags(s, in, e));
        return check_together(s, e);
}

RESULT settings_load(const struct settings_input *in, struct settings **ret_settings, struct err *e)
{
        _cleanup_(settings_freep) struct settings *s = calloc(1, sizeof *s);

        if (!s)
                return FAIL(e, ERR_NOMEM, 0, "too little memory for the settings");
        s->arena = ARENA_INIT(STRINGS_MAX);
        TRY(fill(s, in, e));
        *ret_settings = TAKE_PTR(s);
        return OK;
}

void settings_free(struct settings *s)
{
        if (!s)
                return;
        arena_fini(&s->arena);
        free(s);
}
