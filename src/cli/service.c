#include "cli/service.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { FIRST_SOCKET = 3 };

static bool number_in(const char *variable, uint64_t *ret_number)
{
        const char *text = getenv(variable);

        return text && slice_to_u64(slice_from(text), ret_number);
}

static bool is_listening_stream(int fd)
{
        int type = 0, listening = 0;
        socklen_t n = sizeof type;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM)
                return false;
        n = sizeof listening;
        return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) == 0 && listening;
}

RESULT service_take_sockets(int ret_fds[static SERVICE_SOCKETS_MAX], size_t *ret_count, struct err *e)
{
        uint64_t pid, count;

        *ret_count = 0;
        if (!number_in("LISTEN_PID", &pid) || pid != (uint64_t)getpid() || !number_in("LISTEN_FDS", &count))
                return OK;
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
        if (count > SERVICE_SOCKETS_MAX)
                return FAIL(e, ERR_INVALID, 0, "systemd handed over %llu sockets; %d are possible", (unsigned long long)count,
                            SERVICE_SOCKETS_MAX);
        for (int i = 0; i < (int)count; i++) {
                int fd = FIRST_SOCKET + i;

                if (!is_listening_stream(fd))
                        return FAIL(e, ERR_INVALID, 0, "socket %d that systemd handed over is no listening stream socket", i + 1);
                if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                        return FAIL(e, ERR_IO, errno, "take over socket %d of systemd", i + 1);
                ret_fds[i] = fd;
        }
        *ret_count = (size_t)count;
        return OK;
}

void service_notify(const char *state)
{
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t n = path ? strlen(path) : 0;
        _cleanup_fd_ int fd = -1;

        if (n < 2 || n >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
                return;
        memcpy(address.sun_path, path, n);
        if (path[0] == '@')             /* an abstract socket's name begins with a NUL */
                address.sun_path[0] = 0;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
                sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
}

void service_notify_reloading(void)
{
        char state[64];

        snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
        service_notify(state);
}

bool service_is_journal(int fd)
{
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat st;
        char text[64];

        if (!stream || fstat(fd, &st) < 0)
                return false;
        snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        return strcmp(stream, text) == 0;
}
