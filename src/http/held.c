/* What answers hold in memory while they are sent. Files are sent from the disk, hot manifests lie in the application's cache once
 * for all; but a large manifest or a page of a list is made for the one who asked, who may read it slowly or not at all.
 *
 * An answer is counted before the worker takes up anything else, so that only what runs on the workers at a moment is uncounted.
 * The fuller it is, the smaller is what still gets in: the largest answers are refused first. */
#include "http/connection.h"

#include "base/heap.h"

static size_t bytes_of(const struct exchange *ex)
{
        const struct http_response *rs = &ex->rs;

        if (rs->kind != HTTP_BODY_BYTES || rs->size <= SMALL_BODY_MAX)
                return 0;               /* it will be copied behind its head */
        return ex->arena.used - ex->before_handler.used + (rs->release ? rs->bytes.n : 0);
}

static bool take(struct http_server *server, size_t n)
{
        uint64_t others = atomic_fetch_add(&server->held_bytes, n);

        if (others <= ANSWERS_MAX && n <= (ANSWERS_MAX - others) / ANSWER_SHARE)
                return true;
        atomic_fetch_sub(&server->held_bytes, n);
        return false;
}

void held_take(struct exchange *ex)
{
        struct http_server *server = ex->connection->home->server;
        size_t n = ex->held_bytes ? 0 : bytes_of(ex);

        if (n == 0)
                return;
        if (take(server, n)) {
                ex->held_bytes = n;
                return;
        }
        message_drop_body(&ex->rs);
        arena_rewind(&ex->arena, &ex->before_handler);
        IGNORE(FAIL(&ex->e, ERR_BUSY, 0, "too many large answers are being sent; try again in a moment"));
        server->app.fail(&ex->rq, &ex->rs, 503, &ex->e);
}

static void give_back(struct http_server *server, size_t n)
{
        uint64_t freed = atomic_fetch_add(&server->held_bytes_freed, n) + n;
        bool last = atomic_fetch_sub(&server->held_bytes, n) == n;

        if (!last || freed < ANSWERS_TRIM)
                return;
        atomic_store(&server->held_bytes_freed, 0);
        heap_trim_soon(server->pool);
}

void held_drop(struct exchange *ex)
{
        message_drop_body(&ex->rs);
        arena_rewind(&ex->arena, &ex->before_handler);
        if (ex->held_bytes)
                give_back(ex->connection->home->server, ex->held_bytes);
        ex->held_bytes = 0;
}
