/* An answer on its way out: its head, then the body's bytes, a file, or several ranges with their part heads between them. */
#include "http/connection.h"

#include "base/clock.h"
#include "http/date.h"

#include <stdlib.h>

/* --- The head --------------------------------------------------------------------------------------------------------- */

static struct slice date_now(struct http_loop *home)
{
        int64_t second = clock_now_us() / 1000000;

        if (second != home->date_second) {
                http_date_format(second, home->date);
                home->date_second = second;
        }
        return (struct slice){ home->date, HTTP_DATE_LENGTH };
}

/* None of the ranges lies in the body: the application words the error, the size is told beside it (RFC 9110, section 15.5.17). */
static void refuse_range(struct exchange *ex)
{
        struct http_response *rs = &ex->rs;
        uint64_t size = rs->size;
        struct slice text = message_unsatisfied_range(size, &ex->arena);

        message_drop_body(rs);
        IGNORE(FAIL(&ex->e, ERR_INVALID, 0, "the range lies outside of the %llu bytes that there are", (unsigned long long)size));
        ex->connection->home->server->app.fail(&ex->rq, rs, 416, &ex->e);
        if (text.p)
                http_response_header(rs, S("Content-Range"), text);
        message_select(&ex->rq, rs, &ex->selection);
}

static void select_answer(struct exchange *ex)
{
        struct message_selection *selection = &ex->selection;
        struct http_response *rs = &ex->rs;

        message_select(&ex->rq, rs, selection);
        if (selection->status == 416 && rs->status == 200)
                refuse_range(ex);
        if (selection->range_count > ex->connection->home->server->ranges_max) {
                selection->status = rs->status;
                selection->length = rs->size;
                selection->ranges = NULL;
                selection->range_count = 0;
        }
}

/* May the connection be used again? What is left of the request's body must be little enough to be read and thrown away. */
static bool stays_open(const struct connection *c)
{
        const struct exchange *ex = c->exchange;

        if (!ex->head.keep_alive || ex->rs.close || c->stream.hung_up || c->home->server->stopping)
                return false;
        if (ex->body_complete)
                return true;
        return !ex->head.chunked && !ex->continue_owed && ex->body_left <= DRAIN_BYTES_MAX;
}

/* --- Parts ------------------------------------------------------------------------------------------------------------ */

/* What of the body comes next: all of it, or the next range. */
static void begin_part(struct exchange *ex)
{
        const struct message_selection *selection = &ex->selection;

        if (!selection->has_body) {
                ex->part_left = 0;
        } else if (selection->ranges) {
                ex->part_at = selection->ranges[ex->part].first;
                ex->part_left = selection->ranges[ex->part].last - ex->part_at + 1;
        } else {
                ex->part_at = 0;
                ex->part_left = ex->rs.size;
        }
        if (selection->range_count > 1 && selection->has_body)
                multipart_put_head(&selection->multipart, ex->part, &ex->out);
}

/* A small body travels in one piece with its head. */
static void join_small_body(struct exchange *ex)
{
        struct slice bytes;

        if (ex->rs.kind != HTTP_BODY_BYTES || ex->part_left == 0 || ex->part_left > SMALL_BODY_MAX || ex->selection.range_count > 1)
                return;
        bytes = slice_head(slice_skip(ex->rs.bytes, (size_t)ex->part_at), (size_t)ex->part_left);
        buf_put(&ex->out, bytes);
        ex->bytes_out += bytes.n;
        ex->part_left = 0;
}

static void compose(struct connection *c, struct slice date)
{
        struct exchange *ex = c->exchange;
        struct message_facts facts = {
                .date = date,
                .version_minor = ex->head.version_minor,
        };

        select_answer(ex);
        c->keep_alive = facts.keep_alive = stays_open(c);
        message_head(&ex->out, &ex->rq, &ex->rs, &ex->selection, &facts);
        begin_part(ex);
        join_small_body(ex);
        if (ex->told == TOLD_END && ex->part_left == 0 && ex->selection.range_count <= 1)
                held_drop(ex);
        ex->composed = true;
}

enum step transmit_begin(struct connection *c)
{
        struct exchange *ex = c->exchange;

        if (!ex->composed)
                compose(c, date_now(c->home));
        if (!buf_ok(&ex->out)) {        /* no memory for a head: nothing can be said */
                connection_close(c);
                return STEP_WAIT;
        }
        if (ex->rs.kind == HTTP_BODY_FILE && ex->selection.has_body && ex->selection.length >= LARGE_BODY_MIN)
                priority_raise(ex);
        c->state = CONNECTION_SEND;
        return STEP_GO_ON;
}

/* The next part's head, or the last line. false: all is sent. */
static bool next_part(struct exchange *ex)
{
        if (ex->selection.range_count <= 1 || !ex->selection.has_body || ex->closing_sent)
                return false;
        buf_reset(&ex->out);
        ex->out_at = 0;
        if (++ex->part < ex->selection.range_count) {
                begin_part(ex);
                return true;
        }
        ex->closing_sent = true;
        multipart_put_end(&ex->selection.multipart, &ex->out);
        return true;
}

/* --- Bytes ------------------------------------------------------------------------------------------------------------ */

static void count_body(struct connection *c, size_t n)
{
        struct exchange *ex = c->exchange;

        ex->part_at += n;
        ex->part_left -= n;
        ex->bytes_out += n;
}

