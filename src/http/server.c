/* Listeners, loops, stopping, figures.
 *
 * One loop accepts for all and gives each connection to the loop that has the fewest. (A listener for each loop with SO_REUSEPORT
 * would let a second daemon share the port unnoticed, cannot be had for inherited sockets, and spreads few connections unevenly.) */
#include "http/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { ACCEPT_RETRY_MS = 100, POLL_MS = 5, LOOP_STACK = 512 * 1024 };

/* --- Accepting -------------------------------------------------------------------------------------------------------- */

/* A connection on its way to its loop. */
struct handover {
        struct loop_message message;
        struct http_loop *home;
        int fd;
        bool tls;
        struct socket_address peer;
};

static void take_over(struct loop_message *message)
{
        struct handover *handover = CONTAINER_OF(message, struct handover, message);
        struct http_loop *home = handover->home;

        connection_open(home, handover->fd, handover->tls, &handover->peer);
        free(handover);
        atomic_fetch_sub(&home->coming, 1);
        server_resume_accepting(home->server);
}

static struct http_loop *least_loaded(struct http_server *server)
{
        struct http_loop *best = &server->loops[0];

        for (unsigned i = 1; i < server->loop_count; i++)
                if (server->loops[i].figures.assigned < best->figures.assigned)
                        best = &server->loops[i];
        return best;
}

static void assign(struct http_server *server, int fd, bool tls, const struct socket_address *peer)
{
        struct handover *handover = malloc(sizeof *handover);
        struct http_loop *home = least_loaded(server);

        if (!handover) {
                close(fd);
                atomic_fetch_sub(&server->connections, 1);
                return;
        }
        atomic_fetch_add(&home->figures.assigned, 1);
        atomic_fetch_add(&home->coming, 1);
        *handover = (struct handover){ .message.run = take_over, .home = home, .fd = fd, .tls = tls, .peer = *peer };
        loop_post(home->loop, &handover->message);
}

static void evict(struct loop_message *message)
{
        struct http_loop *home = CONTAINER_OF(message, struct http_loop, evict_message);

        connection_evict_idle(home);
        atomic_store(&home->evicting, false);
        server_resume_accepting(home->server);
}

enum room { ROOM_NOW, ROOM_SOON, ROOM_NEVER };

/* At the limit the connection that was idle for longest goes, and whoever knocks waits for that. ROOM_NEVER: none is idle. */
static enum room make_room(struct http_server *server)
{
        struct http_loop *oldest = NULL, *quiet = NULL;

        for (unsigned i = 0; i < server->loop_count; i++) {
                struct http_loop *home = &server->loops[i];

                if (home->evicting)
                        return ROOM_SOON;
                if (home->idle_count && (!oldest || home->idle_since_ms < oldest->idle_since_ms))
                        oldest = home;
                if (home->quiet_count)
                        quiet = home;
        }
        oldest = oldest ? oldest : quiet;       /* these are idle when the loop comes to the message */
        if (oldest) {
                atomic_store(&oldest->evicting, true);
                loop_post(oldest->loop, &oldest->evict_message);
                return ROOM_SOON;
        }
        for (unsigned i = 0; i < server->loop_count; i++)
                if (server->loops[i].coming)
                        return ROOM_SOON;       /* it will be idle, or have a request, in a moment */
        return ROOM_NEVER;
}

static void refuse(int fd, bool tls, const struct socket_address *peer)
{
        static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
                                     "Retry-After: 5\r\nConnection: close\r\n\r\n"
                                     "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"too many connections; try again in "
                                     "some seconds\"}]}\n";

        if (!tls)
                (void)!send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        log_event(LOG_WARN, "connection refused: all connections are busy", LOG_C("client", peer->s));
}

/* Looks again by itself a little later, should nothing else tell it to. */
static void pause_accepting(struct listener *listener)
{
        struct http_loop *first = &listener->server->loops[0];

        timer_set(loop_timers(first->loop), &listener->retry, loop_now_ms(first->loop) + ACCEPT_RETRY_MS);
}

