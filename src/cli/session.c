#include "cli/session.h"

#include "base/fs.h"
#include "cli/running.h"
#include "net/authority.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { STRINGS_MAX = 64 * 1024, BACKLOG = 16, SOCKETS_FROM = 3, WORDS_MAX = 80 };

struct session {
        struct client *client;          /* owned */
        pid_t registry;                 /* ours; 0: another one */
        char folder[64];                /* of the socket; "": none */
        struct sockaddr_un socket;
};

struct client *session_client(struct session *session)
{
        return session->client;
}

/* --- A registry that runs --------------------------------------------------------------------------------------------- */

static RESULT read_certificate(const struct settings *settings, struct buf *pem, struct err *e)
{
        char path[PATH_MAX];

        if (settings->tls == TLS_SOURCE_FILES)
                return fs_read_file(settings->tls_cert, pem, e);
        if ((size_t)snprintf(path, sizeof path, "%s/tls/server.crt", settings->data) >= sizeof path)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s", settings->data);
        return fs_read_file(path, pem, e);
}

static const char *best_address(const struct running *running)
{
        for (size_t i = 0; i < running->count; i++)
                if (slice_starts(slice_from(running->addresses[i]), S("unix:")))
                        return running->addresses[i];
        return running->addresses[0];
}

static RESULT join(struct session *session, const struct settings *settings, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(STRINGS_MAX);
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);
        struct running running;
        const char *address;

        TRY(running_read(settings->data, &arena, &running, e));
        if (running.count == 0)
                return FAIL(e, ERR_BUSY, 0, "another orlop uses the folder %s; try again when it has ended", settings->data);
        address = best_address(&running);
        if (slice_starts(slice_from(address), S("https:")))
                TRY(read_certificate(settings, &pem, e));
        return client_new(address, buf_slice(&pem), &session->client, e);
}

/* --- A registry of our own -------------------------------------------------------------------------------------------- */

static RESULT listen_privately(struct session *session, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(session->folder, sizeof session->folder, "/tmp/orlop-XXXXXX");
        if (!mkdtemp(session->folder)) {
                session->folder[0] = 0;
                return FAIL(e, ERR_IO, errno, "make a folder in /tmp");
        }
        session->socket.sun_family = AF_UNIX;
        snprintf(session->socket.sun_path, sizeof session->socket.sun_path, "%s/socket", session->folder);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&session->socket, sizeof session->socket) < 0 || listen(fd, BACKLOG) < 0)
                return FAIL(e, ERR_IO, errno, "listen on %s", session->socket.sun_path);
        *ret_fd = TAKE_FD(fd);
        return OK;
}

/* The settings of the command line are the registry's too, but for those that would make it more than ours. */
static size_t put_words(const struct invocation *in, const struct settings *settings, struct arena *arena, const char **words)
{
        const char *const own[] = { "orlop", "serve", "--tls=off", "--log-level=warn", "--idle-timeout=1d", "--body-rate=0" };
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(own); i++)
                words[n++] = own[i];
        for (size_t i = 0; i < in->settings.flag_count && n + 2 < WORDS_MAX; i++) {
                const struct settings_flag *flag = &in->settings.flags[i];
                enum setting_id id = flag->id;

                if (id != SETTING_ID_tls && id != SETTING_ID_log_level && id != SETTING_ID_idle_timeout_ms && id != SETTING_ID_data)
                        words[n++] = arena_printf(arena, "--%s=%s", settings_table[id].name, flag->value).p;
        }
        words[n++] = arena_printf(arena, "--data=%s", settings->data).p;
        words[n] = NULL;
        return n;
}

/* What a signal must not leave behind. */
static struct session *volatile signalled;

static void end_by_signal(int signal_number)
{
        struct session *session = signalled;

        if (session->registry > 0)
                kill(session->registry, SIGTERM);
        unlink(session->socket.sun_path);
        rmdir(session->folder);
        _exit(128 + signal_number);
}

static void heed_signals(struct session *session)
{
        struct sigaction action = { .sa_handler = session ? end_by_signal : SIG_DFL };
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

        if (session)
                signalled = session;
        for (size_t i = 0; i < ARRAY_LEN(signals); i++)
                sigaction(signals[i], &action, NULL);
}

