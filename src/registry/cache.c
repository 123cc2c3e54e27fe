/* A hash table in shards, each with a lock, a share of the memory and the order of last use. A version in each shard rises when
 * something in it is forgotten: what was read before that is not put in after it. */
#include "registry/cache.h"

#include "base/clock.h"
#include "base/rand.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHARDS = 16, BUCKETS_MIN = 512, BUCKETS_MAX = 1024 * 1024, ENTRY_USUAL = 1024, ENTRY_OVERHEAD = 64, ALIVE_FACTOR = 2 };

struct entry {
        struct registry_object object;          /* first: whoever holds the object holds the entry */
        struct cache *cache;                    /* borrowed */
        _Atomic unsigned references;
        struct entry *chain;
        struct entry *newer, *older;
        uint64_t hash;
        int64_t until_us;
        size_t cost;
        size_t repository_n, name_n;
        char text[];                            /* repository, name, ETag, media type, bytes, file */
};

struct shard {
        pthread_mutex_t lock;
        uint64_t version;
        struct entry **buckets;                 /* owned */
        struct entry *newest, *oldest;
        size_t bytes;
};

struct cache {
        uint64_t seed;                          /* nobody can know which names collide */
        size_t shard_bytes_max;
        size_t bucket_count;                    /* of a shard; a power of two, so that chains stay short */
        _Atomic size_t alive_bytes;             /* of all entries, and of those that were driven out while somebody holds them */
        struct shard shards[SHARDS];
};

RESULT cache_new(size_t bytes_max, struct cache **ret_cache, struct err *e)
{
        struct cache *cache = calloc(1, sizeof *cache);
        bool whole = true;

        if (!cache)
                return FAIL(e, ERR_NOMEM, ENOMEM, "make the cache");
        rand_bytes(&cache->seed, sizeof cache->seed);
        cache->shard_bytes_max = bytes_max / SHARDS;
        cache->bucket_count = BUCKETS_MIN;
        while (cache->bucket_count < BUCKETS_MAX && cache->bucket_count < cache->shard_bytes_max / ENTRY_USUAL)
                cache->bucket_count *= 2;
        for (int i = 0; i < SHARDS; i++) {
                pthread_mutex_init(&cache->shards[i].lock, NULL);
                cache->shards[i].buckets = calloc(cache->bucket_count, sizeof(struct entry *));
                whole = whole && cache->shards[i].buckets;
        }
        if (!whole) {
                cache_free(cache);
                return FAIL(e, ERR_NOMEM, ENOMEM, "make the cache");
        }
        *ret_cache = cache;
        return OK;
}

/* --- Entries ---------------------------------------------------------------------------------------------------------- */

void registry_object_unref(struct registry_object *object)
{
        struct entry *entry = (struct entry *)object;

        if (!entry || atomic_fetch_sub(&entry->references, 1) > 1)
                return;
        atomic_fetch_sub(&entry->cache->alive_bytes, entry->cost);
        free(entry);
}

static uint64_t mix(uint64_t hash, struct slice text)
{
        for (size_t i = 0; i < text.n; i++)
                hash = (hash ^ (unsigned char)text.p[i]) * 0x100000001b3ull;
        return hash ^ hash >> 29;
}

static uint64_t hash_of(const struct cache *cache, struct slice repository, struct slice name)
{
        uint64_t hash = mix(mix(mix(cache->seed, repository), S("\n")), name) * 0x9e3779b97f4a7c15ull;

        return hash ^ hash >> 32;
}

static struct shard *shard_of(struct cache *cache, uint64_t hash)
{
        return &cache->shards[hash % SHARDS];
}

static struct entry **bucket_of(struct cache *cache, struct shard *shard, uint64_t hash)
{
        return &shard->buckets[hash / SHARDS % cache->bucket_count];
}

static bool is_named(const struct entry *entry, uint64_t hash, struct slice repository, struct slice name)
{
        return entry->hash == hash && slice_eq((struct slice){ entry->text, entry->repository_n }, repository) &&
               slice_eq((struct slice){ entry->text + entry->repository_n, entry->name_n }, name);
}

/* --- Order of use, with the shard's lock held --------------------------------------------------------------------------- */

