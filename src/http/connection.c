/* The states of a connection; connection.h draws them. connection_run() goes from state to state until there is something to wait
 * for; limit_of() derives from the state how long that may take. */
#include "http/connection.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"

#include <stdlib.h>
#include <sys/socket.h>

/* An idle connection is this and a few descriptors of the kernel's. */
_Static_assert(sizeof(struct connection) < 1024, "the table in connection.h promises less");

/* --- Lists of the loop ------------------------------------------------------------------------------------------------ */

static void list_add(struct connection **list, struct connection *c)
{
        c->previous = NULL;
        c->next = *list;
        if (c->next)
                c->next->previous = c;
        *list = c;
}

static void list_remove(struct connection **list, struct connection *c)
{
        if (c->previous)
                c->previous->next = c->next;
        else
                *list = c->next;
        if (c->next)
                c->next->previous = c->previous;
}

static void publish_idle(struct http_loop *home)
{
        home->idle_since_ms = home->idle_first ? home->idle_first->idle_since_ms : INT64_MAX;
}

static void idle_add(struct connection *c)
{
        struct http_loop *home = c->home;

        if (c->idle_listed)
                return;
        c->idle_listed = true;
        c->idle_since_ms = loop_now_ms(home->loop);
        c->idle_next = NULL;
        c->idle_previous = home->idle_last;
        if (home->idle_last)
                home->idle_last->idle_next = c;
        else
                home->idle_first = c;
        home->idle_last = c;
        atomic_fetch_add(&home->idle_count, 1);
        publish_idle(home);
}

static void idle_remove(struct connection *c)
{
        struct http_loop *home = c->home;

        if (!c->idle_listed)
                return;
        c->idle_listed = false;
        if (c->idle_previous)
                c->idle_previous->idle_next = c->idle_next;
        else
                home->idle_first = c->idle_next;
        if (c->idle_next)
                c->idle_next->idle_previous = c->idle_previous;
        else
                home->idle_last = c->idle_previous;
        atomic_fetch_sub(&home->idle_count, 1);
        publish_idle(home);
}

/* --- Time limits ------------------------------------------------------------------------------------------------------ */

/* How long the state may last without an event of its own; 0: as long as it takes. */
static uint64_t limit_of(const struct connection *c)
{
        const struct http_server *server = c->home->server;

        switch (c->state) {
        case CONNECTION_HELLO:
        case CONNECTION_HEAD:
                return server->head_timeout_ms;
        case CONNECTION_IDLE:
                return server->idle_timeout_ms;
        case CONNECTION_BODY:
        case CONNECTION_SEND:
                return server->body_rate_bytes ? server->body_rate_window_ms : 0;
        case CONNECTION_DRAIN:
        case CONNECTION_LINGER:
                return LINGER_MS;
        case CONNECTION_WORK:
        case CONNECTION_CLOSED:
                return 0;
        }
        return 0;
}

static void set_limit(struct connection *c)
{
        uint64_t limit_ms = limit_of(c);

        if (limit_ms)
                timer_set(loop_timers(c->home->loop), &c->timer, loop_now_ms(c->home->loop) + (int64_t)limit_ms);
        else
                timer_cancel(loop_timers(c->home->loop), &c->timer);
}

/* Did enough of the body travel since the last look? What the socket took is not what the peer took: its buffer may hold more than
 * a slow client reads in that time. While a worker has the request, the client is not to blame; the next look spans this time, too. */
static bool moves(struct connection *c)
{
        const struct http_server *server = c->home->server;
        uint64_t least = server->body_rate_bytes * server->body_rate_window_ms / 1000;
        uint64_t queued;
        bool enough;

        if (c->exchange && c->exchange->working)
                return true;
        queued = c->state == CONNECTION_SEND ? stream_queued(&c->stream) : 0;
        enough = c->progress_bytes + c->queued_bytes >= least + queued;
        c->progress_bytes = 0;
        c->queued_bytes = queued;
        return enough;
}

static enum step too_slow(struct connection *c, const char *what)
{
        struct exchange *ex = c->exchange ? c->exchange : exchange_new(c);

        if (!ex) {
                connection_close(c);
                return STEP_WAIT;
        }
        IGNORE(FAIL(&ex->broken_error, ERR_TIMEOUT, 0, "%s did not come in time", what));
        if (c->state == CONNECTION_BODY)
                return receive_break(c, 408);
        ex->e = ex->broken_error;
        ex->body_complete = true;
        return exchange_fail(c, 408);
}

