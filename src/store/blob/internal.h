/* What the files of store/blob share: where things are. */
#pragma once

#include "store/blob/blob.h"

#include <limits.h>

struct blob_store {
        char *data_dir;         /* owned */
};

struct path {
        char s[PATH_MAX];
};

struct path algorithm_folder(const struct blob_store *store, const char *algorithm);
struct path object_path(const struct blob_store *store, const struct digest *digest, const struct upload_id *id);
