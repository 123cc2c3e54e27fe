/* What the files of an import share: import.c takes the bytes of the archive, import_images.c makes images of them. */
#pragma once

#include "base/arena.h"
#include "transfer/archive_in.h"
#include "transfer/import.h"
#include "transfer/layout.h"
#include "transfer/remote.h"

/* A file of `docker save`, under a name that does not tell its digest. */
struct import_file {
        struct slice path;
        struct slice link;              /* to another path; .p NULL: it is a file */
        struct digest digest;
        uint64_t size;
        const char *media_type;         /* as a layer */
};

struct importing {
        const struct import *import;    /* borrowed */
        struct client *client;          /* borrowed */
        struct import_report report;
        struct archive_in *in;          /* owned, like all below */
        struct arena arena;
        char *bytes;
        struct buf index, saved;        /* index.json, manifest.json; empty: there was none */
        struct import_file *files;
        size_t file_count, file_room;
        struct layout_name name;        /* given; the repository is empty where none was */
        struct slice source;            /* the repository that has the blobs */
};

/* Stores the images that the documents tell. */
RESULT import_images(struct importing *im, struct err *e);
