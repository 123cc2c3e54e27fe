/* A body on its way in. The loop fills one buffer while a worker takes the other, so that network, hash and disk overlap; when both
 * are full the loop stops reading, and the client feels it. */
#include "http/connection.h"

#include <errno.h>
#include <stdlib.h>

enum { PIECE = 4096 };

/* --- Buffers ---------------------------------------------------------------------------------------------------------- */

static void free_buffer(struct exchange *ex, struct body_buffer *buffer)
{
        if (buffer->capacity > BODY_BUFFER_MIN)
                atomic_fetch_sub(&ex->connection->home->server->large_buffer_bytes, buffer->capacity);
        free(buffer->p);
        *buffer = (struct body_buffer){ 0 };
}

/* Large buffers are for clients that fill them, and only as many as the server may have: the less is left, the smaller they are, so
 * that many clients at once get something each. */
static size_t grantable(const struct exchange *ex)
{
        uint64_t taken = ex->connection->home->server->large_buffer_bytes;
        uint64_t left = taken < LARGE_BUFFERS_MAX ? LARGE_BUFFERS_MAX - taken : 0;
        size_t bytes = ex->buffer_want;

        while (bytes > BODY_BUFFER_MIN && bytes > left / LARGE_BUFFER_SHARE)
                bytes /= BODY_BUFFER_STEP;
        return bytes;
}

static bool have_buffer(struct exchange *ex)
{
        if (ex->fill.p)
                return true;
        ex->fill = (struct body_buffer){ .capacity = grantable(ex) };
        if (ex->fill.capacity > BODY_BUFFER_MIN)
                atomic_fetch_add(&ex->connection->home->server->large_buffer_bytes, ex->fill.capacity);
        ex->fill.p = malloc(ex->fill.capacity);
        if (!ex->fill.p)
                free_buffer(ex, &ex->fill);
        return ex->fill.p;
}

void receive_buffer_done(struct exchange *ex)
{
        if (!ex->busy.p)
                return;
        if (!ex->fill.p && ex->busy.capacity >= grantable(ex) && !ex->body_complete) {
                ex->fill = ex->busy;
                ex->fill.n = 0;
                ex->busy = (struct body_buffer){ 0 };
        } else {
                free_buffer(ex, &ex->busy);
        }
}

void receive_fini(struct exchange *ex)
{
        if (ex->whole.max)
                atomic_fetch_sub(&ex->connection->home->server->whole_body_bytes, ex->whole.capacity);
        buf_fini(&ex->whole);
        free_buffer(ex, &ex->fill);
        free_buffer(ex, &ex->busy);
}

/* --- Bytes ------------------------------------------------------------------------------------------------------------ */

/* What was received with the head, or before, comes first. */
static ssize_t raw_read(struct connection *c, char *bytes, size_t n)
{
        if (c->in.n) {
                n = MIN(n, c->in.n);
                memcpy(bytes, c->in.p, n);
                buf_consume(&c->in, n);
                if (c->in.n == 0)
                        buf_fini(&c->in);
                return (ssize_t)n;
        }
        return stream_read(&c->stream, bytes, n);
}

static void count_in(struct connection *c, size_t n)
{
        c->progress_bytes += n;
        c->exchange->bytes_in += n;
        atomic_fetch_add_explicit(&c->home->figures.bytes_in, n, memory_order_relaxed);
}

/* Beside the stream's codes: what is wrong stands in broken_error. */
enum { BODY_MALFORMED = -100 };

/* Decodes `n` raw bytes in place; what follows the body's end goes back to the connection. */
static ssize_t decode_chunked(struct connection *c, char *bytes, size_t n)
{
        struct exchange *ex = c->exchange;
        struct slice in = { bytes, n }, data;
        enum chunked_state state;
        size_t total = 0;

        while ((state = chunked_feed(&ex->chunked, &in, &data)) == CHUNKED_DATA) {
                memmove(bytes + total, data.p, data.n);
                total += data.n;
        }
        if (state == CHUNKED_BAD) {
                IGNORE(FAIL(&ex->broken_error, ERR_INVALID, 0, "the chunked body is malformed: %s", ex->chunked.wrong));
                return BODY_MALFORMED;
        }
        if (state == CHUNKED_END) {
                struct buf rest = BUF_INIT(c->in.max);

                ex->body_complete = true;
                buf_put(&rest, in);
                buf_put(&rest, buf_slice(&c->in));
                buf_fini(&c->in);
                c->in = rest;
                if (!buf_ok(&c->in))
                        return STREAM_DEAD;
        }
        return (ssize_t)total;
}