static void limit_passed(struct timer *timer)
{
        struct connection *c = CONTAINER_OF(timer, struct connection, timer);
        enum step step = STEP_WAIT;

        switch (c->state) {
        case CONNECTION_BODY:
                if (moves(c))
                        set_limit(c);
                else
                        step = too_slow(c, "the body");
                break;
        case CONNECTION_SEND:
                if (moves(c))
                        set_limit(c);
                else
                        connection_close(c);
                break;
        case CONNECTION_HEAD:
                step = too_slow(c, "the request's head");
                break;
        case CONNECTION_HELLO:
        case CONNECTION_IDLE:
        case CONNECTION_DRAIN:
        case CONNECTION_LINGER:
                connection_close(c);
                break;
        case CONNECTION_WORK:
        case CONNECTION_CLOSED:
                break;
        }
        if (step == STEP_GO_ON) {
                set_limit(c);           /* the state may have changed here, which connection_run() does not see */
                connection_run(c);
        }
}

/* --- Life ------------------------------------------------------------------------------------------------------------- */

void connection_lend(struct connection *c)
{
        c->lent = true;
        c->lent_events = 0;
}

void connection_take_back(struct connection *c)
{
        c->lent = false;
        stream_event(&c->stream, c->lent_events);
}

bool connection_use_stream(struct connection *c)
{
        return !c->stream.ssl || scratches_lend(&c->home->server->scratches, &c->stream, &c->loops_scratch);
}

void connection_leave_stream(struct connection *c)
{
        if (c->stream.ssl)
                scratches_take_back(&c->home->server->scratches, &c->stream, c->loops_scratch);
}

static void socket_ready(struct loop_watch *watch, uint32_t events)
{
        struct connection *c = CONTAINER_OF(watch, struct connection, watch);

        if (c->state == CONNECTION_CLOSED)
                return;
        if (c->lent) {
                c->lent_events |= events;
                loop_hurry(&c->exchange->done);
                return;
        }
        stream_event(&c->stream, events);
        connection_wake(c);
}

static void run_again(struct loop_message *message)
{
        struct connection *c = CONTAINER_OF(message, struct connection, again);

        c->again_posted = false;
        if (c->state != CONNECTION_CLOSED)
                connection_run(c);
}

/* In the middle of a handshake OpenSSL holds 46 KB for a connection, after it 17. What many handshakes at once leave free is given
 * back when the last of them is over: 1,000 idle connections have 31 MB resident instead of 52. */
static void hello_over(struct http_server *server)
{
        bool last = atomic_fetch_sub(&server->hellos, 1) == 1;

        if (atomic_fetch_add(&server->hellos_ended, 1) + 1 < HELLOS_MANY || !last)
                return;
        atomic_store(&server->hellos_ended, 0);
        heap_trim_soon(server->pool);
}

/* It is not counted any more. */
static void uncount(struct http_loop *home)
{
        atomic_fetch_sub(&home->figures.assigned, 1);
        atomic_fetch_sub(&home->server->connections, 1);
}

enum step connection_go_on_later(struct connection *c)
{
        if (!c->again_posted) {
                c->again_posted = true;
                loop_put_off(c->home->loop, &c->again);
        }
        return STEP_WAIT;
}

/* Does the loop itself move much for it? Over TLS bulk.c sends. */
static bool is_bulky(const struct connection *c)
{
        if (c->state == CONNECTION_SEND)
                return !c->stream.ssl && c->exchange->part_left >= BULK_BYTES_MIN;
        return c->state == CONNECTION_BODY && c->exchange->buffer_want > BODY_BUFFER_MIN;
}

void connection_wake(struct connection *c)
{
        if (is_bulky(c))
                connection_go_on_later(c);
        else
                connection_run(c);
}

static void discard(struct http_loop *home, int fd)
{
        close(fd);
        uncount(home);
}

static bool set_up(struct connection *c, int fd, bool tls)
{
        struct http_loop *home = c->home;
        struct err e;

        if (!stream_open(&c->stream, fd, tls ? home->server->tls : NULL, home->scratch, &e).ok) {
                log_event(LOG_ERROR, "cannot serve a connection", LOG_C("client", c->peer), LOG_C("error", e.message));
                return false;
        }
        if (loop_watch(home->loop, &c->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, &e).ok)
                return true;
        log_event(LOG_ERROR, "cannot serve a connection", LOG_C("client", c->peer), LOG_C("error", e.message));
        c->stream.fd = -1;      /* whoever called closes it */
        stream_close(&c->stream);
        return false;
}

