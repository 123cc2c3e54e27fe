/* Images of a registry into an archive: an OCI image layout (image-spec, image-layout.md) as a tar file or a folder.
 *
 *      struct export export = { .client = client, .path = "images.tar", .names = names, .name_count = n, … };
 *      TRY(export_run(&export, &report, e));
 *
 * A name is NAME:TAG, NAME@DIGEST, or NAME for all its tags. index.json lists each under "NAME:TAG"; its referrers, and theirs, stand
 * there without a name. For images that are no indexes there is a manifest.json too, so that `docker load` of any age takes the
 * archive. Each blob is in it once. What is read is held against its digest.
 *
 * Memory: some hundred bytes a blob. One thread. ERR_NOT_FOUND: no such image. Others travel up; then there is no archive. */
#pragma once

#include "transfer/client.h"
#include "transfer/progress.h"

enum { EXPORT_BLOBS_MAX = 1000 * 1000 };

struct export {
        struct client *client;          /* borrowed */
        const char *path;               /* as in archive_out.h */
        const char *const *names;
        size_t name_count;
        bool without_referrers;
        size_t manifest_bytes_max;
        struct progress progress;
};
struct export_report {
        uint64_t images, referrers, blobs, bytes;
};
RESULT export_run(const struct export *export, struct export_report *ret_report, struct err *e);
