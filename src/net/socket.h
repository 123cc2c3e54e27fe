/* Sockets: addresses as users write them, listening, accepting. Any thread; nothing here blocks but name lookup. */
#pragma once

#include "base/err.h"

enum { SOCKET_ADDRESS_MAX = 160, SOCKET_LISTENERS_MAX = 32 };

struct socket_address {
        char s[SOCKET_ADDRESS_MAX];     /* "192.0.2.1:5000", "[2001:db8::1]:5000", "unix:/run/orlop.sock", "unix" */
};

/* Listens on "host:port", "[v6]:port", ":port" (all addresses) or "unix:/path". A host name may stand for several addresses, each gets
 * a socket: at most `max` of them go to ret_fds. An address is bound alone, never shared with another process. A unix socket
 * that nobody listens on any more is replaced. ERR_INVALID: not an address. ERR_EXISTS: in use; the message names it. */
RESULT socket_listen(struct slice address, int *ret_fds, size_t max, size_t *ret_count, struct err *e);

/* The address that a socket is bound to, as socket_listen() takes it. */
void socket_local_address(int fd, struct socket_address *ret_address);

/* Takes the next connection, non-blocking. ERR_NOT_FOUND: none waits. ERR_LIMIT: out of descriptors or memory, try later. */
RESULT socket_accept(int listen_fd, int *ret_fd, struct socket_address *ret_peer, struct err *e);