/* At most `n` bytes of the body. 0 and *ret_raw > 0: only framing came. STREAM_AGAIN with *ret_raw 0: wait. */
static ssize_t read_body(struct connection *c, char *bytes, size_t n, size_t *ret_raw)
{
        struct exchange *ex = c->exchange;
        ssize_t got;

        *ret_raw = 0;
        if (!ex->head.chunked)
                n = (size_t)MIN((uint64_t)n, ex->body_left);
        got = raw_read(c, bytes, n);
        if (got <= 0)
                return got;
        *ret_raw = (size_t)got;
        count_in(c, (size_t)got);
        if (ex->head.chunked)
                return decode_chunked(c, bytes, (size_t)got);
        ex->body_left -= (uint64_t)got;
        ex->body_complete = ex->body_left == 0;
        return got;
}

/* --- Whole bodies ----------------------------------------------------------------------------------------------------- */

static enum step too_large(struct connection *c)
{
        struct exchange *ex = c->exchange;

        IGNORE(FAIL(&ex->e, ERR_LIMIT, 0, "the body is larger than the %zu bytes that are taken here", ex->whole.max));
        return exchange_fail(c, 413);
}

/* Room for what comes next, within the limit of one body and of all together. */
static char *whole_room(struct connection *c, size_t n, int *ret_status)
{
        struct exchange *ex = c->exchange;
        struct http_server *server = c->home->server;
        size_t before = ex->whole.capacity;
        char *room;

        *ret_status = 413;
        room = buf_reserve(&ex->whole, n);
        atomic_fetch_add(&server->whole_body_bytes, ex->whole.capacity - before);
        if (room && server->whole_body_bytes > WHOLE_BODIES_MAX) {
                *ret_status = 503;
                IGNORE(FAIL(&ex->e, ERR_BUSY, 0, "too many large requests at once; try again in a moment"));
                return NULL;
        }
        return room;
}

/* Reads a piece. false: *ret_step says what became of the request. */
static bool read_whole_piece(struct connection *c, enum step *ret_step)
{
        struct exchange *ex = c->exchange;
        size_t left = ex->whole.max - ex->whole.n, raw;
        char over, *room = &over;
        ssize_t got;
        int status;

        if (left > 0) {
                room = whole_room(c, MIN(left, (size_t)PIECE), &status);
                if (!room) {
                        *ret_step = exchange_fail(c, status);
                        return false;
                }
        }
        /* At the limit, one byte more tells whether the body ends here. */
        got = read_body(c, room, left > 0 ? ex->whole.capacity - ex->whole.n : 1, &raw);
        if (got == STREAM_AGAIN && raw == 0)
                *ret_step = STEP_WAIT;
        else if (got < 0)
                *ret_step = receive_break(c, got == BODY_MALFORMED ? 400 : 0);
        else if (left == 0 && got > 0)
                *ret_step = too_large(c);
        else {
                ex->whole.n += (size_t)got;
                return true;
        }
        return false;
}

static enum step receive_whole(struct connection *c)
{
        struct exchange *ex = c->exchange;
        enum step step;

        while (!ex->body_complete)
                if (!read_whole_piece(c, &step))
                        return step;
        c->state = CONNECTION_WORK;
        if (exchange_try_soon(c, buf_slice(&ex->whole)))
                return STEP_WAIT;
        ex->do_finish = true;
        return exchange_submit(ex);
}

/* --- Streamed bodies -------------------------------------------------------------------------------------------------- */

/* Is it worth a trip to the worker? A whole buffer is, the end is, and so is the first look at the request. */
static bool worth_a_trip(const struct exchange *ex)
{
        return ex->do_begin || ex->body_complete || ex->broken || ex->fill.n > ex->fill.capacity / 2;
}

/* A file is written fastest in whole pages, many at once: what is left over of one waits for the bytes that follow. */
static void keep_rest_of_page(struct exchange *ex)
{
        size_t rest = (size_t)((ex->body_given + ex->busy.n) % BODY_BUFFER_MIN);

        if (ex->body_complete || ex->broken || rest >= ex->busy.n || !have_buffer(ex))
                return;
        ex->busy.n -= rest;
        memcpy(ex->fill.p, ex->busy.p + ex->busy.n, rest);
        ex->fill.n = rest;
}

static enum step hand_over(struct exchange *ex)
{
        if (ex->fill.p && ex->fill.n == ex->fill.capacity && ex->buffer_want < BODY_BUFFER_MAX)
                ex->buffer_want *= BODY_BUFFER_STEP;
        if (ex->body_given >= LARGE_BODY_MIN)
                priority_raise(ex);
        ex->busy = ex->fill;
        ex->fill = (struct body_buffer){ 0 };
        keep_rest_of_page(ex);
        ex->body_given += ex->busy.n;
        ex->do_broken = ex->broken;
        ex->do_finish = ex->body_complete && !ex->broken;
        return exchange_submit(ex);
}

