/* The bodies of lists: distribution-spec, "Listing Tags" and "Listing Referrers", and Docker's catalog. The caller checks buf_ok(). */
#pragma once

#include "base/buf.h"
#include "oci/digest.h"

struct referrer {
        struct digest digest;
        uint64_t size;
        struct slice media_type;
        struct slice artifact_type;     /* empty: none */
        struct slice annotations;       /* a JSON object; empty: none */
};

void list_tags(struct buf *b, struct slice repository, const struct slice *tags, size_t count);
void list_repositories(struct buf *b, const struct slice *names, size_t count);
/* An image index (image-spec, image-index.md). */
void list_referrers(struct buf *b, const struct referrer *referrers, size_t count);
