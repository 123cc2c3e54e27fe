/* Commands that work on the store, whether its registry runs or not.
 *
 *      struct operation_request request = OPERATION_REQUEST_INIT;
 *      request.name = S("du");
 *      TRY(store_ask(in, &request, render, arg, ret_status, e));
 *
 * Where a registry runs, it is asked (cli/control.h); otherwise the store is opened here, under its lock, as long as the answer
 * takes. `render` gets each line of the answer as a JSON object, with --json nothing: then the lines are printed as they are.
 * Progress is shown on a terminal. */
#pragma once

#include "cli/command.h"
#include "jobs/operations.h"

#include <jansson.h>

typedef struct result store_render_fn(void *arg, const char *kind, const json_t *line, struct err *e);

/* ERR_NOT_FOUND: there is no store. ERR_BUSY: another program holds it. */
RESULT store_ask(const struct invocation *in, struct operation_request *request, store_render_fn *render, void *arg,
                 int *ret_status, struct err *e);

/* The same of orlop rebuild, which needs a store that is stopped and cannot be opened. ERR_BUSY: its registry runs. */
RESULT store_rebuild(const struct invocation *in, struct operation_request *request, store_render_fn *render, void *arg,
                     int *ret_status, struct err *e);

/* Rules that the command line itself gives (not file or environment) hold for this request. */
void store_take_rules(const struct settings *settings, struct operation_request *request);

/* Of a line's members; "" and 0 where it has none. */
const char *store_text(const json_t *line, const char *name);
uint64_t store_number(const json_t *line, const char *name);
struct age_text {
        char s[32];
};
struct age_text store_age(const json_t *line, const char *name);        /* "3 h ago", "in 5 min", "-" */
struct age_text store_duration(uint64_t seconds);                       /* "3 h" */
RESULT store_words(const struct invocation *in, struct operation_request *request, struct err *e);
