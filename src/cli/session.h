/* A registry to talk HTTP to, whether one runs on the data folder or not, for `orlop import` and `orlop export`.
 *
 *      TRY(session_open(in, settings, &session, e));
 *      ... session_client(session) ...
 *      TRY(session_close(session, e));
 *
 * Where a registry runs, it is the one, at its first address (a unix socket before others), and it must have the certificate of
 * this folder. Where none runs, this program is started once more as a registry that listens on a private unix socket and nowhere
 * else, and ends with the session. So there is one way in for what is stored, with the same checks and limits.
 *
 * Main thread. ERR_NOT_FOUND: no store there (where `must_exist`). ERR_CLOSED, ERR_BUSY, ERR_IO. */
#pragma once

#include "cli/command.h"
#include "transfer/client.h"

struct session;

RESULT session_open(const struct invocation *in, const struct settings *settings, bool must_exist, struct session **ret_session,
                    struct err *e);
struct client *session_client(struct session *session);
/* Ends the private registry, and says whether it ended well. */
RESULT session_close(struct session *session, struct err *e);
/* The same without asking. */
void session_free(struct session *session);
DEFINE_CLEANUP(struct session *, session_free)
