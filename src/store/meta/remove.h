/* Removing much at once, in steps that make nobody wait for long: each is one transaction of at most some 100 rows and a few
 * milliseconds. What is left behind waits in the queues as after any deletion. Worker threads. */
#pragma once

#include "store/meta/meta.h"

/* The manifests of a repository in the order of their digests; those that an index names come in a later round, when the index is
 * gone. Begin with { 0 }; until `ended`. */
struct meta_stripping {
        bool has_last;
        struct digest last;
        bool removed_some;              /* in this round */
        bool ended;
        uint64_t manifests, bytes;      /* removed so far */
};
/* On stable storage when it has `ended`. ERR_NAME_UNKNOWN. */
RESULT meta_repository_strip(struct meta *m, struct slice repository, struct meta_stripping *stripping, struct err *e);

/* A tag, and its manifest where nothing else leads to it. ERR_MANIFEST_UNKNOWN, ERR_NAME_UNKNOWN. */
RESULT meta_tag_remove(struct meta *m, struct slice repository, struct slice tag, bool *ret_manifest_too, struct err *e);

struct meta_usage {
        struct slice repository;        /* valid during the call */
        uint64_t tags, manifests, manifest_bytes;
        uint64_t blobs, bytes;
        uint64_t own_bytes;             /* of blobs that no other repository holds */
};
typedef struct result meta_usage_fn(void *arg, const struct meta_usage *usage, struct err *e);
/* Each repository that holds something, by name. Reads every link: seconds with millions of them. */
RESULT meta_usage_each(struct meta *m, meta_usage_fn *fn, void *arg, struct err *e);