/* Fills the buffer, as far as a turn reaches. false: the body broke off, *ret_status is what to answer. */
static bool fill_buffer(struct connection *c, int *ret_status)
{
        struct exchange *ex = c->exchange;
        size_t turn = 0;

        while (!ex->body_complete) {
                size_t raw;
                ssize_t got;

                if (turn >= RECEIVE_TURN_BYTES) {
                        connection_go_on_later(c);
                        return true;
                }
                if (!have_buffer(ex)) {
                        IGNORE(FAIL(&ex->broken_error, ERR_NOMEM, ENOMEM, "receive a body"));
                        *ret_status = 503;
                        return false;
                }
                if (ex->fill.n == ex->fill.capacity)
                        return true;
                got = read_body(c, ex->fill.p + ex->fill.n, ex->fill.capacity - ex->fill.n, &raw);
                if (got < 0) {
                        if (got != BODY_MALFORMED)
                                IGNORE(FAIL(&ex->broken_error, ERR_CLOSED, 0, "the client ended before its body was complete"));
                        *ret_status = got == STREAM_DEAD ? 0 : 400;
                        return false;
                }
                if (got == STREAM_AGAIN && raw == 0)
                        return true;
                ex->fill.n += (size_t)got;
                turn += raw;
        }
        return true;
}

/* The client waits to be asked for the body (RFC 9110, section 10.1.1), unless it began to send it. */
static bool ask_for_body(struct connection *c)
{
        struct iovec part = { (char *)(uintptr_t)MESSAGE_CONTINUE, sizeof MESSAGE_CONTINUE - 1 };

        c->exchange->continue_owed = false;
        /* Everything before it was sent, so that the socket takes these few bytes whole. */
        return c->in.n > 0 || stream_write(&c->stream, &part, 1, false) == (ssize_t)part.iov_len;
}

/* Reads while the worker is busy, too. */
static enum step receive_stream(struct connection *c)
{
        struct exchange *ex = c->exchange;
        int status;

        if (!ex->broken && !fill_buffer(c, &status))
                return receive_break(c, status);
        if (ex->working || !worth_a_trip(ex))
                return STEP_WAIT;
        if (ex->do_begin && ex->body_complete && exchange_try_soon(c, (struct slice){ ex->fill.p, ex->fill.n }))
                return STEP_WAIT;
        return hand_over(ex);
}

enum step receive_break(struct connection *c, int status)
{
        struct exchange *ex = c->exchange;

        ex->broken = true;
        ex->broken_status = status;
        return ex->working ? STEP_WAIT : STEP_GO_ON;
}

enum step receive_close(struct connection *c)
{
        struct exchange *ex = c->exchange;

        if (ex->told != TOLD_BEGIN || ex->rs.status)
                return STEP_GO_ON;
        ex->broken = true;
        return hand_over(ex);
}

/* The handler has been told: an answer if somebody is there to hear it. */
static enum step end_broken(struct connection *c)
{
        struct exchange *ex = c->exchange;

        ex->e = ex->broken_error;
        if (ex->broken_status)
                return exchange_fail(c, ex->broken_status);
        connection_close(c);
        return STEP_WAIT;
}

enum step receive_body(struct connection *c)
{
        struct exchange *ex = c->exchange;
        bool streams = ex->rq.route->body == BODY_STREAM;

        if (ex->working)
                return streams && !ex->continue_owed && !ex->broken ? receive_stream(c) : STEP_WAIT;
        if (ex->rs.status)
                return transmit_begin(c);
        if (ex->broken)                         /* who never heard of the request need not hear of its end */
                return ex->told == TOLD_BEGIN ? hand_over(ex) : end_broken(c);
        if (ex->continue_owed && ex->do_begin)
                return exchange_submit(ex);     /* whether the body is wanted is asked first */
        if (ex->continue_owed && !ask_for_body(c)) {
                connection_close(c);
                return STEP_WAIT;
        }
        return streams ? receive_stream(c) : receive_whole(c);
}

/* --- What nobody wants ------------------------------------------------------------------------------------------------ */

enum step receive_drain(struct connection *c)
{
        struct exchange *ex = c->exchange;

        while (!ex->body_complete) {
                size_t raw;
                ssize_t got = read_body(c, c->home->receive, RECEIVE_BYTES, &raw);

                if (got == STREAM_AGAIN && raw == 0)
                        return STEP_WAIT;
                if (got < 0 || raw > c->drain_left) {
                        connection_close(c);
                        return STEP_WAIT;
                }
                c->drain_left -= raw;
        }
        exchange_end(ex);
        c->state = CONNECTION_IDLE;
        return STEP_GO_ON;
}

enum step receive_linger(struct connection *c)
{
        for (size_t turn = 0; turn < TURN_BYTES;) {
                ssize_t got = stream_read(&c->stream, c->home->receive, RECEIVE_BYTES);

                if (got == STREAM_AGAIN)
                        return STEP_WAIT;
                if (got <= 0 || (uint64_t)got > c->drain_left) {
                        connection_close(c);
                        return STEP_WAIT;
                }
                c->drain_left -= (uint64_t)got;
                turn += (size_t)got;
        }
        return connection_go_on_later(c);
}