/* What was made here, and with it the body's bytes if they are in memory. */
static ssize_t send_memory(struct connection *c)
{
        struct exchange *ex = c->exchange;
        size_t left = ex->out.n - ex->out_at, of_out;
        struct iovec parts[2];
        int count = 0;
        ssize_t sent;

        if (left)
                parts[count++] = (struct iovec){ ex->out.p + ex->out_at, left };
        if (ex->part_left && ex->rs.kind == HTTP_BODY_BYTES)
                parts[count++] = (struct iovec){ (char *)(uintptr_t)ex->rs.bytes.p + ex->part_at, (size_t)ex->part_left };
        sent = stream_write(&c->stream, parts, count, ex->part_left && ex->rs.kind == HTTP_BODY_FILE);
        if (sent <= 0)
                return sent;
        of_out = MIN((size_t)sent, left);
        ex->out_at += of_out;
        count_body(c, (size_t)sent - of_out);
        return sent;
}

bool transmit_early(struct connection *c)
{
        struct exchange *ex = c->exchange;
        char date[HTTP_DATE_LENGTH + 1];

        if (ex->rs.kind == HTTP_BODY_FILE || ex->rs.size > SMALL_BODY_MAX)
                return false;
        http_date_format(clock_now_us() / 1000000, date);
        compose(c, slice_from(date));
        if (!buf_ok(&ex->out) || ex->part_left || send_memory(c) <= 0 || ex->out_at < ex->out.n || stream_has_unsent(&c->stream))
                return false;
        ex->out_us = clock_mono_us();
        return true;
}

static ssize_t send_file(struct connection *c, bool *ret_cold)
{
        struct exchange *ex = c->exchange;
        uint64_t n = MIN(ex->part_left, (uint64_t)TURN_BYTES);
        ssize_t sent = stream_send_file(&c->stream, ex->rs.fd, ex->part_at, n, ret_cold, &ex->e);

        if (sent > 0)
                count_body(c, (size_t)sent);
        return sent;
}

/* What another thread has sent. */
static ssize_t take_bulk(struct connection *c, bool *ret_cold)
{
        ssize_t sent = bulk_take_result(c->exchange, ret_cold);

        if (sent > 0)
                count_body(c, (size_t)sent);
        return sent;
}

static enum step after_answer(struct connection *c)
{
        struct exchange *ex = c->exchange;
        bool unread = !ex->body_complete || c->in.n > 0;

        atomic_fetch_add_explicit(&c->home->figures.bytes_out, ex->bytes_out, memory_order_relaxed);
        c->drain_left = DRAIN_BYTES_MAX;
        if (c->keep_alive && !ex->body_complete) {
                c->state = CONNECTION_DRAIN;
                return STEP_GO_ON;
        }
        exchange_end(ex);
        if (c->keep_alive) {
                c->state = CONNECTION_IDLE;
                return STEP_GO_ON;
        }
        if (!unread && !c->stream.ssl) {
                connection_close(c);
                return STEP_WAIT;
        }
        /* Closing with bytes unread would reset the connection, and the peer might lose the answer (RFC 9112, section 9.6). */
        stream_shutdown(&c->stream);
        c->drain_left = UINT64_MAX;
        c->state = CONNECTION_LINGER;
        return STEP_GO_ON;
}

static enum step warm(struct exchange *ex)
{
        ex->do_warm = true;
        return exchange_submit(ex);
}

enum next { NEXT_MEMORY, NEXT_FILE, NEXT_BULK, NEXT_BULK_RESULT, NEXT_PART, NEXT_FLUSH, NEXT_NOTHING };

/* What is to be sent next? */
static enum next what_next(const struct connection *c)
{
        struct exchange *ex = c->exchange;

        if (ex->out_at < ex->out.n || (ex->part_left && ex->rs.kind == HTTP_BODY_BYTES))
                return NEXT_MEMORY;
        if (ex->bulk_ended)
                return NEXT_BULK_RESULT;
        if (stream_is_full(&c->stream))
                return NEXT_FLUSH;
        if (ex->part_left)
                return bulk_suits(c) ? NEXT_BULK : NEXT_FILE;
        if (next_part(ex))
                return NEXT_PART;
        return stream_has_unsent(&c->stream) ? NEXT_FLUSH : NEXT_NOTHING;
}

enum step transmit_more(struct connection *c)
{
        struct exchange *ex = c->exchange;
        size_t turn = 0;

        if (ex->working)
                return STEP_WAIT;
        if (ex->unreadable) {
                connection_close(c);
                return STEP_WAIT;
        }
        for (;;) {
                bool cold = false;
                ssize_t sent = STREAM_AGAIN;

                switch (what_next(c)) {
                case NEXT_MEMORY:
                        sent = send_memory(c);
                        break;
                case NEXT_FILE:
                        sent = send_file(c, &cold);
                        break;
                case NEXT_BULK:
                        return bulk_submit(c);
                case NEXT_BULK_RESULT:
                        sent = take_bulk(c, &cold);
                        break;
                case NEXT_PART:
                        continue;
                case NEXT_FLUSH:
                        sent = stream_flush(&c->stream);
                        break;
                case NEXT_NOTHING:
                        return after_answer(c);
                }
                if (cold)
                        return warm(ex);
                if (sent == STREAM_AGAIN)
                        return STEP_WAIT;
                if (sent < 0) {
                        connection_close(c);
                        return STEP_WAIT;
                }
                c->progress_bytes += (size_t)sent;
                turn += (size_t)sent;
                if (turn >= TURN_BYTES)
                        return connection_go_on_later(c);
        }
}
