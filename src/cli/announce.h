/* What the daemon says when it serves: to a person on standard output, to the log, to systemd, and to the lock file. */
#pragma once

#include "cli/certificates.h"
#include "http/server.h"

struct announcement {
        const struct settings *settings;
        const struct authority_identity *identity;
        struct http_server *server;
        int lock_fd;
};

/* Standard output gets the address, the fingerprint and lines to copy, unless the log has JSON lines or both go to systemd's
 * journal: there the log's line is all. ERR_IO, ERR_FULL: the lock file. */
RESULT announce_ready(const struct announcement *a, struct err *e);