static enum room room_for_one(struct http_server *server)
{
        if (server->connections < server->connections_max)
                return ROOM_NOW;
        atomic_store(&server->accept_waits, true);      /* before the look, so that what happens after it is not missed */
        return make_room(server);
}

/* Seats the connection that the listener holds. false: it waits, and with it all behind it. */
static bool seat(struct listener *listener)
{
        struct http_server *server = listener->server;

        switch (room_for_one(server)) {
        case ROOM_SOON:
                pause_accepting(listener);
                return false;
        case ROOM_NEVER:
                refuse(listener->held_fd, listener->tls, &listener->held_peer);
                break;
        case ROOM_NOW:
                atomic_fetch_add(&server->connections, 1);
                assign(server, listener->held_fd, listener->tls, &listener->held_peer);
                break;
        }
        listener->held_fd = -1;
        return true;
}

static void accept_all(struct listener *listener)
{
        struct err e;

        if (listener->fd < 0)
                return;
        do
                if (listener->held_fd >= 0 && !seat(listener))
                        return;
        while (socket_accept(listener->fd, &listener->held_fd, &listener->held_peer, &e).ok);
        if (e.code == ERR_NOT_FOUND)
                return;
        /* Out of descriptors: an idle connection gives one back. */
        log_event(LOG_ERROR, "cannot accept a connection", LOG_C("address", listener->address.s), LOG_C("error", e.message));
        make_room(listener->server);
        pause_accepting(listener);
}

static void resume_accepting(struct loop_message *message)
{
        struct http_server *server = CONTAINER_OF(message, struct http_server, resume_message);

        atomic_store(&server->resume_posted, false);
        atomic_store(&server->accept_waits, false);
        for (size_t i = 0; i < server->listener_count; i++)
                accept_all(&server->listeners[i]);
}

void server_resume_accepting(struct http_server *server)
{
        if (server->accept_waits && !atomic_exchange(&server->resume_posted, true))
                loop_post(server->loops[0].loop, &server->resume_message);
}

static void listener_ready(struct loop_watch *watch, uint32_t events)
{
        (void)events;
        accept_all(CONTAINER_OF(watch, struct listener, watch));
}

static void accept_again(struct timer *timer)
{
        accept_all(CONTAINER_OF(timer, struct listener, retry));
}

/* --- Listening -------------------------------------------------------------------------------------------------------- */

static bool is_unix(const struct socket_address *address)
{
        return slice_starts(slice_from(address->s), S("unix"));
}

static void add_listener(struct http_server *server, int fd, bool made_here)
{
        struct listener *listener = &server->listeners[server->listener_count++];

        *listener = (struct listener){ .server = server, .fd = fd, .made_here = made_here, .held_fd = -1 };
        listener->watch.ready = listener_ready;
        listener->retry.fire = accept_again;
        socket_local_address(fd, &listener->address);
        listener->tls = server->tls && !is_unix(&listener->address);
}

RESULT http_server_listen(struct http_server *server, struct slice address, struct err *e)
{
        int fds[SOCKET_LISTENERS_MAX];
        size_t room = SOCKET_LISTENERS_MAX - server->listener_count, count;

        CHECK(!server->started);
        if (room == 0)
                return FAIL(e, ERR_LIMIT, 0, "more than %d sockets to listen on", SOCKET_LISTENERS_MAX);
        TRY(socket_listen(address, fds, room, &count, e));
        for (size_t i = 0; i < count; i++)
                add_listener(server, fds[i], true);
        return OK;
}

RESULT http_server_adopt(struct http_server *server, int fd, struct err *e)
{
        int listening = 0;
        socklen_t n = sizeof listening;

        CHECK(!server->started);
        if (server->listener_count == SOCKET_LISTENERS_MAX)
                return FAIL(e, ERR_LIMIT, 0, "more than %d sockets to listen on", SOCKET_LISTENERS_MAX);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0 || !listening)
                return FAIL(e, ERR_INVALID, 0, "descriptor %d, which was handed over, is not a listening socket", fd);
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return FAIL(e, ERR_IO, errno, "prepare descriptor %d, which was handed over", fd);
        add_listener(server, fd, false);
        return OK;
}

