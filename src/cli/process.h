/* What a daemon does to its own process before it begins. Called once each, by the main thread, before other threads exist. */
#pragma once

#include "base/err.h"

/* Standard files are open, a write to a closed connection is an error and not a signal, what is made is private to the user
 * (umask), a crash leaves no copy of the keys on the disk, and the allocator keeps few arenas. */
void process_prepare(void);

/* Where root runs on a folder that belongs to somebody else, it becomes that user: what it makes must be usable by the
 * registry that usually runs there. ERR_IO: it cannot. */
RESULT process_become_owner_of(const char *folder, bool *ret_changed, struct err *e);

/* Raises the number of descriptors as far as is allowed; returns it. */
uint64_t process_raise_descriptors(void);

/* SIGTERM, SIGINT and SIGHUP no longer interrupt anything: they are read from *ret_fd (signalfd(2)). */
RESULT process_take_signals(int *ret_fd, struct err *e);
/* From here on SIGTERM and SIGINT end the process at once. */
void process_release_signals(void);

/* Gives memory back that is not in use: free heap, and the mapped pages of program and libraries, which the kernel maps again as
 * they are needed, without the disk. (Setting TLS up runs through megabytes of OpenSSL that serving never sees again.) Any thread. */
void process_give_back(void);
