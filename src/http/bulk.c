/* Large files over TLS. To read, encrypt and send a GB takes a processor most of a second, and a loop that did it would let its other
 * connections wait. So threads of their own do it, as many as there are loops: they have the stream for a turn, while the loop
 * leaves it alone, and give it back. */
#include "http/connection.h"

#include "base/pool.h"

/* For less, the trip would cost more than it spares. */
bool bulk_suits(const struct connection *c)
{
        return c->stream.ssl && c->exchange->part_left >= BULK_BYTES_MIN;
}

static void send_turn(struct exchange *ex)
{
        ex->bulk_bytes = 0;
        do {
                ex->bulk_status = stream_send_file(&ex->connection->stream, ex->rs.fd, ex->part_at + ex->bulk_bytes,
                                                   ex->part_left - ex->bulk_bytes, &ex->bulk_cold, &ex->e);
                if (ex->bulk_status > 0)
                        ex->bulk_bytes += (size_t)ex->bulk_status;
        } while (ex->bulk_status > 0 && ex->bulk_bytes < MIN(ex->part_left, (uint64_t)BULK_TURN_BYTES));
}

/* On a thread of ours. */
static void run_turn(struct pool_task *task)
{
        struct exchange *ex = CONTAINER_OF(task, struct exchange, task);
        struct http_loop *home = ex->connection->home;

        if (connection_use_stream(ex->connection)) {
                send_turn(ex);
                connection_leave_stream(ex->connection);
        } else {
                ex->bulk_bytes = 0;
                ex->bulk_cold = false;
                ex->bulk_status = STREAM_DEAD;
        }
        loop_post(home->loop, &ex->done);
}

/* Back on the loop. */
static void turn_done(struct loop_message *message)
{
        struct exchange *ex = CONTAINER_OF(message, struct exchange, done);
        struct connection *c = ex->connection;

        ex->working = false;
        connection_take_back(c);
        ex->bulk_ended = c->state != CONNECTION_CLOSED;
        connection_run(c);
}

enum step bulk_submit(struct connection *c)
{
        struct exchange *ex = c->exchange;

        CHECK(!ex->working);
        ex->working = true;
        connection_lend(c);
        ex->task.run = run_turn;
        ex->done.run = turn_done;
        pool_submit(c->home->server->bulk, &ex->task);
        return STEP_WAIT;
}

ssize_t bulk_take_result(struct exchange *ex, bool *ret_cold)
{
        ex->bulk_ended = false;
        if (ex->bulk_bytes)
                return (ssize_t)ex->bulk_bytes;
        CHECK(ex->bulk_status != STREAM_AGAIN || ex->bulk_cold);       /* nothing waited for the socket */
        *ret_cold = ex->bulk_cold;
        return ex->bulk_status;
}
