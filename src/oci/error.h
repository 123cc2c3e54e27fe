/* Errors as clients see them: distribution-spec, "Error Codes". One table turns an enum err_code into a status and a code. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* The HTTP status that belongs to an error. */
int error_status(enum err_code code);
/* The specification's code, "MANIFEST_UNKNOWN". For errors that have none in the table (e.g. the engine's), by the status. */
struct slice error_name(enum err_code code, int status);
/* {"errors":[{"code":…,"message":…}]} */
void error_body(struct buf *b, struct slice name, struct slice message);
