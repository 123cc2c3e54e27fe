#include "cli/control.h"

#include "base/clock.h"
#include "cli/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum {
        CONNECTIONS_MAX = 8,
        REQUEST_TIMEOUT_MS = 10000,     /* for all of it */
        ANSWER_TIMEOUT_S = 30,          /* without progress of the one who reads */
        NO_DESCRIPTOR_MS = 100,         /* until somebody is accepted again */
        ARENA_BYTES = 256 * 1024,
        STACK_BYTES = 256 * 1024,
};

struct control {
        struct control_config config;
        int fd;                         /* owned */
        _Atomic uint64_t disk_reserve_bytes;
        pthread_mutex_t lock;
        pthread_cond_t gone;
        int clients[CONNECTIONS_MAX];   /* of the connections that are served; -1: a free place */
};

struct client {
        struct control *control;
        int fd;                         /* owned */
        size_t place;
        struct answer answer;
};

/* --- The socket ------------------------------------------------------------------------------------------------------- */

/* A socket's path may have 107 bytes; a data folder's may have more. So it is named by the folder's descriptor. */
static RESULT address_of(const char *data_dir, struct sockaddr_un *ret_address, int *ret_folder_fd, struct err *e)
{
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        *ret_folder_fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_folder_fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open folder %s", data_dir);
        snprintf(ret_address->sun_path, sizeof ret_address->sun_path, "/proc/self/fd/%d/" CONTROL_SOCKET, *ret_folder_fd);
        return OK;
}

/* The folder's lock is held, so a socket that is there belongs to nobody. The umask makes it the owner's alone. */
static RESULT listen_on(const char *data_dir, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int folder_fd = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un address;

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "make a socket");
        TRY(address_of(data_dir, &address, &folder_fd, e));
        if (unlinkat(folder_fd, CONTROL_SOCKET, 0) < 0 && errno != ENOENT)
                return FAIL(e, ERR_IO, errno, "remove %s/" CONTROL_SOCKET, data_dir);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(address.sun_path, 0600) < 0 ||
            listen(fd, CONNECTIONS_MAX) < 0)
                return FAIL(e, ERR_IO, errno, "listen on %s/" CONTROL_SOCKET, data_dir);
        *ret_fd = TAKE_FD(fd);
        return OK;
}

RESULT control_open(const struct control_config *config, struct control **ret_control, struct err *e)
{
        struct control *control = calloc(1, sizeof *control);

        if (!control)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the control socket");
        control->config = *config;
        control->fd = -1;
        pthread_mutex_init(&control->lock, NULL);
        pthread_cond_init(&control->gone, NULL);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                control->clients[i] = -1;
        if (!listen_on(config->data_dir, &control->fd, e).ok) {
                control_free(control);
                return FAILED;
        }
        *ret_control = control;
        return OK;
}

int control_fd(const struct control *control)
{
        return control->fd;
}

void control_set_reserve(struct control *control, uint64_t disk_reserve_bytes)
{
        control->disk_reserve_bytes = disk_reserve_bytes;
}

static void remove_socket(const char *data_dir)
{
        _cleanup_fd_ int folder_fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (folder_fd >= 0)
                unlinkat(folder_fd, CONTROL_SOCKET, 0);
}

static bool is_any_served(const struct control *control)
{
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (control->clients[i] >= 0)
                        return true;
        return false;
}

/* An operation whose client is gone ends at its next line. */
void control_free(struct control *control)
{
        if (!control)
                return;
        if (control->fd >= 0)
                remove_socket(control->config.data_dir);
        cleanup_fd(&control->fd);
        pthread_mutex_lock(&control->lock);
        for (size_t i = 0; i < CONNECTIONS_MAX; i++)
                if (control->clients[i] >= 0)
                        shutdown(control->clients[i], SHUT_RDWR);
        while (is_any_served(control))
                pthread_cond_wait(&control->gone, &control->lock);
        pthread_mutex_unlock(&control->lock);
        pthread_cond_destroy(&control->gone);
        pthread_mutex_destroy(&control->lock);
        free(control);
}

/* --- Bytes ------------------------------------------------------------------------------------------------------------ */

static RESULT send_all(int fd, struct slice bytes, struct err *e)
{
        while (bytes.n) {
                ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return FAIL(e, ERR_CLOSED, n < 0 ? errno : 0, "the other side of the control socket has gone");
                bytes = slice_skip(bytes, (size_t)n);
        }
        return OK;
}

