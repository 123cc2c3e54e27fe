/* For the tests of this room: a store in a folder of its own, and short words for what is in it. */
#pragma once

#include "base/cleanup.h"
#include "base/testing.h"
#include "store/meta/meta.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define must(expr) \
        do { \
                if (!(expr).ok) \
                        fail_msg("%s: %s", #expr, e.message); \
        } while (0)
#define must_fail(expr, want) \
        do { \
                assert_false((expr).ok); \
                if (e.code != (want)) \
                        fail_msg("%s: error %d: %s", #expr, (int)e.code, e.message); \
        } while (0)

#define MAYBE_UNUSED __attribute__((unused))
#define IMAGE_TYPE S("application/vnd.oci.image.manifest.v1+json")

struct world {
        char folder[64];
        struct meta *meta;
        struct arena arena;
};

static struct err e;

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "%s", "/tmp/orlop-meta-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        w->arena = ARENA_INIT(64 * 1024 * 1024);
        must(meta_sqlite_open(w->folder, &w->meta, &e));
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        meta_free(w->meta);
        arena_fini(&w->arena);
        remove_tree(w->folder);
        free(w);
        return 0;
}

MAYBE_UNUSED static void reopen(struct world *w)
{
        meta_free(w->meta);
        must(meta_sqlite_open(w->folder, &w->meta, &e));
}

MAYBE_UNUSED static struct digest digest_of(struct slice text)
{
        struct digest digest;

        digest_of_bytes(SHA_256, text, &digest);
        return digest;
}

/* The address of a text's digest, in the caller's block. */
#define DIGEST(text) ((struct digest[]){ digest_of(S(text)) })

/* A session of its own that ends in this blob. */
MAYBE_UNUSED static struct result blob_add(struct meta *m, struct slice repository, struct slice text, struct err *err)
{
        struct upload_id id = upload_id_new();
        struct digest digest = digest_of(text);
        bool surplus;

        TRY(meta_upload_begin(m, repository, &id, S("state"), err));
        return meta_upload_commit(m, repository, &id, &digest, text.n, text, &surplus, err);
}

MAYBE_UNUSED static struct digest add_blob(struct world *w, struct slice repository, struct slice text)
{
        must(blob_add(w->meta, repository, text, &e));
        return digest_of(text);
}

/* A manifest whose bytes are `text`, under a tag or (empty) none. */
MAYBE_UNUSED static struct result manifest_put(struct meta *m, struct slice repository, struct slice text, const struct meta_part *parts,
                                               size_t part_count, struct slice tag, struct err *err)
{
        struct meta_manifest manifest = {
                .digest = digest_of(text),
                .media_type = IMAGE_TYPE,
                .payload = text,
                .size = text.n,
        };

        return meta_manifest_put(m, repository, &manifest, parts, part_count, &tag, tag.n ? 1 : 0, err);
}

MAYBE_UNUSED static struct digest put(struct world *w, struct slice repository, struct slice text, struct slice tag)
{
        must(manifest_put(w->meta, repository, text, NULL, 0, tag, &e));
        return digest_of(text);
}

/* An index of one child. */
MAYBE_UNUSED static struct digest put_index(struct world *w, struct slice repository, struct slice text, struct slice child,
                                            struct slice tag)
{
        struct meta_part part = { .digest = digest_of(child), .size = child.n, .is_manifest = true };

        must(manifest_put(w->meta, repository, text, &part, 1, tag, &e));
        return digest_of(text);
}
