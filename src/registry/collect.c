#include "registry/collect.h"

#include "base/clock.h"
#include "base/rules.h"
#include "registry/internal.h"
#include "registry/push.h"
#include "store/blob/hold.h"

enum { UPLOADS_PER_STEP = 16, OBJECTS_PER_STEP = 32, ARENA_BYTES = 64 * 1024 };

static RESULT expire_uploads(struct registry *registry, int64_t before_us, struct collected *collected, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_idle_uploads idle;
        unsigned expired = 0;

        TRY(meta_uploads_idle(registry->meta, before_us, UPLOADS_PER_STEP, &arena, &idle, e));
        for (size_t i = 0; i < idle.count; i++) {
                const struct meta_idle_upload *upload = &idle.items[i];
                bool gone;

                TRY(push_expire(registry, upload->repository, &upload->id, before_us, &gone, e));
                if (!gone)
                        continue;
                expired++;
                collected->bytes += upload->received;
        }
        collected->uploads += expired;
        collected->more |= idle.count == UPLOADS_PER_STEP && expired;   /* those in use would come again and again */
        return OK;
}

static RESULT remove_names(struct registry *registry, const struct meta_rules *rules, struct collected *collected, struct err *e)
{
        struct meta_collected names;

        TRY(meta_collect(registry->meta, rules, &names, e));
        collected->manifests += names.manifests;
        collected->blobs += names.blobs;
        collected->bytes += names.manifest_bytes + names.content_bytes;
        collected->more |= names.more;
        return OK;
}

static RESULT remove_objects(struct registry *registry, const struct meta_objects *objects, struct err *e)
{
        for (size_t i = 0; i < objects->count; i++)
                TRY(blob_remove(registry->blobs, &objects->items[i].digest, &objects->items[i].id, e));
        return meta_trash_forget(registry->meta, objects, e);
}

/* A backup that runs holds all objects in place: another time. */
static RESULT empty_trash(struct registry *registry, int64_t before_us, struct collected *collected, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        _cleanup_fd_ int hold_fd = -1;
        struct meta_objects objects;

        TRY(meta_trash_page(registry->meta, before_us, OBJECTS_PER_STEP, &arena, &objects, e));
        if (objects.count == 0)
                return OK;
        if (!hold_begin_removal(registry->data_dir, &hold_fd, e).ok)
                return e->code == ERR_BUSY ? OK : FAILED;
        TRY(remove_objects(registry, &objects, e));
        for (size_t i = 0; i < objects.count; i++)
                collected->bytes += objects.items[i].size;
        collected->objects += objects.count;
        collected->more |= objects.count == OBJECTS_PER_STEP;
        return OK;
}

RESULT registry_collect(struct registry *registry, const struct collect_rules *rules, struct collected *ret_collected, struct err *e)
{
        struct collected collected = { 0 };
        int64_t now_us = clock_now_us();

        TRY(expire_uploads(registry, now_us - rules->upload_expiry_us, &collected, e));
        TRY(remove_names(registry, &rules->names, &collected, e));
        TRY(empty_trash(registry, rule_holds(RULE_TRASH_DELAY) ? now_us - rules->trash_delay_us : INT64_MAX, &collected, e));
        *ret_collected = collected;
        return OK;
}

void collected_add(struct collected *sum, const struct collected *step)
{
        sum->uploads += step->uploads;
        sum->manifests += step->manifests;
        sum->blobs += step->blobs;
        sum->objects += step->objects;
        sum->bytes += step->bytes;
        sum->more = step->more;
}

/* --- Looking ---------------------------------------------------------------------------------------------------------- */

RESULT registry_waiting(struct registry *registry, struct meta_waiting *ret_waiting, struct err *e)
{
        return meta_waiting(registry->meta, ret_waiting, e);
}

RESULT registry_garbage_each(struct registry *registry, const struct meta_rules *rules, meta_garbage_fn *fn, void *arg, struct err *e)
{
        return meta_garbage_each(registry->meta, rules, fn, arg, e);
}

RESULT registry_space(struct registry *registry, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, struct err *e)
{
        return blob_store_space(registry->blobs, ret_free_bytes, ret_total_bytes, e);
}
