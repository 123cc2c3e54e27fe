/* What the user wants: read once from flags, variables and the configuration file, in that order of weight, over the defaults.
 *
 *      struct settings_input in = { .flags = flags, .flag_count = n, .environment = environ };
 *      _cleanup_(settings_freep) struct settings *settings = NULL;
 *
 *      TRY(settings_load(&in, &settings, e));
 *      ... settings->max_page ...
 *
 * A settings object never changes; SIGHUP loads another one from the same input and compares (setting_value_equal()). Its strings
 * belong to it. The rows stand in settings_table.h.
 *
 * A list of a later source takes the place of an earlier source's.
 *
 * Errors are ERR_INVALID (a name that does not exist, a value that does not fit; the message tells the flag, the variable or
 * file and line, and the allowed range), ERR_NOT_FOUND and ERR_IO (the file), ERR_NOMEM. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "cli/settings_table.h"

enum { SETTINGS_LIST_MAX = 32 };

struct settings_list {
        const char *items[SETTINGS_LIST_MAX];
        size_t count;
};

enum tls_source { TLS_SOURCE_AUTO, TLS_SOURCE_OFF, TLS_SOURCE_FILES };     /* the choices of --tls, in the table's order */

enum setting_type {
        SETTING_STRING,
        SETTING_LIST,
        SETTING_ENUM,
        SETTING_BOOL,
        SETTING_INTEGER,
        SETTING_BYTES,
        SETTING_RATE,
        SETTING_DURATION,
};

enum setting_section {
#define X(section, ...) SECTION_##section,
        SETTING_SECTIONS(X)
#undef X
        SECTION_COUNT
};

enum setting_id {
#define X(field, ...) SETTING_ID_##field,
        SETTINGS(X)
#undef X
        SETTING_COUNT
};

/* Where a value came from; a later one outweighs an earlier one. */
enum setting_source { SOURCE_DEFAULT, SOURCE_FILE, SOURCE_VARIABLE, SOURCE_FLAG };

typedef const char *setting_value_STRING;
typedef struct settings_list setting_value_LIST;
typedef unsigned setting_value_ENUM;
typedef bool setting_value_BOOL;
typedef uint64_t setting_value_INTEGER;
typedef uint64_t setting_value_BYTES;
typedef uint64_t setting_value_RATE;
typedef uint64_t setting_value_DURATION;

struct settings {
#define X(field, name, type, ...) setting_value_##type field;
        SETTINGS(X)
#undef X
        enum setting_source sources[SETTING_COUNT];
        struct arena arena;             /* owns the strings */
};

/* A row of the table. */
struct setting {
        const char *name, *value, *fallback, *sentence;
        uint64_t min, max;
        enum setting_type type;
        enum setting_section section;
        bool live;
        size_t offset;                  /* in struct settings */
        RESULT_FN(check, (struct slice value, struct err *e));
};

struct setting_heading {
        const char *key;                /* [key] in the file */
        const char *title;
};

extern const struct setting settings_table[SETTING_COUNT];
extern const struct setting_heading settings_headings[SECTION_COUNT];

/* A flag as it was given; of a boolean without "=" the value is "true". */
struct settings_flag {
        enum setting_id id;
        const char *value;              /* borrowed */
};

struct settings_input {
        const struct settings_flag *flags;      /* borrowed, in the order given */
        size_t flag_count;
        char *const *environment;               /* borrowed; NULL: none. An empty variable counts as not set */
};

RESULT settings_load(const struct settings_input *in, struct settings **ret_settings, struct err *e);
void settings_free(struct settings *s);
DEFINE_CLEANUP(struct settings *, settings_free)

/* The row of that name, or NULL. */
const struct setting *settings_find(struct slice name);
/* ORLOP_MAX_PAGE for "max-page". */
void settings_variable(const struct setting *row, struct buf *b);
/* The known name that is nearest to a wrong one, as it stands in the table. */
const char *settings_nearest(struct slice name);
