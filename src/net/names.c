#include "net/names.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>

enum { HOSTS_FILE_MAX = 1024 * 1024, DNS_LABEL_MAX = 63 };

void names_fini(struct names *names)
{
        arena_fini(&names->arena);
        names->count = 0;
}

/* --- One name --------------------------------------------------------------------------------------------------------- */

static bool is_label(struct slice label)
{
        if (label.n == 0 || label.n > DNS_LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
                return false;
        for (size_t i = 0; i < label.n; i++) {
                char c = label.p[i];

                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
                        return false;
        }
        return true;
}

bool names_is_dns(struct slice text)
{
        struct slice rest = slice_starts(text, S("*.")) ? slice_skip(text, 2) : text, label;

        if (text.n == 0 || text.n > NAME_LENGTH_MAX)
                return false;
        while (slice_next(&rest, '.', &label))
                if (!is_label(label))
                        return false;
        return true;
}

static bool parse_ip(int family, struct slice text, unsigned char ret_address[static sizeof(struct in6_addr)])
{
        char copy[INET6_ADDRSTRLEN];

        return slice_to_cstr(text, copy, sizeof copy) && inet_pton(family, copy, ret_address) == 1;
}

bool names_is_ip(int family, struct slice text)
{
        unsigned char address[sizeof(struct in6_addr)];

        return parse_ip(family, text, address);
}

static bool normalise(struct slice name, char out[static NAME_LENGTH_MAX + 1])
{
        unsigned char address[sizeof(struct in6_addr)];

        if (parse_ip(AF_INET, name, address))
                return inet_ntop(AF_INET, address, out, NAME_LENGTH_MAX + 1);
        if (parse_ip(AF_INET6, name, address))
                return inet_ntop(AF_INET6, address, out, NAME_LENGTH_MAX + 1);
        if (slice_ends(name, S(".")))           /* the root's dot has no place in a certificate */
                name.n--;
        if (!names_is_dns(name))
                return false;
        CHECK(name.p);
        for (size_t i = 0; i < name.n; i++)
                out[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] - 'A' + 'a') : name.p[i];
        out[name.n] = 0;
        return true;
}

void names_add(struct names *names, struct slice name)
{
        char text[NAME_LENGTH_MAX + 1];
        struct slice copy;
        size_t at = 0;

        if (names->count == NAMES_MAX || !normalise(name, text))
                return;
        while (at < names->count && strcmp(names->items[at], text) < 0)
                at++;
        if (at < names->count && strcmp(names->items[at], text) == 0)
                return;
        copy = arena_copy(&names->arena, slice_from(text));
        if (!copy.p)
                return;
        memmove(&names->items[at + 1], &names->items[at], (names->count - at) * sizeof names->items[0]);
        names->items[at] = copy.p;
        names->count++;
}

bool names_equal(const struct names *a, const struct names *b)
{
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (strcmp(a->items[i], b->items[i]) != 0)
                        return false;
        return true;
}

/* --- The machine's own ------------------------------------------------------------------------------------------------ */

static bool next_word(struct slice *line, struct slice *ret_word)
{
        struct slice text = slice_trim(*line);
        size_t n = 0;

        while (n < text.n && text.p[n] != ' ' && text.p[n] != '\t')
                n++;
        *ret_word = slice_head(text, n);
        *line = slice_skip(text, n);
        return n > 0;
}

/* The first name with a dot on a line that holds `host`; the address in front is no name. */
static struct slice full_name_on_line(struct slice line, struct slice host)
{
        struct slice word, full = SLICE_NONE;
        bool found = false;

        if (!next_word(&line, &word))
                return SLICE_NONE;
        while (next_word(&line, &word)) {
                found = found || slice_eq_nocase(word, host);
                if (!full.p && memchr(word.p, '.', word.n))
                        full = word;
        }
        return found ? full : SLICE_NONE;
}

struct slice names_in_hosts_file(struct slice text, struct slice host)
{
        struct slice line, full;

        while (slice_next(&text, '\n', &line)) {
                struct slice before = line;

                if (slice_cut(&line, '#', &before))
                        line = before;
                full = full_name_on_line(line, host);
                if (full.p)
                        return full;
        }
        return SLICE_NONE;
}

static void add_host_name(struct names *names)
{
        _cleanup_(buf_fini) struct buf hosts = BUF_INIT(HOSTS_FILE_MAX);
        char host[HOST_NAME_MAX + 1] = "";
        struct slice name, rest, label;
        struct err unused;

        if (gethostname(host, sizeof host - 1) < 0 || !*host)
                return;
        name = rest = slice_from(host);
        names_add(names, name);
        if (slice_cut(&rest, '.', &label))
                names_add(names, label);
        else if (fs_read_file("/etc/hosts", &hosts, &unused).ok)       /* one without such a file has no full name */
                names_add(names, names_in_hosts_file(buf_slice(&hosts), name));
}

/* Link-local IPv6 addresses mean something only together with an interface of the client's, which no certificate can name. */
static void add_address(struct names *names, const struct sockaddr *address)
{
        const struct sockaddr_in6 *v6 = (const void *)address;
        const struct sockaddr_in *v4 = (const void *)address;
        char text[INET6_ADDRSTRLEN] = "";

        if (address->sa_family == AF_INET)
                inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        else if (address->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
                inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        names_add(names, slice_from(text));
}

void names_add_machine(struct names *names)
{
        struct ifaddrs *list;

        names_add(names, S("localhost"));
        names_add(names, S("127.0.0.1"));
        names_add(names, S("::1"));
        add_host_name(names);
        if (getifaddrs(&list) < 0)
                return;
        for (const struct ifaddrs *at = list; at; at = at->ifa_next)
                if (at->ifa_addr)
                        add_address(names, at->ifa_addr);
        freeifaddrs(list);
}