const char *http_server_address(struct http_server *server, size_t index)
{
        return index < server->listener_count ? server->listeners[index].address.s : NULL;
}

static void close_listener(struct listener *listener)
{
        if (listener->fd < 0)
                return;
        if (listener->made_here && is_unix(&listener->address))
                unlink(listener->address.s + strlen("unix:"));
        close(listener->fd);
        listener->fd = -1;
        cleanup_fd(&listener->held_fd);
        listener->held_fd = -1;
}

/* On the first loop. */
static void deafen(struct loop_message *message)
{
        struct http_server *server = CONTAINER_OF(message, struct http_server, deafen_message);

        for (size_t i = 0; i < server->listener_count; i++) {
                timer_cancel(loop_timers(server->loops[0].loop), &server->listeners[i].retry);
                close_listener(&server->listeners[i]);
        }
}

/* --- Loops ------------------------------------------------------------------------------------------------------------ */

static void round_over(void *arg)
{
        connection_free_dead(arg);
        log_flush();
}

static void stop_idle(struct loop_message *message)
{
        connection_stop(CONTAINER_OF(message, struct http_loop, stop_message));
}

static void abort_all(struct loop_message *message)
{
        connection_abort(CONTAINER_OF(message, struct http_loop, abort_message));
}

static void *loop_main(void *arg)
{
        struct http_loop *home = arg;

        priority_add_loop(&home->server->priority);
        log_gather();
        loop_run(home->loop);
        log_gather_end();
        return NULL;
}

static RESULT loop_set_up(struct http_server *server, struct http_loop *home, struct err *e)
{
        home->server = server;
        home->idle_since_ms = INT64_MAX;
        home->stop_message.run = stop_idle;
        home->abort_message.run = abort_all;
        home->evict_message.run = evict;
        rand_bytes(&home->id_prefix, sizeof home->id_prefix);
        home->receive = malloc(RECEIVE_BYTES);
        if (!home->receive)
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare a loop");
        TRY(stream_scratch_new(&home->scratch, e));
        TRY(loop_new(&home->loop, e));
        loop_on_round(home->loop, round_over, home);
        return OK;
}

static void loop_tear_down(struct http_loop *home)
{
        connection_free_dead(home);
        exchange_free_spare(home);
        loop_free(home->loop);
        stream_scratch_free(home->scratch);
        free(home->receive);
}

static RESULT start_thread(struct http_loop *home, struct err *e)
{
        pthread_attr_t attributes;
        sigset_t all, before;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);    /* signals are the main thread's */
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, LOOP_STACK);
        error = pthread_create(&home->thread, &attributes, loop_main, home);
        pthread_attr_destroy(&attributes);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error)
                return FAIL(e, ERR_IO, error, "start a thread");
        home->running = true;
        return OK;
}

/* --- The server ------------------------------------------------------------------------------------------------------- */

static unsigned count_cores(void)
{
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        return cores < 1 ? 1 : (unsigned)MIN(cores, (long)LOOPS_MAX);
}

RESULT http_server_new(const struct http_server_config *config, struct http_server **ret_server, struct err *e)
{
        _cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof *server);

        if (!server)
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare the HTTP server");
        scratches_init(&server->scratches);
        priority_init(&server->priority);
        for (size_t i = 0; i < config->app.route_count; i++)
                if (config->app.routes[i].action == 0)
                        return FAIL(e, ERR_INTERNAL, 0, "route %s has no action", config->app.routes[i].pattern);
        server->pool = config->pool;
        server->app = config->app;
        server->tls = config->tls;
        server->deafen_message.run = deafen;
        server->resume_message.run = resume_accepting;
        http_server_set_limits(server, &config->limits);
        server->loop_count = config->loops ? MIN(config->loops, (unsigned)LOOPS_MAX) : count_cores();
        for (unsigned i = 0; i < server->loop_count; i++)
                TRY(loop_set_up(server, &server->loops[i], e));
        if (server->tls)
                TRY(pool_new(server->loop_count, &server->bulk, e));
        *ret_server = TAKE_PTR(server);
        return OK;
}

