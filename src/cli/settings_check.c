#include "cli/settings_check.h"

#include <arpa/inet.h>
#include <sys/un.h>

enum { DNS_NAME_MAX = 253, DNS_LABEL_MAX = 63 };

static bool is_ip(int family, struct slice text)
{
        char copy[INET6_ADDRSTRLEN];
        unsigned char address[sizeof(struct in6_addr)];

        return slice_to_cstr(text, copy, sizeof copy) && inet_pton(family, copy, address) == 1;
}

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

static bool is_number(struct slice text)
{
        uint64_t value;

        return slice_to_u64(text, &value);
}

/* A last label of digits alone would be an IP address that was mistyped. */
static bool is_dns_name(struct slice name)
{
        struct slice label = SLICE_NONE;

        if (name.n == 0 || name.n > DNS_NAME_MAX)
                return false;
        while (slice_next(&name, '.', &label))
                if (!is_label(label))
                        return false;
        return !is_number(label);
}

static RESULT check_port(struct slice address, struct slice port, struct err *e)
{
        uint64_t value;

        if (!slice_to_u64(port, &value) || value > 65535)
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": the port must be a number from 0 to 65535", SLICE_ARG(address));
        return OK;
}

static RESULT check_unix(struct slice address, struct err *e)
{
        struct slice path = slice_skip(address, strlen("unix:"));

        if (path.n == 0 || path.p[0] != '/' || path.n >= sizeof((struct sockaddr_un *)NULL)->sun_path)
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": a unix socket needs an absolute path of at most %zu bytes",
                            SLICE_ARG(address), sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
        return OK;
}

RESULT check_address(struct slice value, struct err *e)
{
        struct slice rest = value, host;

        if (slice_starts(value, S("unix:")))
                return check_unix(value, e);
        if (slice_starts(value, S("["))) {
                rest = slice_skip(rest, 1);
                if (!slice_cut(&rest, ']', &host) || !is_ip(AF_INET6, host) || !slice_starts(rest, S(":")))
                        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write [IPV6]:PORT", SLICE_ARG(value));
                return check_port(value, slice_skip(rest, 1), e);
        }
        if (is_ip(AF_INET6, value))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" has no port: write [IPV6]:PORT", SLICE_ARG(value));
        if (!slice_cut(&rest, ':', &host))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write HOST:PORT, [IPV6]:PORT or unix:/PATH",
                            SLICE_ARG(value));
        if (host.n && !is_ip(AF_INET, host) && !is_dns_name(host))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": the part before the port is neither a host name nor an IP address",
                            SLICE_ARG(value));
        return check_port(value, rest, e);
}

RESULT check_name(struct slice value, struct err *e)
{
        struct slice name = slice_starts(value, S("*.")) ? slice_skip(value, 2) : value;

        if (is_ip(AF_INET, value) || is_ip(AF_INET6, value) || is_dns_name(name))
                return OK;
        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is neither a DNS name nor an IP address (no port, no brackets, no https://)",
                    SLICE_ARG(value));
}

/* HOST or HOST:PORT */
static bool is_host_and_port(struct slice text)
{
        struct err unused;

        if (slice_starts(text, S("[")) && slice_ends(text, S("]")))
                return is_ip(AF_INET6, slice_head(slice_skip(text, 1), text.n - 2));
        if (is_ip(AF_INET, text) || is_dns_name(text))
                return true;
        return !slice_starts(text, S(":")) && !slice_starts(text, S("unix:")) && check_address(text, &unused).ok;
}

RESULT check_origin(struct slice value, struct err *e)
{
        struct slice rest = value;

        if (slice_eq(value, S("*")))
                return OK;
        if (slice_starts(value, S("https://")))
                rest = slice_skip(value, strlen("https://"));
        else if (slice_starts(value, S("http://")))
                rest = slice_skip(value, strlen("http://"));
        if (rest.p == value.p || !is_host_and_port(rest))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an origin: write https://HOST or https://HOST:PORT, or * for all",
                            SLICE_ARG(value));
        return OK;
}