static void unlist(struct shard *shard, struct entry *entry)
{
        *(entry->newer ? &entry->newer->older : &shard->newest) = entry->older;
        *(entry->older ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void list_newest(struct shard *shard, struct entry *entry)
{
        entry->newer = NULL;
        entry->older = shard->newest;
        *(entry->older ? &entry->older->newer : &shard->oldest) = entry;
        shard->newest = entry;
}

static void drop(struct shard *shard, struct entry *entry)
{
        struct entry **at = bucket_of(entry->cache, shard, entry->hash);

        while (*at != entry)
                at = &(*at)->chain;
        *at = entry->chain;
        unlist(shard, entry);
        shard->bytes -= entry->cost;
        registry_object_unref(&entry->object);
}

static struct entry *find(struct cache *cache, struct shard *shard, enum registry_object_kind kind, uint64_t hash, struct slice repository,
                          struct slice name)
{
        struct entry *entry = *bucket_of(cache, shard, hash);

        while (entry && !(entry->object.kind == kind && is_named(entry, hash, repository, name)))
                entry = entry->chain;
        return entry;
}

/* --- Getting and putting ------------------------------------------------------------------------------------------------ */

struct registry_object *cache_get(struct cache *cache, enum registry_object_kind kind, struct slice repository, struct slice name)
{
        uint64_t hash = hash_of(cache, repository, name);
        struct shard *shard = shard_of(cache, hash);
        struct entry *entry;

        pthread_mutex_lock(&shard->lock);
        entry = find(cache, shard, kind, hash, repository, name);
        if (entry && entry->until_us != INT64_MAX && entry->until_us < clock_now_us()) {
                drop(shard, entry);
                entry = NULL;
        }
        if (entry) {
                atomic_fetch_add(&entry->references, 1);
                if (shard->newest != entry) {
                        unlist(shard, entry);
                        list_newest(shard, entry);
                }
        }
        pthread_mutex_unlock(&shard->lock);
        return entry ? &entry->object : NULL;
}

uint64_t cache_version(struct cache *cache, struct slice repository, struct slice name)
{
        struct shard *shard = shard_of(cache, hash_of(cache, repository, name));
        uint64_t version;

        pthread_mutex_lock(&shard->lock);
        version = shard->version;
        pthread_mutex_unlock(&shard->lock);
        return version;
}

static struct slice append(char **at, struct slice text)
{
        struct slice copy = { *at, text.n };

        if (text.n)
                memcpy(*at, text.p, text.n);
        *at += text.n;
        return copy;
}

static struct entry *make_entry(struct cache *cache, struct slice repository, struct slice name, const struct cache_content *content,
                                uint64_t hash)
{
        struct slice digest = slice_from(digest_format(&content->digest).s), etag;
        size_t n = repository.n + name.n + digest.n + 2 + content->media_type.n + content->bytes.n + content->file.n;
        struct entry *entry = malloc(sizeof *entry + n);
        char *at;

        if (!entry)
                return NULL;
        *entry = (struct entry){ .cache = cache, .references = 1, .hash = hash, .cost = sizeof *entry + n + ENTRY_OVERHEAD,
                                 .until_us = content->until_us, .repository_n = repository.n, .name_n = name.n };
        entry->object.kind = content->kind;
        entry->object.size = content->size;
        at = entry->text;
        atomic_fetch_add(&cache->alive_bytes, entry->cost);
        append(&at, repository);
        append(&at, name);
        etag = append(&at, S("\""));
        append(&at, digest);
        append(&at, S("\""));
        etag.n = digest.n + 2;
        entry->object.etag = etag;
        entry->object.digest = (struct slice){ etag.p + 1, digest.n };
        entry->object.media_type = append(&at, content->media_type);
        entry->object.bytes = content->bytes.p ? append(&at, content->bytes) : SLICE_NONE;
        entry->object.file = append(&at, content->file);
        return entry;
}

static void insert(struct shard *shard, struct entry *entry, size_t bytes_max)
{
        struct entry **bucket = bucket_of(entry->cache, shard, entry->hash);

        entry->chain = *bucket;
        *bucket = entry;
        list_newest(shard, entry);
        shard->bytes += entry->cost;
        while (shard->bytes > bytes_max)
                drop(shard, shard->oldest);
}

void cache_put(struct cache *cache, struct slice repository, struct slice name, const struct cache_content *content,
               uint64_t version)
{
        uint64_t hash = hash_of(cache, repository, name);
        struct shard *shard = shard_of(cache, hash);
        struct entry *entry, *old;

        if (content->bytes.n > cache->shard_bytes_max / 4)
                return;                 /* it would drive out too many others */
        if (cache->alive_bytes > cache->shard_bytes_max * SHARDS * ALIVE_FACTOR)
                return;                 /* slow readers hold what was driven out */
        entry = make_entry(cache, repository, name, content, hash);
        if (!entry)
                return;
        pthread_mutex_lock(&shard->lock);
        if (shard->version == version) {
                old = find(cache, shard, content->kind, hash, repository, name);
                if (old)
                        drop(shard, old);
                insert(shard, entry, cache->shard_bytes_max);
                entry = NULL;
        }
        pthread_mutex_unlock(&shard->lock);
        if (entry)
                registry_object_unref(&entry->object);
}

/* --- Forgetting --------------------------------------------------------------------------------------------------------- */

void cache_forget(struct cache *cache, struct slice repository, struct slice name)
{
        uint64_t hash = hash_of(cache, repository, name);
        struct shard *shard = shard_of(cache, hash);

        pthread_mutex_lock(&shard->lock);
        shard->version++;
        for (struct entry *entry = *bucket_of(cache, shard, hash), *next; entry; entry = next) {
                next = entry->chain;
                if (is_named(entry, hash, repository, name))
                        drop(shard, entry);
        }
        pthread_mutex_unlock(&shard->lock);
}

void cache_forget_all(struct cache *cache)
{
        for (int i = 0; i < SHARDS; i++) {
                struct shard *shard = &cache->shards[i];

                pthread_mutex_lock(&shard->lock);
                shard->version++;
                while (shard->oldest)
                        drop(shard, shard->oldest);
                pthread_mutex_unlock(&shard->lock);
        }
}

void cache_free(struct cache *cache)
{
        if (!cache)
                return;
        cache_forget_all(cache);
        for (int i = 0; i < SHARDS; i++) {
                pthread_mutex_destroy(&cache->shards[i].lock);
                free(cache->shards[i].buckets);
        }
        free(cache);
}