void http_server_free(struct http_server *server)
{
        if (!server)
                return;
        CHECK(!server->started);
        for (size_t i = 0; i < server->listener_count; i++)
                close_listener(&server->listeners[i]);
        pool_free(server->bulk);
        scratches_fini(&server->scratches);
        priority_fini(&server->priority);
        for (unsigned i = 0; i < server->loop_count; i++)
                loop_tear_down(&server->loops[i]);
        free(server);
}

void http_server_set_limits(struct http_server *server, const struct http_limits *limits)
{
        server->request_line_bytes_max = limits->request_line_bytes_max;
        server->head_bytes_max = limits->head_bytes_max;
        server->head_fields_max = limits->head_fields_max;
        server->connections_max = limits->connections_max;
        server->head_timeout_ms = limits->head_timeout_ms;
        server->idle_timeout_ms = limits->idle_timeout_ms;
        server->body_rate_bytes = limits->body_rate_bytes;
        server->body_rate_window_ms = limits->body_rate_window_ms;
        server->ranges_max = limits->ranges_max;
}

RESULT http_server_start(struct http_server *server, struct err *e)
{
        server->started = true;
        for (size_t i = 0; i < server->listener_count; i++)
                TRY(loop_watch(server->loops[0].loop, &server->listeners[i].watch, server->listeners[i].fd, EPOLLIN, e));
        for (unsigned i = 0; i < server->loop_count; i++)
                TRY(start_thread(&server->loops[i], e));
        return OK;
}

/* Nothing is open and no worker has a request. */
static bool is_quiet(struct http_server *server)
{
        uint64_t running = server->connections;

        for (unsigned i = 0; i < server->loop_count; i++)
                running += server->loops[i].figures.requests_running;
        return running == 0;
}

static void wait_quiet(struct http_server *server, int64_t until_ms)
{
        struct timespec pause = { .tv_nsec = POLL_MS * 1000000 };

        while (!is_quiet(server) && clock_mono_ms() < until_ms)
                nanosleep(&pause, NULL);
}

void http_server_stop(struct http_server *server, uint64_t timeout_ms)
{
        int64_t now_ms = clock_mono_ms();

        if (!server->started)
                return;
        server->stopping = true;
        if (server->loops[0].running)
                loop_post(server->loops[0].loop, &server->deafen_message);
        for (unsigned i = 0; i < server->loop_count; i++)
                if (server->loops[i].running)
                        loop_post(server->loops[i].loop, &server->loops[i].stop_message);
        wait_quiet(server, now_ms + (int64_t)MIN(timeout_ms, (uint64_t)INT32_MAX));
        for (unsigned i = 0; i < server->loop_count; i++)
                if (server->loops[i].running)
                        loop_post(server->loops[i].loop, &server->loops[i].abort_message);
        wait_quiet(server, INT64_MAX);          /* what is on a worker ends by itself */
        for (unsigned i = 0; i < server->loop_count; i++) {
                if (!server->loops[i].running)
                        continue;
                loop_stop(server->loops[i].loop);
                pthread_join(server->loops[i].thread, NULL);
                server->loops[i].running = false;
        }
        server->started = false;
}

void http_server_stats(struct http_server *server, struct http_server_stats *ret_stats)
{
        struct http_server_stats stats = { 0 };

        for (unsigned i = 0; i < server->loop_count; i++) {
                const struct loop_figures *figures = &server->loops[i].figures;

                stats.connections += figures->connections;
                stats.connections_total += figures->connections_total;
                stats.requests_total += figures->requests_total;
                stats.requests_running += figures->requests_running;
                stats.bytes_in_total += figures->bytes_in;
                stats.bytes_out_total += figures->bytes_out;
        }
        *ret_stats = stats;
}
