/* What the operations share: building lines. */
#pragma once

#include "jobs/operations.h"

void line_begin(struct operation *op, const char *kind);
void line_text(struct operation *op, const char *name, struct slice text);             /* .p NULL: nothing is added */
void line_number(struct operation *op, const char *name, uint64_t number);
void line_bool(struct operation *op, const char *name, bool value);
void line_time(struct operation *op, const char *name, int64_t us);                    /* 0: nothing is added */
void line_digest(struct operation *op, const char *name, const struct digest *digest); /* none: nothing is added */
RESULT line_end(struct operation *op, struct err *e);
/* {"kind":"progress","what":…,"done":…,"total":…,"bytes":…}; not bytes: how many things */
RESULT line_progress(struct operation *op, const char *what, uint64_t done, uint64_t total, bool bytes, struct err *e);

struct check_finding;
RESULT line_finding(struct operation *op, const struct check_finding *finding, struct err *e);

RESULT operation_status(struct operation *op, struct err *e);
RESULT operation_check(struct operation *op, struct err *e);
RESULT operation_gc(struct operation *op, struct err *e);
RESULT operation_rm(struct operation *op, struct err *e);
RESULT operation_du(struct operation *op, struct err *e);
RESULT operation_ls(struct operation *op, struct err *e);
