/* check: does the store hold what it says? */
#include "jobs/operation.h"

#include "registry/check.h"

struct checking {
        struct operation *op;
        uint64_t wrong, mended;
};

static const char *name_of(enum check_kind kind)
{
        switch (kind) {
        case CHECK_DATABASE:
                return "database";
        case CHECK_BLOB:
                return "blob";
        case CHECK_FILE:
                return "file";
        case CHECK_MANIFEST:
                return "manifest";
        }
        return "";
}

RESULT line_finding(struct operation *op, const struct check_finding *finding, struct err *e)
{
        line_begin(op, "finding");
        line_text(op, "what", slice_from(name_of(finding->kind)));
        line_text(op, "name", finding->name);
        line_text(op, "repository", finding->repository);
        line_text(op, "wrong", slice_from(finding->what));
        line_text(op, "mend", slice_from(finding->mend));
        line_bool(op, "mended", finding->mended);
        return line_end(op, e);
}

static RESULT tell(void *arg, const struct check_finding *finding, struct err *e)
{
        struct checking *c = arg;

        c->wrong++;
        c->mended += finding->mended;
        return line_finding(c->op, finding, e);
}

static RESULT progress(void *arg, const char *what, uint64_t done, uint64_t total, struct err *e)
{
        struct checking *c = arg;

        TRY(line_progress(c->op, what, done, total, false, e));
        if (c->op->jobs && !jobs_pause_for(c->op->jobs, 0))
                return FAIL(e, ERR_CLOSED, 0, "the registry ends");
        return OK;
}

static bool go_on(void *arg, uint64_t bytes)
{
        struct checking *c = arg;

        (void)bytes;
        return !c->op->jobs || jobs_pause_for(c->op->jobs, 0);
}

RESULT operation_check(struct operation *op, struct err *e)
{
        struct checking c = { .op = op };
        struct check check = { .repair = op->request->repair, .bytes = op->request->bytes, .found = tell, .progress = progress,
                               .pace = { go_on, &c }, .arg = &c };

        TRY(registry_check(op->registry, &check, e));
        op->status = c.wrong > c.mended;
        line_begin(op, "total");
        line_number(op, "blobs", check.blobs);
        line_number(op, "files", check.files);
        line_number(op, "manifests", check.manifests);
        line_number(op, "wrong", c.wrong);
        line_number(op, "mended", c.mended);
        return line_end(op, e);
}
