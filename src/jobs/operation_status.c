/* status: what the registry does and what it waits for. Something is wrong (status 1) where blobs are known to be damaged or a job
 * of the registry's own has failed with its last turn. */
#include "jobs/operation.h"

#include "registry/scrub.h"

enum { DAMAGED_MAX = 100, ARENA_BYTES = 256 * 1024 };

static void put_collected(struct operation *op, const char *name, const struct collected *c)
{
        buf_printf(&op->line, ",\"%s\":{\"manifests\":%llu,\"blobs\":%llu,\"files\":%llu,\"uploads\":%llu,\"bytes\":%llu}", name,
                   (unsigned long long)c->manifests, (unsigned long long)c->blobs, (unsigned long long)c->objects,
                   (unsigned long long)c->uploads, (unsigned long long)c->bytes);
}

static void put_queue(struct operation *op, const char *name, const struct meta_queue *queue)
{
        buf_printf(&op->line, ",\"%s\":{\"count\":%llu,\"bytes\":%llu", name, (unsigned long long)queue->count,
                   (unsigned long long)queue->bytes);
        line_time(op, "since", queue->since_us);
        buf_put_char(&op->line, '}');
}

static RESULT put_jobs(struct operation *op, struct err *e)
{
        struct jobs_status status;

        line_begin(op, "jobs");
        if (op->jobs) {
                jobs_status(op->jobs, &status);
                line_time(op, "gc_ended", status.gc_ended_us);
                line_time(op, "freed_last_at", status.gc_last_us);
                put_collected(op, "freed_last", &status.gc_last);
                put_collected(op, "freed", &status.gc_sum);
                line_number(op, "scrubbed_blobs", status.scrubbed_blobs);
                line_number(op, "scrubbed_bytes", status.scrubbed_bytes);
                line_time(op, "database_copied", status.copied_us);
                if (*status.failure) {
                        line_text(op, "failure", slice_from(status.failure));
                        line_time(op, "failure_at", status.failure_us);
                        op->status = 1;
                }
        }
        return line_end(op, e);
}

static RESULT put_store(struct operation *op, struct err *e)
{
        struct meta_waiting waiting;
        struct meta_scrub scrub;
        uint64_t free_bytes, total_bytes;

        TRY(registry_waiting(op->registry, &waiting, e));
        TRY(registry_scrub_get(op->registry, &scrub, e));
        TRY(registry_space(op->registry, &free_bytes, &total_bytes, e));
        line_begin(op, "store");
        line_number(op, "disk_free", free_bytes);
        line_number(op, "disk_total", total_bytes);
        line_number(op, "disk_reserve", op->disk_reserve_bytes);
        line_bool(op, "pushes_refused", op->disk_reserve_bytes && free_bytes < op->disk_reserve_bytes);
        put_queue(op, "waiting_blobs", &waiting.blobs);
        put_queue(op, "waiting_manifests", &waiting.orphans);
        put_queue(op, "untagged_manifests", &waiting.untagged);
        put_queue(op, "waiting_files", &waiting.objects);
        put_queue(op, "uploads", &waiting.uploads);
        line_time(op, "scrub_started", scrub.started_us);
        line_time(op, "scrub_ended", scrub.ended_us);
        line_number(op, "scrub_bytes", scrub.bytes);
        return line_end(op, e);
}

static RESULT put_damaged(struct operation *op, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_damaged_list list;

        TRY(registry_damaged(op->registry, DAMAGED_MAX, &arena, &list, e));
        for (size_t i = 0; i < list.count; i++) {
                line_begin(op, "damaged");
                line_digest(op, "digest", &list.items[i].digest);
                line_text(op, "repository", list.items[i].repository);
                line_number(op, "size", list.items[i].size);
                line_text(op, "damage", list.items[i].what);
                line_time(op, "since", list.items[i].since_us);
                TRY(line_end(op, e));
        }
        if (list.total)
                op->status = 1;
        line_begin(op, "total");
        line_number(op, "damaged", list.total);
        return line_end(op, e);
}

RESULT operation_status(struct operation *op, struct err *e)
{
        line_begin(op, "daemon");
        line_bool(op, "running", op->jobs);
        if (op->describe)
                op->describe(op->describe_arg, &op->line);
        TRY(line_end(op, e));
        TRY(put_jobs(op, e));
        TRY(put_store(op, e));
        return put_damaged(op, e);
}