void connection_open(struct http_loop *home, int fd, bool tls, const struct socket_address *peer)
{
        struct connection *c = calloc(1, sizeof *c);

        if (!c) {
                discard(home, fd);
                return;
        }
        c->home = home;
        c->tls = tls;
        c->watch.ready = socket_ready;
        c->again.run = run_again;
        c->timer.fire = limit_passed;
        c->in = BUF_INIT(HEAD_ROOM);
        slice_to_cstr(slice_head(slice_from(peer->s), sizeof c->peer - 1), c->peer, sizeof c->peer);
        if (!set_up(c, fd, tls)) {
                free(c);
                discard(home, fd);
                return;
        }
        list_add(&home->connections, c);
        atomic_fetch_add(&home->figures.connections, 1);
        atomic_fetch_add(&home->figures.connections_total, 1);
        c->state = tls ? CONNECTION_HELLO : CONNECTION_IDLE;
        if (tls)
                atomic_fetch_add(&home->server->hellos, 1);
        set_limit(c);
        connection_run(c);
}

void connection_close(struct connection *c)
{
        struct http_loop *home = c->home;

        if (c->state == CONNECTION_HELLO)
                hello_over(home->server);
        if (c->state != CONNECTION_CLOSED) {
                c->state = CONNECTION_CLOSED;
                idle_remove(c);
                timer_cancel(loop_timers(home->loop), &c->timer);
                if (c->lent) {
                        shutdown(c->stream.fd, SHUT_RDWR);      /* ends the turn of whoever has it */
                        loop_hurry(&c->exchange->done);
                } else {
                        stream_close(&c->stream);       /* leaves epoll with it */
                }
                buf_fini(&c->in);
                atomic_fetch_sub(&home->figures.connections, 1);
                uncount(home);
        }
        if (c->exchange && c->exchange->working)
                return;                         /* comes again when the worker is back */
        stream_close(&c->stream);
        if (c->exchange && receive_close(c) == STEP_WAIT)
                return;
        if (c->exchange)
                exchange_end(c->exchange);
        /* Events of this round may still name it: it is freed at the round's end. */
        list_remove(&home->connections, c);
        list_add(&home->dead, c);
}

void connection_free_dead(struct http_loop *home)
{
        for (struct connection *c = home->dead, *next; c; c = next) {
                next = c->next;
                if (c->again_posted)
                        continue;               /* its message is still in the loop's queue */
                list_remove(&home->dead, c);
                free(c);
        }
}

void connection_evict_idle(struct http_loop *home)
{
        if (home->idle_first)
                connection_close(home->idle_first);
}

void connection_stop(struct http_loop *home)
{
        for (struct connection *c = home->connections, *next; c; c = next) {
                next = c->next;
                if (c->state == CONNECTION_IDLE || c->state == CONNECTION_HELLO || c->state == CONNECTION_LINGER)
                        connection_close(c);
        }
}

void connection_abort(struct http_loop *home)
{
        for (struct connection *c = home->connections, *next; c; c = next) {
                next = c->next;
                if (c->state != CONNECTION_CLOSED)
                        connection_close(c);
        }
}

/* --- States ----------------------------------------------------------------------------------------------------------- */

static void log_handshake(struct connection *c, const struct err *e)
{
        log_event(LOG_INFO, "handshake failed", LOG_C("client", c->peer), LOG_C("error", e->message));
}

static enum step on_hello(struct connection *c)
{
        struct exchange *ex;
        struct err e;

        switch (stream_handshake(&c->stream, &e)) {
        case STREAM_HELLO_DONE:
                hello_over(c->home->server);
                c->state = CONNECTION_IDLE;
                return STEP_GO_ON;
        case STREAM_HELLO_AGAIN:
                return STEP_WAIT;
        case STREAM_HELLO_PLAIN_HTTP:
                c->tls = false;
                ex = exchange_new(c);
                if (ex) {
                        hello_over(c->home->server);
                        c->state = CONNECTION_IDLE;
                        IGNORE(FAIL(&ex->e, ERR_INVALID, 0, "this port speaks TLS: use https:// with this address"));
                        return exchange_fail(c, 400);
                }
                connection_close(c);
                return STEP_WAIT;
        case STREAM_HELLO_FAILED:
                log_handshake(c, &e);
                connection_close(c);
                return STEP_WAIT;
        }
        return STEP_WAIT;
}

