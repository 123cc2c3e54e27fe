/* The names that a server certificate holds: DNS names and IP addresses, each once, in the form in which they are compared
 * (lower case; addresses as inet_ntop() writes them), in order.
 *
 *      _cleanup_(names_fini) struct names names = NAMES_INIT;
 *
 *      names_add(&names, S("registry.example.org"));
 *      names_add_machine(&names);             host name, "localhost", every address
 *
 * What cannot stand in a certificate (RFC 5280, 4.2.1.6) is passed over, and so is what comes after NAMES_MAX: a machine can
 * have thousands of addresses, a handshake cannot. Not for several threads at once. */
#pragma once

#include "base/arena.h"

enum { NAMES_MAX = 256, NAME_LENGTH_MAX = 253 };

struct names {
        const char *items[NAMES_MAX];   /* in the arena */
        size_t count;
        struct arena arena;
};

#define NAMES_INIT ((struct names){ .arena = ARENA_INIT(NAMES_MAX * (NAME_LENGTH_MAX + 19)) })

void names_fini(struct names *names);
void names_add(struct names *names, struct slice name);
/* Asks the kernel and /etc/hosts, never a name server: that could take long, and a start must not wait for it. */
void names_add_machine(struct names *names);
/* The full name that a hosts file (hosts(5)) gives to `host`: the first name with a dot on the lines that hold it. */
struct slice names_in_hosts_file(struct slice text, struct slice host);
/* "*." may stand before a DNS name. `family` is AF_INET or AF_INET6. */
bool names_is_dns(struct slice text);
bool names_is_ip(int family, struct slice text);
bool names_equal(const struct names *a, const struct names *b);
