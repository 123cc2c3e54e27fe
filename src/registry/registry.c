/* Opening and closing, and what a crash left behind. */
#include "registry/registry.h"

#include "base/fs.h"
#include "base/rand.h"
#include "registry/collect.h"
#include "registry/internal.h"

#include <errno.h>

/* Bytes that were not synced are only as good as the kernel that holds them. A saved upload names the boot it was saved in. */
static void read_boot_id(char ret_id[static BOOT_ID_LENGTH + 1])
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(256);
        struct err ignored;

        if (fs_read_file("/proc/sys/kernel/random/boot_id", &text, &ignored).ok &&
            slice_to_cstr(slice_head(buf_slice(&text), BOOT_ID_LENGTH), ret_id, BOOT_ID_LENGTH + 1) &&
            strlen(ret_id) == BOOT_ID_LENGTH)
                return;
        rand_hex(ret_id, BOOT_ID_LENGTH / 2);
}

static RESULT publish_left_over(struct registry *registry, const struct upload_id *id, const struct digest *digest, struct err *e)
{
        _cleanup_(blob_upload_freep) struct blob_upload *upload = NULL;

        TRY(blob_upload_open(registry->blobs, id, &upload, e));
        TRY(blob_upload_sync(upload, e));       /* read-only again */
        return blob_upload_publish(upload, digest, e);
}

/* A file in uploads/ belongs to a session that can go on, or to a blob that was committed just before the crash, or to nobody. */
static RESULT recover_upload(void *arg, const struct upload_id *id, struct err *e)
{
        struct registry *registry = arg;
        struct digest digest;
        bool exists;

        TRY(meta_upload_exists(registry->meta, id, &exists, e));
        if (exists)
                return OK;
        if (meta_blob_of_upload(registry->meta, id, &digest, e).ok)
                return publish_left_over(registry, id, &digest, e);
        if (e->code != ERR_NOT_FOUND)
                return FAILED;
        return blob_upload_remove(registry->blobs, id, e);
}

/* An empty name stands for all of them. */
static void forget_changed(void *arg, const struct meta_change *changes, size_t n)
{
        struct registry *registry = arg;

        for (size_t i = 0; i < n; i++) {
                const struct meta_change *change = &changes[i];

                if (change->repository.n == 0)
                        cache_forget_all(registry->cache);
                else if (change->tag.n)
                        cache_forget(registry->cache, change->repository, change->tag);
                else
                        cache_forget(registry->cache, change->repository, slice_from(digest_format(&change->digest).s));
        }
}

static RESULT open_database(const struct registry_config *config, struct meta **ret_meta, struct err *e)
{
        return config->database ? meta_sqlite_open_file(config->database, ret_meta, e) : meta_sqlite_open(config->data_dir, ret_meta, e);
}

RESULT registry_open(const struct registry_config *config, struct registry **ret_registry, struct err *e)
{
        struct registry *registry = calloc(1, sizeof *registry);

        if (registry)
                registry->data_dir = strdup(config->data_dir);
        if (!registry || !registry->data_dir) {
                free(registry);
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the registry");
        }
        pthread_mutex_init(&registry->pushes_lock, NULL);
        registry->upload_bytes_max = config->upload_bytes_max;
        registry->inspected = config->inspect;
        read_boot_id(registry->boot_id);
        if (!blob_fs_open(config->data_dir, &registry->blobs, e).ok ||
            !open_database(config, &registry->meta, e).ok ||
            !cache_new(config->cache_bytes, &registry->cache, e).ok ||
            (!config->inspect && !blob_upload_list(registry->blobs, recover_upload, registry, e).ok)) {
                registry_free(registry);
                return FAILED;
        }
        meta_on_change(registry->meta, forget_changed, registry);
        *ret_registry = registry;
        return OK;
}

void registry_free(struct registry *registry)
{
        if (!registry)
                return;
        CHECK(!registry->pushes);
        push_discard_resting(registry);
        meta_free(registry->meta);
        cache_free(registry->cache);
        blob_store_free(registry->blobs);
        pthread_mutex_destroy(&registry->pushes_lock);
        free(registry->data_dir);
        free(registry);
}

void registry_set_stay(struct registry *registry, const struct meta_rules *rules)
{
        meta_set_grace(registry->meta, rules->grace_us);
        meta_set_untagged(registry->meta, rules->untagged_us);
}

void registry_set_upload_bytes_max(struct registry *registry, uint64_t upload_bytes_max)
{
        registry->upload_bytes_max = upload_bytes_max;
}

void registry_set_disk_reserve(struct registry *registry, uint64_t bytes)
{
        registry->space.reserve_bytes = bytes;
        registry->space.seen_ms = 0;
}

RESULT registry_probe(struct registry *registry, struct err *e)
{
        TRY(meta_probe(registry->meta, e));
        return blob_store_probe(registry->blobs, e);
}
