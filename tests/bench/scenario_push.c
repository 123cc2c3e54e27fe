/* push: one large blob an operation, all with bytes of their own. */
#include "content.h"
#include "upload.h"

#include <stdio.h>

struct push {
        struct upload upload;
        struct content_one one;
        char repository[300];
};

static RESULT prepare(struct load *l, struct err *e)
{
        static struct content content;

        TRY(content_init(&content, l->options.bytes, l->options.streamed, e));
        l->shared = &content;
        return OK;
}

static void begin(struct load_client *c)
{
        const struct load_options *o = &c->worker->load->options;
        struct push *p = c->state;

        content_make(c->worker->load->shared, &p->one);
        snprintf(p->repository, sizeof(p->repository), "%s/%u", o->repository, c->number % o->repositories);
        upload_begin(&c->conn, &p->upload, p->repository, p->one.digest, p->one.body, o->bytes, o->streamed);
}

static void answered(struct load_client *c, const struct wire_response *rs)
{
        struct push *p = c->state;

        if (upload_step(c, &p->upload, rs) != UPLOAD_DONE)
                return;
        load_sample(c);
        load_done(c, c->worker->load->options.bytes);
}

const struct scenario scenario_push = {
        .name = "push",
        .sentence = "blobs of --bytes, by one PUT or --streamed",
        .client_bytes = sizeof(struct push),
        .prepare = prepare,
        .begin = begin,
        .answered = answered,
};