/* The first look at what was received: it lies in the loop's memory, and only what is left over moves to the connection. */
static ssize_t receive_head(struct connection *c)
{
        struct http_loop *home = c->home;
        ssize_t got = stream_read(&c->stream, home->receive, RECEIVE_BYTES);

        if (got > 0)
                buf_put(&c->in, (struct slice){ home->receive, (size_t)got });
        if (!buf_ok(&c->in))
                return STREAM_DEAD;
        return got;
}

static enum step refuse_head(struct connection *c, int status, const struct err *e)
{
        struct exchange *ex = exchange_new(c);

        if (!ex) {
                connection_close(c);
                return STEP_WAIT;
        }
        ex->e = *e;
        return exchange_fail(c, status);
}

/* Empty lines behind a request, as some clients send them (RFC 9112, section 2.2), are no beginning of the next. */
static void drop_empty_lines(struct connection *c)
{
        if (c->scan.skip == 0 || c->scan.skip < c->in.n)
                return;
        buf_consume(&c->in, c->in.n);
        c->scan = (struct head_scan){ 0 };
}

/* Is the head complete? Then its request begins, and what came behind it stays in c->in. */
static enum step scan_head(struct connection *c, bool *ret_more)
{
        struct http_server *server = c->home->server;
        struct head_limits limits = {
                .line_bytes_max = server->request_line_bytes_max,
                .head_bytes_max = server->head_bytes_max,
                .fields_max = (unsigned)server->head_fields_max,
        };
        size_t skip, head_bytes;
        struct err e;
        int status;

        *ret_more = false;
        switch (head_scan(&c->scan, buf_slice(&c->in), &limits, &skip, &head_bytes, &status, &e)) {
        case HEAD_MORE:
                *ret_more = true;
                return STEP_WAIT;
        case HEAD_BAD:
                return refuse_head(c, status, &e);
        case HEAD_COMPLETE:
                break;
        }
        return exchange_begin(c, slice_head(slice_skip(buf_slice(&c->in), skip), head_bytes), skip + head_bytes);
}

static enum step on_head(struct connection *c)
{
        bool more;

        for (;;) {
                ssize_t got;

                if (c->in.n) {
                        enum step step = scan_head(c, &more);

                        if (!more)
                                return step;
                }
                got = receive_head(c);
                if (got == STREAM_AGAIN)
                        break;
                if (got < 0) {
                        connection_close(c);
                        return STEP_WAIT;
                }
        }
        if (c->state == CONNECTION_IDLE)
                drop_empty_lines(c);
        if (c->in.n && c->state == CONNECTION_IDLE) {
                c->state = CONNECTION_HEAD;
                set_limit(c);           /* counts from the first byte, whatever comes after it */
        }
        return STEP_WAIT;
}

static enum step on_idle(struct connection *c)
{
        c->scan = (struct head_scan){ 0 };
        if (c->home->server->stopping && c->in.n == 0) {
                connection_close(c);
                return STEP_WAIT;
        }
        return on_head(c);
}

static enum step on_work(struct connection *c)
{
        return c->exchange->working ? STEP_WAIT : transmit_begin(c);
}

static enum step run_state(struct connection *c)
{
        switch (c->state) {
        case CONNECTION_HELLO:
                return on_hello(c);
        case CONNECTION_IDLE:
                return on_idle(c);
        case CONNECTION_HEAD:
                return on_head(c);
        case CONNECTION_WORK:
                return on_work(c);
        case CONNECTION_BODY:
                return receive_body(c);
        case CONNECTION_SEND:
                return transmit_more(c);
        case CONNECTION_DRAIN:
                return receive_drain(c);
        case CONNECTION_LINGER:
                return receive_linger(c);
        case CONNECTION_CLOSED:
                connection_close(c);
                return STEP_WAIT;
        }
        return STEP_WAIT;
}

void connection_run(struct connection *c)
{
        enum connection_state before = c->state;
        enum step step = STEP_GO_ON;

        idle_remove(c);
        for (int turn = 0; step == STEP_GO_ON; turn++)
                step = turn < TURN_STEPS ? run_state(c) : connection_go_on_later(c);
        if (c->state == CONNECTION_CLOSED)
                return;
        if (c->state != before || c->state == CONNECTION_IDLE) {
                c->queued_bytes = 0;
                if (c->state != CONNECTION_SEND)
                        c->progress_bytes = 0;          /* of an answer it counts what went out on the way here: that may be queued */
                set_limit(c);
        }
        if (c->state == CONNECTION_IDLE && c->in.n == 0)
                buf_fini(&c->in);
        if (c->in.n == 0 && (c->state == CONNECTION_IDLE || c->state == CONNECTION_HELLO))
                idle_add(c);
}
