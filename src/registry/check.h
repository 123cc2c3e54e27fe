/* Does the store hold what it says? Rows without files, files without rows, sizes, bytes (where they are wanted), manifests whose
 * parts are missing, SQLite's own checks. On a store that is in use, what is under way is not taken for wrong.
 *
 * Nothing is ever deleted: a file that nobody knows moves to <data>/lost+found/. Any thread that may block. */
#pragma once

#include "registry/scrub.h"

enum check_kind {
        CHECK_DATABASE,                 /* SQLite's own checks */
        CHECK_BLOB,                     /* its file is missing, has another size or other bytes; or the row is marked */
        CHECK_FILE,                     /* that nobody knows */
        CHECK_MANIFEST,                 /* its bytes, or one of its parts */
};
struct check_finding {
        enum check_kind kind;
        struct slice name;              /* digest or path; valid during the call */
        struct slice repository;        /* of a manifest */
        const char *what;
        const char *mend;               /* what mends it */
        bool mended;                    /* it was, just now */
};

struct check {
        bool repair, bytes;
        bool keep_files;                /* repair the rows, but move no file */
        bool images;                    /* tell the manifests of damaged blobs as well */
        RESULT_FN(found, (void *arg, const struct check_finding *finding, struct err *e));
        RESULT_FN(progress, (void *arg, const char *what, uint64_t done, uint64_t total, struct err *e));
        struct scrub_pace pace;
        void *arg;
        uint64_t blobs, files, manifests;       /* result: looked at */
};
RESULT registry_check(struct registry *registry, struct check *check, struct err *e);

/* Is the object that a row names there, with the right size? */
bool registry_blob_has_file(struct registry *registry, const struct meta_blob *blob);

/* What a manifest must have in its repository (foreign layers aside), from its bytes. */
RESULT registry_parts_of(const struct meta_manifest *manifest, struct arena *arena, struct meta_part **ret_parts, size_t *ret_count,
                         struct err *e);
