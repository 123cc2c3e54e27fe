/* A request's life: routing, the handlers' steps, the log line.
 *
 * What may block runs on a worker: the loop sets the steps (do_begin, a buffer to write, do_finish, ...), hands the exchange over,
 * and gets it back as a message. A request whose body came with its head needs one such trip. With the last steps goes the stream:
 * the worker sends a small answer itself, and the loop need not be woken for what is left to do. Small pushes cost a fifth less. */
#include "http/connection.h"

#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "http/router.h"

#include <stdio.h>
#include <stdlib.h>

enum { SPARE_MAX = 64, SPARE_OUT_MAX = 32 * 1024 };

/* --- Life ------------------------------------------------------------------------------------------------------------- */

static void give_id(struct http_loop *home, char ret_id[static REQUEST_ID_LENGTH + 1])
{
        static const char digits[] = "0123456789abcdef";
        uint64_t number = home->id_prefix + home->id_count++;

        for (int i = REQUEST_ID_LENGTH - 1; i >= 0; i--, number >>= 4)
                ret_id[i] = digits[number & 15];
        ret_id[REQUEST_ID_LENGTH] = 0;
}

struct exchange *exchange_new(struct connection *c)
{
        struct http_loop *home = c->home;
        struct exchange *ex = home->spare;
        struct buf out = BUF_INIT(64 * 1024);
        struct arena arena = ARENA_INIT(EXCHANGE_ARENA_MAX);

        if (ex) {
                home->spare = ex->next_spare;
                home->spare_count--;
                out = ex->out;
                arena = ex->arena;
                buf_reset(&out);
        } else {
                ex = malloc(sizeof *ex);
                if (!ex)
                        return NULL;
        }
        *ex = (struct exchange){ .connection = c, .arena = arena, .out = out, .rs.fd = -1, .buffer_want = BODY_BUFFER_MIN };
        ex->before_handler = arena_mark(&ex->arena);
        ex->started_us = clock_mono_us();
        ex->rq.arena = &ex->arena;
        ex->rq.peer = slice_from(c->peer);
        ex->rq.tls = c->tls;
        ex->rq.app = home->server->app.app;
        give_id(home, ex->rq.id);
        c->exchange = ex;
        atomic_fetch_add(&home->figures.requests_running, 1);
        return ex;
}

static void log_request(const struct exchange *ex)
{
        const struct http_request *rq = &ex->rq;
        int status = ex->selection.status;      /* 0: the client went away before its answer */
        int64_t until_us = ex->out_us ? ex->out_us : clock_mono_us();
        bool ours = status >= 500 && ex->e.code != ERR_BUSY;
        enum log_level level = ours ? LOG_ERROR : LOG_INFO;

        if (!log_enabled(level))
                return;
        log_event(level, "request", LOG_S("method", rq->method_text), LOG_S("path", rq->target), LOG_U("status", (uint64_t)status),
                  LOG_U("in", ex->bytes_in), LOG_U("out", ex->bytes_out), LOG_U("us", (uint64_t)(until_us - ex->started_us)),
                  LOG_S("client", rq->peer), LOG_S("agent", http_request_header(rq, S("User-Agent"))), LOG_C("id", rq->id),
                  (ex->e.code == ERR_NONE ? (struct log_field){ .name = NULL } : LOG_C("error", ex->e.message)));
}

/* Once, and before the answer goes out: who has read it may come back at once for what the handlers held. */
static void end_handlers(struct exchange *ex)
{
        if ((ex->told == TOLD_BEGIN || ex->told == TOLD_FINISH) && ex->rq.route->fini)
                ex->rq.route->fini(&ex->rq);
        ex->told = TOLD_END;
}

void exchange_end(struct exchange *ex)
{
        struct connection *c = ex->connection;
        struct http_loop *home = c->home;

        CHECK(!ex->working);
        log_request(ex);
        end_handlers(ex);
        held_drop(ex);
        priority_drop(ex);
        receive_fini(ex);
        c->exchange = NULL;
        atomic_fetch_sub(&home->figures.requests_running, 1);
        if (home->spare_count >= SPARE_MAX || ex->out.capacity > SPARE_OUT_MAX) {
                buf_fini(&ex->out);
                arena_fini(&ex->arena);
                free(ex);
                return;
        }
        arena_reset(&ex->arena);
        ex->next_spare = home->spare;
        home->spare = ex;
        home->spare_count++;
}

void exchange_free_spare(struct http_loop *home)
{
        for (struct exchange *ex = home->spare, *next; ex; ex = next) {
                next = ex->next_spare;
                buf_fini(&ex->out);
                arena_fini(&ex->arena);
                free(ex);
        }
        home->spare = NULL;
        home->spare_count = 0;
}

