#include "cli/settings_check.h"

#include "net/names.h"

#include <sys/socket.h>
#include <sys/un.h>

/* A last label of digits alone would be an IP address that was mistyped. */
static bool is_host_name(struct slice name)
{
        struct slice rest = name, label = name;
        uint64_t number;

        while (slice_next(&rest, '.', &label))
                ;
        return names_is_dns(name) && !slice_to_u64(label, &number);
}

static bool is_host(struct slice text)
{
        return names_is_ip(AF_INET, text) || (is_host_name(text) && text.p[0] != '*');
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
                if (!slice_cut(&rest, ']', &host) || !names_is_ip(AF_INET6, host) || !slice_starts(rest, S(":")))
                        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write [IPV6]:PORT", SLICE_ARG(value));
                return check_port(value, slice_skip(rest, 1), e);
        }
        if (names_is_ip(AF_INET6, value))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" has no port: write [IPV6]:PORT", SLICE_ARG(value));
        if (!slice_cut(&rest, ':', &host))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write HOST:PORT, [IPV6]:PORT or unix:/PATH",
                            SLICE_ARG(value));
        if (host.n && !is_host(host))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": the part before the port is neither a host name nor an IP address",
                            SLICE_ARG(value));
        return check_port(value, rest, e);
}

RESULT check_name(struct slice value, struct err *e)
{
        if (names_is_ip(AF_INET, value) || names_is_ip(AF_INET6, value) || is_host_name(value))
                return OK;
        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is neither a DNS name nor an IP address (no port, no brackets, no https://)",
                    SLICE_ARG(value));
}

/* HOST or HOST:PORT */
static bool is_host_and_port(struct slice text)
{
        struct err unused;

        if (slice_starts(text, S("[")) && slice_ends(text, S("]")))
                return names_is_ip(AF_INET6, slice_head(slice_skip(text, 1), text.n - 2));
        if (is_host(text))
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
