/* image: what Docker's client sends for a small image that the registry has not seen, nine requests one after another:
 *
 *      HEAD layer, POST, PATCH, PUT; HEAD config, POST, PATCH, PUT; PUT manifest
 *
 * The layer is 4 KiB, the config about 1.5 KiB; each image has its own bytes. */
#include "content.h"
#include "upload.h"

#include "base/rand.h"

#include <stdio.h>

#define LAYER_BYTES 4096
#define CONFIG_BYTES 1536
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

struct contents {
        struct content layer, config;
};

struct image {
        enum { LAYER_HEAD, LAYER_UPLOAD, CONFIG_HEAD, CONFIG_UPLOAD, MANIFEST_PUT } at;
        struct upload upload;
        struct content_one layer, config;
        char repository[300], head[1024], manifest[1024];
};

static RESULT prepare(struct load *l, struct err *e)
{
        static struct contents contents;

        TRY(content_init(&contents.layer, LAYER_BYTES, true, e));
        TRY(content_init(&contents.config, CONFIG_BYTES, true, e));
        l->shared = &contents;
        return OK;
}

static void send_blob_head(struct load_client *c, struct image *im, const char *digest)
{
        int n = snprintf(im->head, sizeof(im->head), "HEAD /v2/%s/blobs/%s HTTP/1.1\r\nHost: %s\r\n\r\n", im->repository, digest,
                         c->conn.loop->target->host);

        wire_send(&c->conn, (struct slice){ im->head, (size_t)n }, NULL, true);
}

static void send_manifest(struct load_client *c, struct image *im)
{
        int body_n = snprintf(im->manifest, sizeof(im->manifest),
                              "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE "\",\"config\":{\"mediaType\":"
                              "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%d},\"layers\":[{\"mediaType\":"
                              "\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"%s\",\"size\":%d}]}",
                              im->config.digest, CONFIG_BYTES, im->layer.digest, LAYER_BYTES);
        int n = snprintf(im->head, sizeof(im->head),
                         "PUT /v2/%s/manifests/t%llu HTTP/1.1\r\nHost: %s\r\nContent-Type: " MANIFEST_TYPE
                         "\r\nContent-Length: %d\r\n\r\n",
                         im->repository, (unsigned long long)c->operation, c->conn.loop->target->host, body_n);
        struct wire_body body = { .rest = { im->manifest, (size_t)body_n } };

        wire_send(&c->conn, (struct slice){ im->head, (size_t)n }, &body, false);
}

static void begin(struct load_client *c)
{
        const struct load_options *o = &c->worker->load->options;
        const struct contents *contents = c->worker->load->shared;
        struct image *im = c->state;

        content_make(&contents->layer, &im->layer);
        content_make(&contents->config, &im->config);
        snprintf(im->repository, sizeof(im->repository), "%s/%u", o->repository, c->number % o->repositories);
        im->at = LAYER_HEAD;
        send_blob_head(c, im, im->layer.digest);
}

static void answered(struct load_client *c, const struct wire_response *rs)
{
        struct image *im = c->state;

        switch (im->at) {
        case LAYER_HEAD:
                if (!load_expect(c, "HEAD of a new layer", rs, 404))
                        return;
                im->at = LAYER_UPLOAD;
                upload_begin(&c->conn, &im->upload, im->repository, im->layer.digest, im->layer.body, 0, true);
                return;
        case LAYER_UPLOAD:
                if (upload_step(c, &im->upload, rs) != UPLOAD_DONE)
                        return;
                im->at = CONFIG_HEAD;
                send_blob_head(c, im, im->config.digest);
                return;
        case CONFIG_HEAD:
                if (!load_expect(c, "HEAD of a new config", rs, 404))
                        return;
                im->at = CONFIG_UPLOAD;
                upload_begin(&c->conn, &im->upload, im->repository, im->config.digest, im->config.body, 0, true);
                return;
        case CONFIG_UPLOAD:
                if (upload_step(c, &im->upload, rs) != UPLOAD_DONE)
                        return;
                im->at = MANIFEST_PUT;
                send_manifest(c, im);
                return;
        case MANIFEST_PUT:
                if (!load_expect(c, "PUT of a manifest", rs, 201))
                        return;
                load_sample(c);
                load_done(c, 0);
                return;
        }
}

const struct scenario scenario_image = {
        .name = "image",
        .sentence = "small images, nine requests each",
        .client_bytes = sizeof(struct image),
        .prepare = prepare,
        .begin = begin,
        .answered = answered,
};
