/* What a person asks of the store: status, gc, rm, du, ls, check. The same code answers on the running daemon, behind its control
 * socket, and on a stopped store that a command has opened.
 *
 *      struct operation op = { .registry = registry, .request = &request, .sink = { put_line, arg } };
 *      TRY(operation_run(&op, &status, e));
 *
 * An answer is lines, each a JSON object with a "kind": rows of the answer, "progress" (which may be left out), at the end "total".
 * They are handed to the sink as they come, so that memory does not grow with the store. A sink that fails ends the operation.
 * Times in lines are seconds since 1970, sizes bytes.
 *
 * A request travels as one line of JSON, operation_encode() and operation_decode().
 *
 * Any thread that may block; several at once. */
#pragma once

#include "base/buf.h"
#include "jobs/jobs.h"

enum { OPERATION_WORDS_MAX = 64, OPERATION_REQUEST_MAX = 64 * 1024, OPERATION_LINE_MAX = 64 * 1024 };

struct operation_request {
        struct slice name;
        struct slice words[OPERATION_WORDS_MAX];
        size_t word_count;
        bool dry_run, repair, bytes;
        /* Rules of this collection alone; below 0: those of the settings. */
        int64_t grace_us, untagged_us, trash_delay_us, upload_expiry_us;
};
#define OPERATION_REQUEST_INIT \
        ((struct operation_request){ .grace_us = -1, .untagged_us = -1, .trash_delay_us = -1, .upload_expiry_us = -1 })

struct operation {
        const struct operation_request *request;        /* borrowed */
        struct registry *registry;      /* borrowed, and all below */
        struct jobs *jobs;              /* NULL: no daemon runs */
        struct collect_rules rules;     /* those of the settings */
        uint64_t disk_reserve_bytes;
        /* Further members of the status, as JSON, each with a comma before it. NULL: none. */
        void (*describe)(void *arg, struct buf *members);
        void *describe_arg;
        struct {
                RESULT_FN(line, (void *arg, struct slice line, struct err *e));
                void *arg;
        } sink;
        struct buf line;                /* of the operation; BUF_INIT(OPERATION_LINE_MAX) */
        int status;                     /* result: 0 good, 1 something is wrong */
};

/* ERR_INVALID: no such operation, or words that it does not understand. */
RESULT operation_run(struct operation *op, struct err *e);
/* rebuild, of a store that nobody has open and whose lock the caller holds; op->registry is not needed. */
RESULT operation_rebuild(struct operation *op, const char *data_dir, struct err *e);

/* A line without its end. */
void operation_encode(const struct operation_request *request, struct buf *line);
/* Slices live in the arena. ERR_INVALID. */
RESULT operation_decode(struct slice line, struct arena *arena, struct operation_request *ret_request, struct err *e);
