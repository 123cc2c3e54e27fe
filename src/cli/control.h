/* <data>/control.sock: where orlop status, gc, rm, du, ls and check talk to the daemon that runs. Its owner and root only.
 *
 * A connection carries one request, a line (jobs/operations.h), and its answer: lines, the last of which has the kind "end" with
 * "status", or "error" with "message" and "invalid". Then it is closed. A few connections at once. No operation waits for a client
 * that reads slowly (answer.h); one that stops reading loses its answer.
 *
 *      TRY(control_open(&config, &control, e));
 *      poll control_fd(), then control_accept()        by one thread
 *      control_free(control);                          running operations end after their current step
 *
 * Each connection has a thread of its own while it lasts. */
#pragma once

#include "base/cleanup.h"
#include "jobs/operations.h"

#define CONTROL_SOCKET "control.sock"

struct control;

struct control_config {
        const char *data_dir;
        struct registry *registry;      /* borrowed, like all below; they outlive it */
        struct jobs *jobs;
        void (*describe)(void *arg, struct buf *members);      /* see struct operation */
        void *describe_arg;
};

RESULT control_open(const struct control_config *config, struct control **ret_control, struct err *e);
void control_free(struct control *control);
DEFINE_CLEANUP(struct control *, control_free)
int control_fd(const struct control *control);
void control_accept(struct control *control);
void control_set_reserve(struct control *control, uint64_t disk_reserve_bytes);       /* what status tells; any time */

/* The client's side. ERR_NOT_FOUND: no daemon listens there. */
RESULT control_connect(const char *data_dir, int *ret_fd, struct err *e);
/* Sends the request and hands each line of the answer to `line`, the last one apart. ERR_CLOSED: the daemon ended meanwhile;
 * what the daemon answered with as an error comes back as ERR_INVALID or ERR_IO. */
RESULT control_ask(int fd, const struct operation_request *request, RESULT_FN(line, (void *arg, struct slice line, struct err *e)),
                   void *arg, int *ret_status, struct err *e);
