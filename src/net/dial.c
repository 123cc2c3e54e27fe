#include "net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HOST_TEXT_MAX = 64 };

union endpoint {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
};

/* --- Where ------------------------------------------------------------------------------------------------------------ */

static bool parse_unix(struct slice path, union endpoint *ret_to, socklen_t *ret_n)
{
        ret_to->local.sun_family = AF_UNIX;
        *ret_n = sizeof ret_to->local;
        return slice_to_cstr(path, ret_to->local.sun_path, sizeof ret_to->local.sun_path);
}

static bool parse_v6(const char *host, uint64_t port, union endpoint *ret_to, socklen_t *ret_n)
{
        ret_to->v6.sin6_family = AF_INET6;
        ret_to->v6.sin6_port = htons((uint16_t)port);
        *ret_n = sizeof ret_to->v6;
        if (inet_pton(AF_INET6, host, &ret_to->v6.sin6_addr) != 1)
                return false;
        if (IN6_IS_ADDR_UNSPECIFIED(&ret_to->v6.sin6_addr))
                ret_to->v6.sin6_addr = in6addr_loopback;
        return true;
}

static bool parse_v4(const char *host, uint64_t port, union endpoint *ret_to, socklen_t *ret_n)
{
        ret_to->v4.sin_family = AF_INET;
        ret_to->v4.sin_port = htons((uint16_t)port);
        *ret_n = sizeof ret_to->v4;
        if (inet_pton(AF_INET, host, &ret_to->v4.sin_addr) != 1)
                return false;
        if (ret_to->v4.sin_addr.s_addr == htonl(INADDR_ANY))
                ret_to->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return true;
}

/* "127.0.0.1:5000", "[::1]:5000" */
static bool parse_inet(struct slice text, union endpoint *ret_to, socklen_t *ret_n)
{
        bool v6 = slice_starts(text, S("["));
        char host[HOST_TEXT_MAX];
        struct slice part;
        uint64_t port;

        if (v6)
                text = slice_skip(text, 1);
        if (!slice_cut(&text, v6 ? ']' : ':', &part) || !slice_to_cstr(part, host, sizeof host))
                return false;
        if (v6 && slice_starts(text, S(":")))
                text = slice_skip(text, 1);
        if (!slice_to_u64(text, &port) || port == 0 || port > UINT16_MAX)
                return false;
        return v6 ? parse_v6(host, port, ret_to, ret_n) : parse_v4(host, port, ret_to, ret_n);
}

static bool parse(struct slice address, union endpoint *ret_to, socklen_t *ret_n, bool *ret_tls)
{
        *ret_tls = slice_starts(address, S("https://"));
        if (*ret_tls)
                return parse_inet(slice_skip(address, strlen("https://")), ret_to, ret_n);
        if (slice_starts(address, S("http://")))
                return parse_inet(slice_skip(address, strlen("http://")), ret_to, ret_n);
        return slice_starts(address, S("unix:")) && parse_unix(slice_skip(address, strlen("unix:")), ret_to, ret_n);
}

/* --- Connecting ------------------------------------------------------------------------------------------------------- */

struct result dial_fail(struct err *e, const char *address, const char *step)
{
        if (errno == EAGAIN || errno == EINPROGRESS)
                return FAIL(e, ERR_TIMEOUT, 0, "%s does not answer in time (%s)", address, step);
        return FAIL(e, ERR_CLOSED, errno, "nobody answers at %s", address);
}

RESULT dial(const char *address, uint64_t timeout_ms, int *ret_fd, bool *ret_tls, struct err *e)
{
        struct timeval timeout = { (time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000 * 1000) };
        union endpoint to = { .any.sa_family = AF_UNSPEC };
        _cleanup_fd_ int fd = -1;
        socklen_t n = 0;

        if (!parse(slice_from(address), &to, &n, ret_tls))
                return FAIL(e, ERR_INVALID, 0, "\"%s\" is not an address of a registry on this machine", address);
        fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "make a socket");
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);     /* connect(2) too */
        if (connect(fd, &to.any, n) < 0)
                return dial_fail(e, address, "connecting");
        *ret_fd = TAKE_FD(fd);
        return OK;
}

RESULT dial_tls(int fd, const char *address, SSL **ret_ssl, struct err *e)
{
        _cleanup_(SSL_CTX_freep) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        _cleanup_(SSL_freep) SSL *ssl = context ? SSL_new(context) : NULL;

        if (!ssl || !SSL_set_fd(ssl, fd))
                return FAIL(e, ERR_NOMEM, 0, "too little memory for TLS");
        SSL_set_options(ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
        errno = 0;
        if (SSL_connect(ssl) != 1) {
                const char *reason = ERR_reason_error_string(ERR_peek_last_error());

                ERR_clear_error();
                if (errno)
                        return dial_fail(e, address, "TLS");
                return FAIL(e, ERR_CLOSED, 0, "no TLS with %s: %s", address, reason ? reason : "it hung up");
        }
        *ret_ssl = TAKE_PTR(ssl);
        return OK;
}
