/* The lock of a data folder, and what it tells about the registry that runs there.
 *
 *      <data>/lock     the process id, and the addresses it listens on, a line each:
 *                              4711
 *                              https://127.0.0.1:5000
 *                              unix:/run/orlop.sock
 *
 * Any thread; blocks. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

enum { RUNNING_ADDRESSES_MAX = 64 };

/* Held until *ret_fd is closed. ERR_BUSY: another process holds it; the message names its pid and the folder. */
RESULT running_lock(const char *data_dir, int *ret_fd, struct err *e);
/* Writes the addresses into the lock that is held. */
RESULT running_announce(int lock_fd, const char *const *addresses, size_t count, struct err *e);

struct running {
        uint64_t pid;
        const char *addresses[RUNNING_ADDRESSES_MAX];   /* in the arena */
        size_t count;
};
/* What the last registry on this folder wrote; it may have ended since. ERR_NOT_FOUND: none ever ran. */
RESULT running_read(const char *data_dir, struct arena *arena, struct running *ret_running, struct err *e);
