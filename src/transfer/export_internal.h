/* What the files of an export share: export_walk.c finds all that belongs to the images, export.c writes it. */
#pragma once

#include "base/arena.h"
#include "transfer/export.h"
#include "transfer/layout.h"
#include "transfer/remote.h"

/* A part of the archive: a manifest or a blob. */
struct export_part {
        struct digest digest;
        uint64_t size;
        uint32_t repository;            /* that has it: an index in exporting.repositories */
        bool is_manifest, is_foreign;
        bool visited;                   /* of a manifest: what belongs to it is in the list, too */
};

struct exporting {
        const struct export *export;    /* borrowed */
        struct client *client;          /* borrowed */
        struct export_report report;
        struct arena arena;             /* owned, like all below: names and entries of index.json */
        struct slice *repositories;
        size_t repository_count;
        struct layout_image *entries;   /* of index.json */
        size_t entry_count, entry_room;
        struct export_part *parts;
        size_t part_count, part_room;
        uint32_t *slots;                /* of parts by digest: index + 1, 0 is free */
        size_t slot_count;
        struct buf saved;               /* manifest.json, without its brackets */
};

/* Fills repositories, entries, parts and saved. */
RESULT export_walk(struct exporting *ex, struct err *e);
