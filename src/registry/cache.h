/* What is asked for often, in memory: manifests by tag and by digest, the sizes of blobs, the bytes of small ones. Bounded, and
 * never stale:
 *
 *      version = cache_version(cache, repository, name)       before the database is read
 *      ... read ...
 *      cache_put(cache, ..., version)                         not kept where something changed in between
 *
 *      cache_forget(cache, repository, name)                  on the writer, after the commit and before it is answered
 *
 * So whoever was told of a change never sees what was before it. `name` is a tag or a digest's text.
 *
 * Any thread, the loops too: locks are held for a lookup, and nothing here blocks. An object that was got stays whole until it is
 * unreferenced, whatever is forgotten; before cache_free() all must be. What is held outside counts, too: all objects together have
 * at most twice the cache's bytes (and one object more for each thread that puts). */
#pragma once

#include "registry/registry.h"

struct cache;

RESULT cache_new(size_t bytes_max, struct cache **ret_cache, struct err *e);
void cache_free(struct cache *cache);

/* A reference, or NULL. */
struct registry_object *cache_get(struct cache *cache, enum registry_object_kind kind, struct slice repository, struct slice name);

struct cache_content {
        enum registry_object_kind kind;
        struct digest digest;
        struct slice media_type;        /* of a manifest */
        struct slice bytes;             /* .p NULL: they are in a file */
        struct slice file;              /* the id in its name */
        uint64_t size;
        int64_t until_us;               /* what a blob's existence is promised for; INT64_MAX: until it is forgotten */
};
uint64_t cache_version(struct cache *cache, struct slice repository, struct slice name);
void cache_put(struct cache *cache, struct slice repository, struct slice name, const struct cache_content *content,
               uint64_t version);
void cache_forget(struct cache *cache, struct slice repository, struct slice name);
void cache_forget_all(struct cache *cache);
