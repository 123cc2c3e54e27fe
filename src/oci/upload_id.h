/* The id of an upload session (distribution-spec, "Pushing blobs"): 128 random bits in hexadecimal, opaque to clients.
 * It survives re-encoding of a Location by any client, and is part of the name of the object that the upload becomes. */
#pragma once

#include "base/slice.h"

#define UPLOAD_ID_LENGTH 32

struct upload_id {
        char s[UPLOAD_ID_LENGTH + 1];
};

struct upload_id upload_id_new(void);
bool upload_id_parse(struct slice text, struct upload_id *ret_id);     /* exactly 32 lower-case hexadecimal digits */
