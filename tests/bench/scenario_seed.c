/* seed: many tags, each with a manifest of its own, in many repositories; the time of each manifest's PUT is a sample.
 *
 * One operation is up to BATCH tags of one repository: the config that all manifests share is pushed first, then the manifests.
 * Repositories are NAME/00000, NAME/00001, …; with one repository it is NAME itself. Tags are t0000000, t0000001, …
 * With --subject the manifests are referrers of that digest. */
#include "content.h"
#include "upload.h"

#include <stdio.h>

#define BATCH 100
#define CONFIG "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

struct seed {
        bool config_done;
        unsigned tag, tags_left;
        struct upload upload;
        char config_digest[CONTENT_DIGEST + 1];
        char repository[300], head[1024], manifest[1024];
};

static unsigned batches(const struct load_options *o)
{
        return (o->tags + BATCH - 1) / BATCH;
}

static RESULT prepare(struct load *l, struct err *e)
{
        /* --repositories and --tags say how much there is to do */
        l->options.count = (uint64_t)l->options.repositories * batches(&l->options);
        if (strlen(l->options.repository) > 200)
                return FAIL(e, ERR_LIMIT, 0, "--repository is too long");
        return OK;
}

static void send_manifest(struct load_client *c, struct seed *s)
{
        const struct load_options *o = &c->worker->load->options;
        unsigned long long tag = o->first + s->tag;
        char subject[300] = "";

        if (o->subject)
                snprintf(subject, sizeof(subject), ",\"subject\":{\"mediaType\":\"" MANIFEST_TYPE "\",\"digest\":\"%s\",\"size\":1}",
                         o->subject);
        int body_n = snprintf(s->manifest, sizeof(s->manifest),
                              "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE "\",\"config\":{\"mediaType\":"
                              "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[],"
                              "\"annotations\":{\"org.example.tag\":\"%s:%llu\"}%s}",
                              s->config_digest, sizeof(CONFIG) - 1, s->repository, tag, subject);
        int n = snprintf(s->head, sizeof(s->head),
                         "PUT /v2/%s/manifests/t%07llu HTTP/1.1\r\nHost: %s\r\nContent-Type: " MANIFEST_TYPE
                         "\r\nContent-Length: %d\r\n\r\n",
                         s->repository, tag, c->conn.loop->target->host, body_n);
        struct wire_body body = { .rest = { s->manifest, (size_t)body_n } };

        wire_send(&c->conn, (struct slice){ s->head, (size_t)n }, &body, false);
}

static void begin(struct load_client *c)
{
        const struct load_options *o = &c->worker->load->options;
        struct seed *s = c->state;
        unsigned per_repository = batches(o), batch = (unsigned)(c->operation % per_repository);
        struct wire_body body = { .rest = S(CONFIG) };

        if (o->repositories == 1)
                snprintf(s->repository, sizeof(s->repository), "%s", o->repository);
        else
                snprintf(s->repository, sizeof(s->repository), "%s/%05llu", o->repository,
                         (unsigned long long)(c->operation / per_repository));
        s->tag = batch * BATCH;
        s->tags_left = MIN((unsigned)BATCH, o->tags - s->tag);
        s->config_done = false;
        content_digest(S(CONFIG), s->config_digest);
        upload_begin(&c->conn, &s->upload, s->repository, s->config_digest, body, sizeof(CONFIG) - 1, false);
}

static void answered(struct load_client *c, const struct wire_response *rs)
{
        struct seed *s = c->state;

        if (!s->config_done) {
                if (upload_step(c, &s->upload, rs) != UPLOAD_DONE)
                        return;
                s->config_done = true;
                load_restart(c);                /* the config's time is no manifest's */
        } else {
                if (!load_expect(c, "PUT of a manifest", rs, 201))
                        return;
                load_sample(c);
                s->tag++;
                s->tags_left--;
        }
        if (s->tags_left > 0)
                send_manifest(c, s);
        else
                load_done(c, 0);
}

const struct scenario scenario_seed = {
        .name = "seed",
        .sentence = "many manifests and tags in many repositories",
        .client_bytes = sizeof(struct seed),
        .prepare = prepare,
        .begin = begin,
        .answered = answered,
};
