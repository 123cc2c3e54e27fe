#include "net/socket.h"

#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { BACKLOG = 4096, HOST_MAX = 256 };

union any_address {
        struct sockaddr generic;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
        struct sockaddr_storage room;
};

/* --- Text ------------------------------------------------------------------------------------------------------------- */

static void format_address(const union any_address *address, socklen_t n, bool with_path, struct socket_address *ret_address)
{
        char host[INET6_ADDRSTRLEN] = "?";

        switch (address->generic.sa_family) {
        case AF_INET:
                inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
                snprintf(ret_address->s, sizeof ret_address->s, "%s:%u", host, ntohs(address->v4.sin_port));
                return;
        case AF_INET6:
                inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
                snprintf(ret_address->s, sizeof ret_address->s, "[%s]:%u", host, ntohs(address->v6.sin6_port));
                return;
        case AF_UNIX:
                if (with_path && n > offsetof(struct sockaddr_un, sun_path) && address->local.sun_path[0])
                        snprintf(ret_address->s, sizeof ret_address->s, "unix:%.*s",
                                 (int)(n - offsetof(struct sockaddr_un, sun_path)), address->local.sun_path);
                else
                        snprintf(ret_address->s, sizeof ret_address->s, "unix");
                return;
        default:
                snprintf(ret_address->s, sizeof ret_address->s, "unknown");
        }
}

void socket_local_address(int fd, struct socket_address *ret_address)
{
        union any_address address = { .generic.sa_family = AF_UNSPEC };
        socklen_t n = sizeof address;

        getsockname(fd, &address.generic, &n);
        format_address(&address, n, true, ret_address);
}

/* --- Listening -------------------------------------------------------------------------------------------------------- */

static RESULT bind_and_listen(int fd, const struct sockaddr *address, socklen_t n, struct slice text, struct err *e)
{
        if (bind(fd, address, n) < 0) {
                if (errno == EADDRINUSE)
                        return FAIL(e, ERR_EXISTS, 0, "%.*s is in use by another process; choose another address, or end that process",
                                    SLICE_ARG(text));
                return FAIL(e, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "cannot listen on %.*s", SLICE_ARG(text));
        }
        if (listen(fd, BACKLOG) < 0)
                return FAIL(e, errno == EADDRINUSE ? ERR_EXISTS : ERR_IO, errno, "cannot listen on %.*s", SLICE_ARG(text));
        return OK;
}

static RESULT listen_inet(const struct addrinfo *info, struct slice text, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int on = 1;

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "make a socket for %.*s", SLICE_ARG(text));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);       /* old connections of a stopped daemon do not count */
        if (info->ai_family == AF_INET6)
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        TRY(bind_and_listen(fd, info->ai_addr, info->ai_addrlen, text, e));
        *ret_fd = TAKE_FD(fd);
        return OK;
}

/* "host:port" in its parts; an IPv6 address stands in brackets. */
static RESULT split(struct slice text, char host[static HOST_MAX], char port[static 16], struct err *e)
{
        struct slice rest = text, name;
        uint64_t number;

        if (slice_starts(rest, S("["))) {
                rest = slice_skip(rest, 1);
                if (!slice_cut(&rest, ']', &name) || !slice_starts(rest, S(":")))
                        return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write [IPv6]:PORT", SLICE_ARG(text));
                rest = slice_skip(rest, 1);
        } else if (!slice_cut(&rest, ':', &name) || memchr(rest.p, ':', rest.n)) {
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address: write HOST:PORT or [IPv6]:PORT", SLICE_ARG(text));
        }
        if (!slice_to_u64(rest, &number) || number > 65535 || !slice_to_cstr(rest, port, 16))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": the port must be a number from 0 to 65535", SLICE_ARG(text));
        if (!slice_to_cstr(name, host, HOST_MAX))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": the host's name is too long", SLICE_ARG(text));
        return OK;
}

static void freeaddrinfo_at(struct addrinfo **list)
{
        if (*list)
                freeaddrinfo(*list);
}

static RESULT listen_host(struct slice text, int *ret_fds, size_t max, size_t *ret_count, struct err *e)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        _cleanup_(freeaddrinfo_at) struct addrinfo *list = NULL;
        char host[HOST_MAX], port[16];
        int error;

        TRY(split(text, host, port, e));
        error = getaddrinfo(*host ? host : NULL, port, &hints, &list);
        if (error)
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": %s", SLICE_ARG(text), gai_strerror(error));
        for (const struct addrinfo *info = list; info && *ret_count < max; info = info->ai_next) {
                if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
                        continue;
                TRY(listen_inet(info, text, &ret_fds[*ret_count], e));
                ++*ret_count;
        }
        return OK;
}

/* Nobody answers there any more: a daemon that was killed left it behind. */
static bool is_abandoned(const struct sockaddr_un *address, socklen_t n)
{
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
               connect(fd, (const struct sockaddr *)address, n) < 0 && errno == ECONNREFUSED;
}

static RESULT listen_unix(struct slice text, struct slice path, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);

        if (path.n == 0 || path.p[0] != '/' || !slice_to_cstr(path, address.sun_path, sizeof address.sun_path))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\": a unix socket needs an absolute path of at most %zu bytes", SLICE_ARG(text),
                            sizeof address.sun_path - 1);
        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "make a socket for %.*s", SLICE_ARG(text));
        if (is_abandoned(&address, n))
                unlink(address.sun_path);
        TRY(bind_and_listen(fd, (struct sockaddr *)&address, n, text, e));
        *ret_fd = TAKE_FD(fd);
        return OK;
}

RESULT socket_listen(struct slice address, int *ret_fds, size_t max, size_t *ret_count, struct err *e)
{
        size_t count = 0;
        struct result result;

        CHECK(max > 0);
        if (slice_starts(address, S("unix:"))) {
                TRY(listen_unix(address, slice_skip(address, 5), &ret_fds[0], e));
                *ret_count = 1;
                return OK;
        }
        result = listen_host(address, ret_fds, max, &count, e);
        if (!result.ok)
                while (count)
                        close(ret_fds[--count]);
        else
                *ret_count = count;
        return result;
}

/* --- Accepting -------------------------------------------------------------------------------------------------------- */

RESULT socket_accept(int listen_fd, int *ret_fd, struct socket_address *ret_peer, struct err *e)
{
        union any_address peer = { .generic.sa_family = AF_UNSPEC };
        socklen_t n = sizeof peer;
        int fd, on = 1;

        do
                fd = accept4(listen_fd, &peer.generic, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
        if (fd < 0) {
                if (errno == EAGAIN)
                        return FAIL(e, ERR_NOT_FOUND, 0, "no connection waits");
                return FAIL(e, errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? ERR_LIMIT : ERR_IO, errno,
                            "accept a connection");
        }
        if (peer.generic.sa_family != AF_UNIX) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        }
        format_address(&peer, n, false, ret_peer);
        *ret_fd = fd;
        return OK;
}