/* --- Steps on a worker ------------------------------------------------------------------------------------------------ */

/* A step failed: the application words the answer. */
static void fail_step(struct exchange *ex)
{
        message_drop_body(&ex->rs);
        ex->connection->home->server->app.fail(&ex->rq, &ex->rs, 0, &ex->e);
}

/* What a step got over on its way is nothing for the log. */
static void end_step(struct exchange *ex, struct result result)
{
        if (!result.ok)
                fail_step(ex);
        else if (ex->rs.status < 400)
                ex->e = ERR_INIT;
}

static void run_begin(struct exchange *ex)
{
        ex->do_begin = false;
        ex->told = TOLD_BEGIN;
        if (ex->rq.route->begin)
                end_step(ex, ex->rq.route->begin(&ex->rq, &ex->rs, &ex->e));
}

static void run_write(struct exchange *ex)
{
        struct slice bytes = { ex->busy.p, ex->busy.n };

        if (bytes.n && !ex->rq.route->write(&ex->rq, bytes, &ex->e).ok)
                fail_step(ex);
}

static void run_finish(struct exchange *ex)
{
        ex->do_finish = false;
        ex->told = TOLD_FINISH;
        end_step(ex, ex->rq.route->finish(&ex->rq, &ex->rs, &ex->e));
}

static void run_broken(struct exchange *ex)
{
        ex->do_broken = false;
        if (ex->rq.route->broken)
                ex->rq.route->broken(&ex->rq);
}

/* A client that has its answer asks for more, and that wakes the loop. */
static void give_back(struct exchange *ex)
{
        struct connection *c = ex->connection;
        struct http_loop *home = c->home;
        bool is_out = false;

        atomic_fetch_add(&home->quiet_count, ex->may_be_quiet); /* before the client can know that it is so */
        if (c->lent && ex->rs.status && connection_use_stream(c)) {
                is_out = transmit_early(c);
                connection_leave_stream(c);
        }
        if (ex->may_be_quiet && is_out && c->keep_alive)
                loop_post_quietly(home->loop, &ex->done);
        else
                loop_post(home->loop, &ex->done);
}

/* On a worker. A step that answered is the last one. */
static void run_steps(struct pool_task *task)
{
        struct exchange *ex = CONTAINER_OF(task, struct exchange, task);
        bool is_broken = ex->do_broken;

        if (ex->do_warm)
                ex->unreadable = !stream_warm(ex->rs.fd, ex->part_at, ex->part_left, &ex->e).ok;
        else {
                if (ex->do_begin)
                        run_begin(ex);
                if (ex->rs.status == 0)
                        run_write(ex);
                if (ex->rs.status == 0 && ex->do_broken)
                        run_broken(ex);
                if (ex->rs.status == 0 && ex->do_finish)
                        run_finish(ex);
                if (ex->rs.status != 0 || is_broken)
                        end_handlers(ex);
                held_take(ex);
        }
        give_back(ex);
}

/* Back on the loop. */
static void steps_done(struct loop_message *message)
{
        struct exchange *ex = CONTAINER_OF(message, struct exchange, done);
        struct connection *c = ex->connection;
        struct http_loop *home = c->home;
        bool was_quiet = ex->may_be_quiet;

        ex->working = ex->may_be_quiet = false;
        ex->do_warm = ex->do_broken = false;
        if (c->lent)
                connection_take_back(c);
        receive_buffer_done(ex);
        connection_wake(c);
        atomic_fetch_sub(&home->quiet_count, was_quiet);        /* it is among the idle ones now */
}

/* The steps' end is the request's, and all of the request has come: the worker may answer. */
static bool ends_with_answer(const struct exchange *ex)
{
        return ex->body_complete && !ex->do_warm && !ex->do_broken && (ex->do_finish || ex->rq.route->body == BODY_NONE);
}

static void let_answer(struct exchange *ex)
{
        struct connection *c = ex->connection;

        connection_lend(c);
        ex->may_be_quiet = c->in.n == 0 && stream_is_drained(&c->stream);
        if (ex->may_be_quiet)
                loop_expect(c->home->loop, &ex->done);
}

enum step exchange_submit(struct exchange *ex)
{
        CHECK(!ex->working);
        ex->working = true;
        if (ends_with_answer(ex))
                let_answer(ex);
        ex->task.run = run_steps;
        ex->done.run = steps_done;
        pool_submit(ex->connection->home->server->pool, &ex->task);
        return STEP_WAIT;
}

