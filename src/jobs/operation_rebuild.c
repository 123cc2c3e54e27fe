/* rebuild: brings a store back whose database is damaged or lost. Not in the table of operations: no registry can be open. */
#include "jobs/operation.h"

#include "registry/rebuild.h"

struct rebuilding {
        struct operation *op;
        uint64_t missing;
};

static RESULT tell_lost(void *arg, const struct salvage_lost *lost, struct err *e)
{
        struct rebuilding *r = arg;

        r->missing++;
        line_begin(r->op, "lost");
        line_text(r->op, "what", lost->tag.n ? S("tag") : S("manifest"));
        line_text(r->op, "repository", lost->repository);
        if (lost->tag.n)
                line_text(r->op, "tag", lost->tag);
        line_digest(r->op, "digest", &lost->digest);
        if (lost->is_served)
                line_bool(r->op, "served", true);
        return line_end(r->op, e);
}

/* A file of no use is no loss. */
static RESULT tell_finding(void *arg, const struct check_finding *finding, struct err *e)
{
        struct rebuilding *r = arg;

        r->missing += !finding->mended && finding->kind != CHECK_FILE;
        return line_finding(r->op, finding, e);
}

static RESULT tell_progress(void *arg, const char *what, uint64_t done, uint64_t total, struct err *e)
{
        struct rebuilding *r = arg;

        return line_progress(r->op, what, done, total, false, e);
}

static bool go_on(void *arg, uint64_t bytes)
{
        (void)arg, (void)bytes;
        return true;
}

static RESULT tell_database(struct operation *op, const struct rebuild *rebuild, struct err *e)
{
        line_begin(op, "database");
        line_bool(op, "whole", rebuild->was_whole);
        if (!rebuild->was_whole)
                line_text(op, "damage", slice_from(rebuild->damage));
        line_time(op, "copied", rebuild->copied_us);
        if (*rebuild->set_aside)
                line_text(op, "set_aside", slice_from(rebuild->set_aside));
        return line_end(op, e);
}

static RESULT tell_sources(struct operation *op, const struct rebuild *rebuild, struct err *e)
{
        static const char *const names[] = { "original", "copy" };

        for (size_t i = 0; i < SALVAGE_ORIGINS && !rebuild->was_whole; i++) {
                const struct salvage_source *source = &rebuild->sources[i];

                line_begin(op, "source");
                line_text(op, "what", slice_from(names[i]));
                line_bool(op, "found", source->found);
                line_bool(op, "readable", source->readable);
                line_bool(op, "whole", source->whole);
                if (!source->readable)
                        line_text(op, "why", slice_from(source->why));
                line_number(op, "repositories", source->repositories);
                line_number(op, "tags", source->tags);
                line_number(op, "manifests", source->manifests);
                line_number(op, "blobs", source->blobs);
                TRY(line_end(op, e));
        }
        return OK;
}

static RESULT tell_total(struct operation *op, const struct rebuild *rebuild, uint64_t missing, struct err *e)
{
        line_begin(op, "total");
        line_number(op, "repositories", rebuild->totals.repositories);
        line_number(op, "tags", rebuild->totals.tags);
        line_number(op, "manifests", rebuild->totals.manifests);
        line_number(op, "blobs", rebuild->totals.blobs);
        line_number(op, "blob_bytes", rebuild->totals.blob_bytes);
        line_number(op, "blobs_mended", rebuild->mended);
        line_number(op, "blobs_unnamed", rebuild->unnamed);
        line_number(op, "blobs_unnamed_bytes", rebuild->unnamed_bytes);
        line_number(op, "missing", missing);
        line_bool(op, "names_lost", !rebuild->was_whole && rebuild->unnamed);
        line_bool(op, "dry_run", rebuild->dry_run);
        return line_end(op, e);
}

/* Blobs without a name that came to be after the copy was made tell of pushes whose names are lost. */
RESULT operation_rebuild(struct operation *op, const char *data_dir, struct err *e)
{
        struct rebuilding r = { .op = op };
        struct rebuild rebuild = { .dry_run = op->request->dry_run, .lost = tell_lost,
                                   .check = { .bytes = op->request->bytes, .found = tell_finding, .progress = tell_progress,
                                              .pace = { go_on, NULL }, .arg = &r } };

        TRY(registry_rebuild(data_dir, &rebuild, e));
        op->status = r.missing > 0 || (!rebuild.was_whole && rebuild.unnamed > 0);
        TRY(tell_database(op, &rebuild, e));
        TRY(tell_sources(op, &rebuild, e));
        return tell_total(op, &rebuild, r.missing, e);
}
