/* get: one request an operation, of one path or of many in random order; for manifests, blobs, ranges, pages. */
#include "load.h"

#include "base/arena.h"
#include "base/fs.h"

struct heads {
        struct slice *heads;
        size_t count;
        struct arena arena;
};

static RESULT head_add(const struct load *l, struct heads *h, struct slice path, struct err *e)
{
        const struct load_options *o = &l->options;
        _cleanup_(buf_fini) struct buf b = BUF_INIT(16 * 1024);

        if (h->count == LOAD_PATHS_MAX)
                return FAIL(e, ERR_LIMIT, 0, "more than %d paths", LOAD_PATHS_MAX);
        buf_printf(&b, "%s %.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench-load\r\n", o->method, SLICE_ARG(path), l->target.host);
        for (size_t i = 0; i < o->header_count; i++)
                buf_printf(&b, "%s\r\n", o->headers[i]);
        buf_put(&b, S("\r\n"));
        h->heads[h->count] = arena_copy(&h->arena, buf_slice(&b));
        if (!buf_ok(&b) || !h->heads[h->count].p)
                return FAIL(e, ERR_NOMEM, 0, "requests");
        h->count++;
        return OK;
}

static RESULT prepare(struct load *l, struct err *e)
{
        static struct heads h;
        _cleanup_(buf_fini) struct buf file = BUF_INIT(64u << 20);
        struct slice lines, line;

        h.arena = ARENA_INIT(512u << 20);
        h.heads = calloc(LOAD_PATHS_MAX, sizeof(*h.heads));
        if (!h.heads)
                return FAIL(e, ERR_NOMEM, 0, "requests");
        for (size_t i = 0; i < l->options.path_count; i++)
                TRY(head_add(l, &h, l->options.paths[i], e));
        if (l->options.paths_file)
                TRY(fs_read_file(l->options.paths_file, &file, e));
        lines = buf_slice(&file);
        while (slice_next(&lines, '\n', &line)) {
                if (line.n > 0)
                        TRY(head_add(l, &h, line, e));
        }
        if (h.count == 0)
                return FAIL(e, ERR_INVALID, 0, "get: --path or --paths is needed");
        l->shared = &h;
        return OK;
}

static void begin(struct load_client *c)
{
        const struct heads *h = c->worker->load->shared;
        size_t which = h->count == 1 ? 0 : load_random(c->worker) % h->count;

        wire_send(&c->conn, h->heads[which], NULL, h->heads[which].p[0] == 'H');
}

static void answered(struct load_client *c, const struct wire_response *rs)
{
        const struct load_options *o = &c->worker->load->options;

        if (!load_expect(c, "get", rs, o->status))
                return;
        if (o->body_bytes >= 0 && rs->body_bytes != (uint64_t)o->body_bytes) {
                load_failed(c, "a body of %llu bytes instead of %lld", (unsigned long long)rs->body_bytes, (long long)o->body_bytes);
                return;
        }
        load_sample(c);
        load_done(c, rs->body_bytes);
}

const struct scenario scenario_get = {
        .name = "get",
        .sentence = "GET or HEAD",
        .prepare = prepare,
        .begin = begin,
        .answered = answered,
};

/* idle: one request, then nothing until it is told to stop; every connection must still be there. */
static RESULT idle_prepare(struct load *l, struct err *e)
{
        if (l->options.path_count == 0)
                l->options.paths[l->options.path_count++] = S("/v2/");
        l->options.count = l->options.clients;
        return prepare(l, e);
}

const struct scenario scenario_idle = {
        .name = "idle",
        .sentence = "connects, asks once, prints \"ready\" and rests until SIGTERM",
        .holds = true,
        .prepare = idle_prepare,
        .begin = begin,
        .answered = answered,
};