bool exchange_try_soon(struct connection *c, struct slice body)
{
        struct exchange *ex = c->exchange;
        struct http_request *rq = &ex->rq;

        rq->body = body;
        if (!rq->route->try_soon || !rq->route->try_soon(rq))
                return false;
        ex->do_begin = false;
        ex->told = TOLD_FINISH;
        ex->working = true;
        ex->done.run = steps_done;
        let_answer(ex);
        rq->later(rq);
        return true;
}

void http_request_answer(struct http_request *rq, struct result result, const struct err *e)
{
        struct exchange *ex = CONTAINER_OF(rq, struct exchange, rq);

        if (result.ok) {
                rq->answer(rq, &ex->rs);
        } else {
                ex->e = *e;
                fail_step(ex);
        }
        end_handlers(ex);
        give_back(ex);
}

/* --- The engine's own answers ----------------------------------------------------------------------------------------- */

enum step exchange_fail(struct connection *c, int status)
{
        struct exchange *ex = c->exchange;

        message_drop_body(&ex->rs);
        c->home->server->app.fail(&ex->rq, &ex->rs, status, &ex->e);
        ex->rs.close = true;
        return transmit_begin(c);
}

/* --- From a head to a handler ----------------------------------------------------------------------------------------- */

static void prepare_body(struct exchange *ex)
{
        ex->body_left = ex->head.length;
        ex->body_complete = !ex->head.chunked && ex->head.length == 0;
        if (ex->head.chunked)
                chunked_init(&ex->chunked);
        ex->continue_owed = ex->head.expect_continue;
}

static enum step refuse_route(struct connection *c, int status, unsigned allowed)
{
        struct exchange *ex = c->exchange;
        char text[ROUTER_ALLOW_MAX];

        c->home->server->app.fail(&ex->rq, &ex->rs, status, &ex->e);
        if (status == 405)
                http_response_header(&ex->rs, S("Allow"), arena_copy(&ex->arena, router_allow(allowed, text)));
        return transmit_begin(c);
}

static enum step begin_whole(struct connection *c)
{
        struct exchange *ex = c->exchange;
        uint64_t max = *ex->rq.route->body_max;

        ex->whole = BUF_INIT((size_t)max);
        if (ex->head.length > max) {
                IGNORE(FAIL(&ex->e, ERR_LIMIT, 0, "the body has %llu bytes, at most %llu are taken here",
                            (unsigned long long)ex->head.length, (unsigned long long)max));
                return exchange_fail(c, 413);
        }
        c->state = CONNECTION_BODY;
        return STEP_GO_ON;
}

/* The route is known and allowed. */
static enum step start_handler(struct connection *c)
{
        struct exchange *ex = c->exchange;
        const struct http_route *route = ex->rq.route;

        ex->before_handler = arena_mark(&ex->arena);
        if (route->try_now && route->try_now(&ex->rq, &ex->rs)) {
                ex->told = TOLD_BEGIN;
                return transmit_begin(c);
        }
        switch (route->body) {
        case BODY_WHOLE:
                return begin_whole(c);
        case BODY_STREAM:
                ex->do_begin = true;
                c->state = CONNECTION_BODY;
                return STEP_GO_ON;
        case BODY_NONE:
                ex->do_begin = true;
                c->state = CONNECTION_WORK;
                return exchange_submit(ex);
        }
        return STEP_WAIT;
}

enum step exchange_begin(struct connection *c, struct slice head_bytes, size_t used)
{
        struct http_server *server = c->home->server;
        struct head_limits limits = {
                .line_bytes_max = server->request_line_bytes_max,
                .head_bytes_max = server->head_bytes_max,
                .fields_max = (unsigned)server->head_fields_max,
        };
        struct exchange *ex = exchange_new(c);
        struct slice kept;
        int status;
        unsigned allowed;

        if (!ex) {
                connection_close(c);
                return STEP_WAIT;
        }
        atomic_fetch_add(&c->home->figures.requests_total, 1);
        kept = arena_copy(&ex->arena, head_bytes);
        buf_consume(&c->in, used);
        if (!kept.p) {
                connection_close(c);
                return STEP_WAIT;
        }
        if (!head_parse(kept, &limits, &ex->rq, &ex->head, &status, &ex->e).ok)
                return exchange_fail(c, status);
        prepare_body(ex);
        if (!router_find(&server->app, &ex->rq, &status, &allowed, &ex->e).ok)
                return refuse_route(c, status, allowed);
        if (server->app.allow && !server->app.allow(&ex->rq, &ex->rs))
                return transmit_begin(c);
        return start_handler(c);
}
