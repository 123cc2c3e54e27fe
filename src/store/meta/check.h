/* What a check asks of the names, and what mends them. Worker threads. */
#pragma once

#include "store/meta/meta.h"

/* Does a row stand for this object: a blob's, or one of the trash? */
RESULT meta_object_known(struct meta *m, const struct digest *digest, const struct upload_id *id, bool *ret_known, struct err *e);

enum meta_part_state {
        META_PART_GOOD,
        META_PART_UNLINKED,             /* it is stored, but the repository or the manifest is not linked to it */
        META_PART_MISSING,              /* it is not stored at all */
        META_PART_SIZE,                 /* it is stored with another size than the manifest says */
        META_PART_DAMAGED,              /* its bytes are known to be damaged or missing */
};
/* How the first part is that is not good, one that is only damaged after the others; *ret_at is its index. */
RESULT meta_parts_check(struct meta *m, struct slice repository, const struct digest *manifest, const struct meta_part *parts,
                        size_t count, enum meta_part_state *ret_state, size_t *ret_at, struct err *e);
/* Links what is stored. A blob that is not gets a row that says so: it is told to be absent, and the next push of it mends it and all
 * that names it. *ret_absent: how many were so. */
RESULT meta_parts_link(struct meta *m, struct slice repository, const struct digest *manifest, const struct meta_part *parts,
                       size_t count, size_t *ret_absent, struct err *e);
