/* Images from an archive into a registry: an OCI image layout, or what `docker save` writes; see archive_in.h for the forms of the
 * archive and layout.h for its documents.
 *
 *      struct import import = { .client = client, .path = "images.tar", .name = NULL, … };
 *      TRY(import_run(&import, &report, e));
 *
 * The archive is read once, from its start to its end, in whatever order its parts stand; what is in the registry already is passed
 * over. Blobs go to the repository that was named; where none was, to IMPORT_REPOSITORY, from where the repositories that the
 * archive names get them at its end. What no manifest names then is left to the collector. An import that broke is run again: what
 * it had stored is there.
 *
 * One thread. ERR_INVALID: the archive is damaged, or is not complete; nothing gets a tag that lacks a part. */
#pragma once

#include "transfer/client.h"
#include "oci/digest.h"
#include "transfer/progress.h"

#define IMPORT_REPOSITORY "orlop/import"        /* without manifests, so it is not listed */

enum { IMPORT_FILES_MAX = 20 * 1000, IMPORT_DEPTH_MAX = 8 };

struct import {
        struct client *client;          /* borrowed */
        const char *path;
        const char *name;               /* NAME[:TAG] for what is in it; NULL: as the archive calls it */
        size_t manifest_bytes_max;
        struct progress progress;
        /* An image is there; `tag` is empty where it has none. */
        void (*arrived)(void *arg, struct slice repository, struct slice tag, const struct digest *digest);
        void *arg;
};
struct import_report {
        uint64_t images, referrers, blobs, blob_bytes, blobs_there;
};
RESULT import_run(const struct import *import, struct import_report *ret_report, struct err *e);