/* until_ms: on the monotonic clock; 0: for ever. */
static RESULT wait_readable(int fd, int64_t until_ms, struct err *e)
{
        struct pollfd readable = { fd, POLLIN, 0 };
        int64_t left_ms = until_ms ? MAX(until_ms - clock_mono_ms(), (int64_t)0) : -1;

        if (poll(&readable, 1, (int)left_ms) == 0)
                return FAIL(e, ERR_TIMEOUT, 0, "the request did not come in time");
        return OK;
}

/* The next line, without its end, valid until the next call. *ret_found: false at the end. */
static RESULT next_line(int fd, int64_t until_ms, struct buf *in, size_t *used, bool *ret_found, struct slice *ret_line, struct err *e)
{
        buf_consume(in, *used);
        *used = 0;
        for (;;) {
                const char *end = in->n ? memchr(in->p, '\n', in->n) : NULL;
                char *room = end ? NULL : buf_reserve(in, 4096);
                ssize_t n;

                *ret_found = end;
                if (end) {
                        *ret_line = (struct slice){ in->p, (size_t)(end - in->p) };
                        *used = ret_line->n + 1;
                        return OK;
                }
                if (!room)
                        return FAIL(e, ERR_LIMIT, 0, "a line on the control socket is too long");
                TRY(wait_readable(fd, until_ms, e));
                n = recv(fd, room, 4096, 0);
                if (n < 0 && errno != EINTR)
                        return FAIL(e, ERR_IO, errno, "read from the control socket");
                if (n == 0)
                        return OK;
                in->n += n > 0 ? (size_t)n : 0;
        }
}

/* --- The daemon's side ------------------------------------------------------------------------------------------------ */

static RESULT put_line(void *arg, struct slice line, struct err *e)
{
        struct client *client = arg;

        if (slice_starts(line, S("{\"kind\":\"progress\""))) {
                TRY(answer_catch_up(&client->answer, e));       /* there may be nothing else for long; and has the client gone? */
                if (answer_is_behind(&client->answer))
                        return OK;
        }
        return answer_put(&client->answer, line, e);
}

static RESULT run_request(struct client *client, struct slice line, struct arena *arena, struct buf *answer, int *ret_status, struct err *e)
{
        struct control *control = client->control;
        struct jobs_settings settings;
        struct operation_request request;
        struct operation op = {
                .request = &request,
                .registry = control->config.registry,
                .jobs = control->config.jobs,
                .disk_reserve_bytes = control->disk_reserve_bytes,
                .describe = control->config.describe,
                .describe_arg = control->config.describe_arg,
                .sink = { put_line, client },
                .line = *answer,
        };
        struct result result;

        TRY(operation_decode(line, arena, &request, e));
        jobs_get(control->config.jobs, &settings);
        op.rules = settings.rules;
        result = operation_run(&op, e);
        *answer = op.line;
        *ret_status = op.status;
        return result;
}

static void format_end(struct buf *text, struct result result, int status, const struct err *e)
{
        buf_reset(text);
        if (result.ok) {
                buf_printf(text, "{\"kind\":\"end\",\"status\":%d}", status);
        } else {
                buf_put(text, S("{\"kind\":\"error\",\"message\":"));
                buf_put_json_string(text, slice_from(e->message));
                buf_printf(text, ",\"invalid\":%s}", e->code == ERR_INVALID ? "true" : "false");
        }
}

static RESULT read_and_run(struct client *client, struct buf *text, int *ret_status, struct err *e)
{
        _cleanup_(buf_fini) struct buf in = BUF_INIT(OPERATION_REQUEST_MAX);
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct slice line;
        size_t used = 0;
        bool found;

        TRY(next_line(client->fd, clock_mono_ms() + REQUEST_TIMEOUT_MS, &in, &used, &found, &line, e));
        if (!found)
                return FAIL(e, ERR_CLOSED, 0, "the request ended within its line");
        return run_request(client, line, &arena, text, ret_status, e);
}

/* Who has gone needs no answer. */
static void serve_client(struct client *client)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(OPERATION_LINE_MAX);
        struct err e = ERR_INIT, ignored;
        int status = 0;
        struct result result = read_and_run(client, &text, &status, &e);

        format_end(&text, result, status, &e);
        if (answer_put(&client->answer, buf_slice(&text), &ignored).ok)
                IGNORE(answer_end(&client->answer, &ignored));
}

