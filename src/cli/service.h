/* systemd's side of a service: sockets that it hands over (sd_listen_fds(3)) and what it is told (sd_notify(3)). Both are a few
 * lines over environment variables, which costs less than the library does in memory and start-up time. Without systemd
 * nothing happens. Main thread. */
#pragma once

#include "base/err.h"

enum { SERVICE_SOCKETS_MAX = 32 };

/* Listening stream sockets; they belong to the caller, and later programs do not get them. ERR_INVALID: one is something else. */
RESULT service_take_sockets(int ret_fds[static SERVICE_SOCKETS_MAX], size_t *ret_count, struct err *e);

/* "READY=1", "STOPPING=1"; lines separated by newlines. Not heard is not failed. */
void service_notify(const char *state);
void service_notify_reloading(void);

/* Does this descriptor go to the journal? */
bool service_is_journal(int fd);
