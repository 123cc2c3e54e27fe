/* gc: a collection now, or what one would remove. */
#include "jobs/operation.h"

#include "base/clock.h"

#include <stdio.h>

static struct collect_rules rules_of(const struct operation *op)
{
        const struct operation_request *request = op->request;
        struct collect_rules rules = op->rules;

        if (request->grace_us >= 0)
                rules.names.grace_us = request->grace_us;
        if (request->untagged_us >= 0)
                rules.names.untagged_us = request->untagged_us;
        if (request->trash_delay_us >= 0)
                rules.trash_delay_us = request->trash_delay_us;
        if (request->upload_expiry_us >= 0)
                rules.upload_expiry_us = request->upload_expiry_us;
        return rules;
}

/* --- Dry run ---------------------------------------------------------------------------------------------------------- */

struct survey {
        struct operation *op;
        struct collect_rules rules;
        int64_t now_us;
        uint64_t due, due_bytes, later, later_bytes;
        int64_t next_us;                /* when the first of the later ones is due */
};

static const char *reason_of(enum meta_garbage_kind kind)
{
        switch (kind) {
        case GARBAGE_LINK:
                return "no manifest of the repository names it; others hold the blob";
        case GARBAGE_BLOB:
                return "no manifest names it";
        case GARBAGE_ORPHAN:
                return "the index or subject that led to it was deleted";
        case GARBAGE_UNTAGGED:
                return "no tag, index or subject leads to it";
        case GARBAGE_UPLOAD:
                return "an upload without progress";
        case GARBAGE_OBJECT:
                return "removed; its file waits for downloads that began before";
        }
        return "";
}

static const char *what_of(enum meta_garbage_kind kind)
{
        switch (kind) {
        case GARBAGE_LINK:
        case GARBAGE_BLOB:
                return "blob";
        case GARBAGE_ORPHAN:
        case GARBAGE_UNTAGGED:
                return "manifest";
        case GARBAGE_UPLOAD:
                return "upload";
        case GARBAGE_OBJECT:
                return "file";
        }
        return "";
}

static int64_t wait_of(const struct collect_rules *rules, enum meta_garbage_kind kind)
{
        switch (kind) {
        case GARBAGE_LINK:
        case GARBAGE_BLOB:
        case GARBAGE_ORPHAN:
                return rules->names.grace_us;
        case GARBAGE_UNTAGGED:
                return rules->names.untagged_us;
        case GARBAGE_UPLOAD:
                return rules->upload_expiry_us;
        case GARBAGE_OBJECT:
                return rules->trash_delay_us;
        }
        return 0;
}

static RESULT tell(void *arg, const struct meta_garbage *garbage, struct err *e)
{
        struct survey *survey = arg;
        int64_t due_us = garbage->since_us + wait_of(&survey->rules, garbage->kind);
        bool due = due_us <= survey->now_us;

        *(due ? &survey->due : &survey->later) += 1;
        *(due ? &survey->due_bytes : &survey->later_bytes) += garbage->size;
        if (!due && (!survey->next_us || due_us < survey->next_us))
                survey->next_us = due_us;
        line_begin(survey->op, "garbage");
        line_text(survey->op, "what", slice_from(what_of(garbage->kind)));
        line_text(survey->op, "repository", garbage->repository);
        line_digest(survey->op, "digest", &garbage->digest);
        line_text(survey->op, "upload", garbage->upload);
        line_number(survey->op, "size", garbage->size);
        line_text(survey->op, "reason", slice_from(reason_of(garbage->kind)));
        line_time(survey->op, "since", garbage->since_us);
        line_time(survey->op, "due", due_us);
        line_bool(survey->op, "now", due);
        return line_end(survey->op, e);
}

static RESULT survey(struct operation *op, struct err *e)
{
        struct survey survey = { .op = op, .rules = rules_of(op), .now_us = clock_now_us() };

        TRY(registry_garbage_each(op->registry, &survey.rules.names, tell, &survey, e));
        line_begin(op, "total");
        line_number(op, "now", survey.due);
        line_number(op, "now_bytes", survey.due_bytes);
        line_number(op, "later", survey.later);
        line_number(op, "later_bytes", survey.later_bytes);
        line_time(op, "next", survey.next_us);
        return line_end(op, e);
}

/* --- Collection ------------------------------------------------------------------------------------------------------- */

struct run {
        struct operation *op;
        struct err *e;
        struct result result;
};

static bool step(void *arg, const struct collected *sum)
{
        struct run *run = arg;

        run->result = line_progress(run->op, "freed", sum->bytes, 0, true, run->e);
        return run->result.ok;
}

static RESULT collect_alone(struct operation *op, const struct collect_rules *rules, struct collected *sum, struct err *e)
{
        struct collected one = { .more = true };

        while (one.more) {
                TRY(registry_collect(op->registry, rules, &one, e));
                collected_add(sum, &one);
                TRY(line_progress(op, "freed", sum->bytes, 0, true, e));
        }
        return OK;
}

/* What waits although nothing is due: the difference between "nothing to do" and "not yet". */
static RESULT tell_total(struct operation *op, const struct collected *sum, struct err *e)
{
        struct meta_waiting waiting;

        TRY(registry_waiting(op->registry, &waiting, e));
        line_begin(op, "total");
        line_number(op, "manifests", sum->manifests);
        line_number(op, "blobs", sum->blobs);
        line_number(op, "files", sum->objects);
        line_number(op, "uploads", sum->uploads);
        line_number(op, "bytes", sum->bytes);
        line_number(op, "waiting_blobs", waiting.blobs.count);
        line_number(op, "waiting_manifests", waiting.orphans.count);
        line_number(op, "waiting_files", waiting.objects.count);
        line_number(op, "waiting_file_bytes", waiting.objects.bytes);
        return line_end(op, e);
}

static RESULT collect(struct operation *op, struct err *e)
{
        struct collect_rules rules = rules_of(op);
        struct run run = { .op = op, .e = e, .result = OK };
        struct jobs_progress progress = { step, &run };
        struct collected sum = { 0 };

        if (op->jobs)
                TRY(jobs_collect(op->jobs, &rules, &progress, &sum, e));
        else
                TRY(collect_alone(op, &rules, &sum, e));
        TRY(run.result);
        return tell_total(op, &sum, e);
}

RESULT operation_gc(struct operation *op, struct err *e)
{
        if (op->request->word_count)
                return FAIL(e, ERR_INVALID, 0, "gc takes no words");
        return op->request->dry_run ? survey(op, e) : collect(op, e);
}
