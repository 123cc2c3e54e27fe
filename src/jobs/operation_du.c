/* du: what takes the space. */
#include "jobs/operation.h"

#include "registry/remove.h"
#include "registry/scrub.h"

static RESULT tell(void *arg, const struct meta_usage *usage, struct err *e)
{
        struct operation *op = arg;

        line_begin(op, "repository");
        line_text(op, "repository", usage->repository);
        line_number(op, "tags", usage->tags);
        line_number(op, "manifests", usage->manifests);
        line_number(op, "blobs", usage->blobs);
        line_number(op, "bytes", usage->bytes + usage->manifest_bytes);
        line_number(op, "own_bytes", usage->own_bytes + usage->manifest_bytes);
        return line_end(op, e);
}

RESULT operation_du(struct operation *op, struct err *e)
{
        struct meta_totals totals;
        struct meta_waiting waiting;

        if (op->request->word_count)
                return FAIL(e, ERR_INVALID, 0, "du takes no words");
        TRY(registry_usage_each(op->registry, tell, op, e));
        TRY(registry_totals(op->registry, &totals, e));
        TRY(registry_waiting(op->registry, &waiting, e));
        line_begin(op, "total");
        line_number(op, "repositories", totals.repositories);
        line_number(op, "tags", totals.tags);
        line_number(op, "manifests", totals.manifests);
        line_number(op, "blobs", totals.blobs);
        line_number(op, "bytes", totals.blob_bytes + totals.manifest_bytes);
        line_number(op, "waiting_blobs", waiting.blobs.count);
        line_number(op, "waiting_files", waiting.objects.count);
        line_number(op, "waiting_file_bytes", waiting.objects.bytes);
        line_number(op, "uploads", waiting.uploads.count);
        line_number(op, "upload_bytes", waiting.uploads.bytes);
        return line_end(op, e);
}