/* In the child: the socket is handed over as systemd does (sd_listen_fds(3)). */
_Noreturn static void become_registry(int listen_fd, const char *const *words)
{
        char pid[32];
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGTERM);      /* of a parent that is killed */
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        unsetenv("LISTEN_FDNAMES");
        unsetenv("NOTIFY_SOCKET");
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (listen_fd == SOCKETS_FROM)
                fcntl(listen_fd, F_SETFD, 0);
        else
                dup2(listen_fd, SOCKETS_FROM);
        execv("/proc/self/exe", (char *const *)(uintptr_t)words);      /* only read */
        fprintf(stderr, "orlop: cannot start a registry: %m\n");
        _exit(127);
}

static RESULT start(struct session *session, const struct invocation *in, const struct settings *settings, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(STRINGS_MAX);
        _cleanup_fd_ int fd = -1;
        const char *words[WORDS_MAX];
        char address[sizeof session->socket.sun_path + 8];

        TRY(listen_privately(session, &fd, e));
        for (size_t i = 0, n = put_words(in, settings, &arena, words); i < n; i++)
                if (!words[i])
                        return FAIL(e, ERR_NOMEM, 0, "too little memory to start a registry");
        session->registry = fork();
        if (session->registry == 0)
                become_registry(fd, words);
        heed_signals(session);
        if (session->registry < 0) {
                session->registry = 0;
                return FAIL(e, ERR_IO, errno, "start a registry");
        }
        snprintf(address, sizeof address, "unix:%s", session->socket.sun_path);
        return client_new(address, S(""), &session->client, e);
}

/* --- Either ----------------------------------------------------------------------------------------------------------- */

static bool has_file(const struct settings *settings, const char *name)
{
        char path[PATH_MAX];

        return (size_t)snprintf(path, sizeof path, "%s/%s", settings->data, name) < sizeof path && access(path, F_OK) == 0;
}

static RESULT must_be_there(const struct settings *settings, struct err *e)
{
        if (has_file(settings, "orlop.db"))
                return OK;
        return FAIL(e, ERR_NOT_FOUND, 0, "there is no registry in the folder %s", settings->data);
}

/* The lock tells whether one runs; it is given back at once, for the registry that is started takes it. It is not made here: it
 * must belong to the owner of the folder, who may be another user. */
static RESULT open_either(struct session *session, const struct invocation *in, const struct settings *settings, struct err *e)
{
        _cleanup_fd_ int lock_fd = -1;

        if (has_file(settings, "lock") && !running_lock(settings->data, &lock_fd, e).ok)
                return e->code == ERR_BUSY ? join(session, settings, e) : FAILED;
        cleanup_fd(&lock_fd);
        lock_fd = -1;
        return start(session, in, settings, e);
}

RESULT session_open(const struct invocation *in, const struct settings *settings, bool must_exist, struct session **ret_session,
                    struct err *e)
{
        _cleanup_(session_freep) struct session *session = calloc(1, sizeof *session);

        if (!session)
                return FAIL(e, ERR_NOMEM, ENOMEM, "talk to the registry");
        if (must_exist)
                TRY(must_be_there(settings, e));
        TRY(open_either(session, in, settings, e));
        *ret_session = TAKE_PTR(session);
        return OK;
}

static bool end_registry(struct session *session)
{
        int status = 0;

        if (session->registry == 0)
                return true;
        kill(session->registry, SIGTERM);
        while (waitpid(session->registry, &status, 0) < 0 && errno == EINTR)
                continue;
        session->registry = 0;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

RESULT session_close(struct session *session, struct err *e)
{
        client_free(TAKE_PTR(session->client));
        return end_registry(session) ? OK : FAIL(e, ERR_IO, 0, "the registry on the folder did not end well");
}

void session_free(struct session *session)
{
        if (!session)
                return;
        client_free(session->client);
        end_registry(session);
        if (*session->folder) {
                heed_signals(NULL);
                unlink(session->socket.sun_path);
                rmdir(session->folder);
        }
        free(session);
}
