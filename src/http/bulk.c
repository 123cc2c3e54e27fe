/* Large files over TLS. To read, encrypt and send a GB takes a processor most of a second, and a loop that did it would let its other
 * connections wait. So threads of their own do it, as many as there are loops: they have the stream for a turn, while the loop
 * leaves it alone, and give it back. */
#include "http/connection.h"

#include "base/pool.h"

enum { BULK_BYTES_MIN = 256 * 1024 };           /* below that, the trip would cost more than it spares */

RESULT bulk_init(struct bulk *bulk, unsigned threads, struct err *e)
{
        pthread_mutex_init(&bulk->lock, NULL);
        for (; bulk->spare_count < threads; bulk->spare_count++)
                TRY(stream_scratch_new(&bulk->spare[bulk->spare_count], e));
        return pool_new(threads, &bulk->pool, e);
}

void bulk_fini(struct bulk *bulk)
{
        if (bulk->pool)
                pool_free(bulk->pool);
        while (bulk->spare_count)
                stream_scratch_free(bulk->spare[--bulk->spare_count]);
}

/* There are as many as threads. */
static struct stream_scratch *take_scratch(struct bulk *bulk)
{
        struct stream_scratch *scratch;

        pthread_mutex_lock(&bulk->lock);
        CHECK(bulk->spare_count > 0);
        scratch = bulk->spare[--bulk->spare_count];
        pthread_mutex_unlock(&bulk->lock);
        return scratch;
}

static void return_scratch(struct bulk *bulk, struct stream_scratch *scratch)
{
        pthread_mutex_lock(&bulk->lock);
        bulk->spare[bulk->spare_count++] = scratch;
        pthread_mutex_unlock(&bulk->lock);
}

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
        } while (ex->bulk_status > 0 && ex->bulk_bytes < MIN(ex->part_left, (uint64_t)TURN_BYTES));
}

static void send_with(struct exchange *ex, struct stream_scratch *scratch)
{
        struct stream *stream = &ex->connection->stream;
        struct stream_scratch *of_loop = stream->scratch;

        stream->scratch = scratch;
        send_turn(ex);
        stream->scratch = of_loop;
}

/* On a thread of ours. */
static void run_turn(struct pool_task *task)
{
        struct exchange *ex = CONTAINER_OF(task, struct exchange, task);
        struct http_loop *home = ex->connection->home;
        struct stream_scratch *scratch = take_scratch(&home->server->bulk);

        send_with(ex, scratch);
        return_scratch(&home->server->bulk, scratch);
        loop_post(home->loop, &ex->done);
}

/* Back on the loop. */
static void turn_done(struct loop_message *message)
{
        struct exchange *ex = CONTAINER_OF(message, struct exchange, done);
        struct connection *c = ex->connection;

        ex->working = false;
        c->lent = false;
        stream_event(&c->stream, c->lent_events);
        ex->bulk_ended = c->state != CONNECTION_CLOSED;
        connection_run(c);
}

enum step bulk_submit(struct connection *c)
{
        struct exchange *ex = c->exchange;

        CHECK(!ex->working);
        ex->working = c->lent = true;
        c->lent_events = 0;
        ex->task.run = run_turn;
        ex->done.run = turn_done;
        pool_submit(c->home->server->bulk.pool, &ex->task);
        return STEP_WAIT;
}

ssize_t bulk_result(struct exchange *ex, bool *ret_cold)
{
        ex->bulk_ended = false;
        if (ex->bulk_bytes)
                return (ssize_t)ex->bulk_bytes;
        CHECK(ex->bulk_status != STREAM_AGAIN || ex->bulk_cold);       /* nothing waited for the socket */
        *ret_cold = ex->bulk_cold;
        return ex->bulk_status;
}
