/* The registry as a process: from settings to a server that answers, and back to nothing.
 *
 *      TRY(daemon_start(in, &daemon, e));     serves when it returns
 *      daemon_run(daemon);                    until SIGTERM or SIGINT; SIGHUP reloads
 *      daemon_free(daemon);                   after a failed start too
 *
 * One in a process, on the main thread. */
#pragma once

#include "cli/certificates.h"
#include "cli/command.h"
#include "http/server.h"

struct daemon;

RESULT daemon_start(const struct invocation *in, struct daemon **ret_daemon, struct err *e);
void daemon_run(struct daemon *daemon);
void daemon_free(struct daemon *daemon);
DEFINE_CLEANUP(struct daemon *, daemon_free)
