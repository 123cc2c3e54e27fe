/* One GET to a registry that runs on this machine, for `orlop health`. The certificate is not checked: nothing is told to the
 * other side, and what it answers is a status. Blocks, at most `timeout_ms` for each step. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* `address` as in the lock file: "https://HOST:PORT", "http://HOST:PORT", "unix:/PATH"; the host is an IP address, and one that
 * stands for all of the machine's is reached by loopback. The body goes to `body`, as far as it fits.
 * ERR_CLOSED: nobody answers there. ERR_TIMEOUT. ERR_INVALID: not such an address, or the answer is no HTTP. */
RESULT probe_get(const char *address, const char *path, uint64_t timeout_ms, int *ret_status, struct buf *body, struct err *e);
