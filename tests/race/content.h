/* What is pushed in the race: a few blobs and manifests, the same bytes in every repository, so that everybody meets everybody.
 *
 * Blobs 0 to 5 live in the database, the others are files; no manifest names 10 and 11, so that they come and go often. Manifests 0 to 5 are images, 6 to 8 indexes (8 names 6), 9 to 11 are
 * images with a subject. Constant after content_make(). */
#pragma once

#include "oci/digest.h"

enum { BLOBS = 12, FIRST_FILE = 6, FIRST_UNNAMED = 10, BLOB_BYTES_MAX = 150000, MANIFESTS = 12, FIRST_INDEX = 6, FIRST_REFERRER = 9, REPOSITORIES = 4, TAGS = 4 };

struct blob {
        struct digest digest;
        struct digest_text name;
        struct slice bytes;             /* owned */
};

struct image {                          /* or index */
        struct digest digest;
        struct digest_text name;
        struct slice media_type, body;  /* body: owned */
        unsigned blobs, children;       /* bits */
        int subject;                    /* -1: none */
};

struct content {
        struct blob blobs[BLOBS];
        struct image manifests[MANIFESTS];
};

void content_make(struct content *ret_content);
void content_free(struct content *content);

struct slice repository_name(int repository);
struct slice tag_name(int tag);
