/* Repository names, tags, and references (a tag or a digest): distribution-spec, "Pulling manifests".
 * Pure functions; any thread. The messages are for the person who typed the name. */
#pragma once

#include "oci/digest.h"

#define REPOSITORY_NAME_MAX 255
#define TAG_MAX 128

/* Path components of lower-case letters and digits, separated inside by one of . _ __ or dashes. ERR_NAME_INVALID. */
RESULT reference_check_repository(struct slice name, struct err *e);
/* [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. ERR_TAG_INVALID. */
RESULT reference_check_tag(struct slice tag, struct err *e);

struct reference {
        bool is_digest;
        struct digest digest;
        struct slice tag;               /* borrowed from the text */
};
/* What has a colon is meant as a digest. ERR_TAG_INVALID, ERR_DIGEST_INVALID. */
RESULT reference_parse(struct slice text, struct reference *ret_reference, struct err *e);