static void *client_thread(void *arg)
{
        struct client *client = arg;
        struct control *control = client->control;

        struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };

        setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        serve_client(client);
        answer_fini(&client->answer);
        pthread_mutex_lock(&control->lock);
        control->clients[client->place] = -1;
        close(client->fd);
        pthread_cond_broadcast(&control->gone);
        pthread_mutex_unlock(&control->lock);
        free(client);
        return NULL;
}

/* The socket's mode says the same; but a folder may be copied, or its mode be changed by mistake. */
static bool may_ask(int fd)
{
        struct ucred peer;
        socklen_t n = sizeof peer;

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

static bool start_client(struct control *control, int fd, size_t place)
{
        struct client *client = malloc(sizeof *client);
        pthread_attr_t attributes;
        pthread_t thread;
        bool started;

        if (!client)
                return false;
        *client = (struct client){ control, fd, place, ANSWER_INIT(fd, control->config.data_dir) };
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        started = pthread_create(&thread, &attributes, client_thread, client) == 0;
        pthread_attr_destroy(&attributes);
        if (!started)
                free(client);
        return started;
}

/* A place, or a word why there is none. */
static void take_client(struct control *control, int fd)
{
        static const char busy[] = "{\"kind\":\"error\",\"message\":\"too many commands talk to this registry at once; try again when "
                                   "they have ended\",\"invalid\":false}\n";
        size_t place = 0;
        bool taken = false;

        pthread_mutex_lock(&control->lock);
        while (place < CONNECTIONS_MAX && control->clients[place] >= 0)
                place++;
        if (place < CONNECTIONS_MAX) {
                control->clients[place] = fd;
                taken = start_client(control, fd, place);
                if (!taken)
                        control->clients[place] = -1;
        }
        pthread_mutex_unlock(&control->lock);
        if (taken)
                return;
        (void)!send(fd, busy, sizeof busy - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
}

void control_accept(struct control *control)
{
        int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
                poll(NULL, 0, NO_DESCRIPTOR_MS);
        if (fd < 0)
                return;
        if (may_ask(fd))
                take_client(control, fd);
        else
                close(fd);
}

/* --- The client's side ------------------------------------------------------------------------------------------------ */

RESULT control_connect(const char *data_dir, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int folder_fd = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address;

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "make a socket");
        TRY(address_of(data_dir, &address, &folder_fd, e));
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
                if (errno == ENOENT || errno == ECONNREFUSED)
                        return FAIL(e, ERR_NOT_FOUND, 0, "no registry listens on %s/" CONTROL_SOCKET, data_dir);
                return FAIL(e, ERR_IO, errno, "connect to %s/" CONTROL_SOCKET, data_dir);
        }
        *ret_fd = TAKE_FD(fd);
        return OK;
}

/* true: it was the last line, and *result and *ret_status tell how it ended. */
static bool is_last(struct slice line, struct result *result, int *ret_status, struct err *e)
{
        json_t *root = json_loadb(line.p, line.n, 0, NULL);
        const char *kind = json_string_value(json_object_get(root, "kind"));
        bool last = true;

        if (kind && strcmp(kind, "end") == 0) {
                *result = OK;
                *ret_status = (int)json_integer_value(json_object_get(root, "status"));
        } else if (kind && strcmp(kind, "error") == 0) {
                const char *message = json_string_value(json_object_get(root, "message"));

                *result = FAIL(e, json_is_true(json_object_get(root, "invalid")) ? ERR_INVALID : ERR_IO, 0, "%s", message ? message : "");
        } else {
                last = false;
        }
        json_decref(root);
        return last;
}

RESULT control_ask(int fd, const struct operation_request *request, RESULT_FN(line, (void *arg, struct slice line, struct err *e)),
                   void *arg, int *ret_status, struct err *e)
{
        _cleanup_(buf_fini) struct buf out = BUF_INIT(OPERATION_REQUEST_MAX), in = BUF_INIT(2 * OPERATION_LINE_MAX);
        struct slice text;
        struct result result, sent;
        size_t used = 0;
        bool found;

        operation_encode(request, &out);
        buf_put_char(&out, '\n');
        if (!buf_ok(&out))
                return FAIL(e, ERR_INVALID, 0, "these are too many words for one request");
        sent = send_all(fd, buf_slice(&out), e);        /* who does not listen may have told why */
        for (;;) {
                TRY(next_line(fd, 0, &in, &used, &found, &text, e));
                if (!found && !sent.ok)
                        return FAILED;
                if (!found)
                        return FAIL(e, ERR_CLOSED, 0, "the registry ended before its answer did");
                if (is_last(text, &result, ret_status, e))
                        return result;
                TRY(line(arg, text, e));
        }
}
