/* What the registry must answer, for each repository: blobs, manifests and tags as registers that many threads use at once.
 *
 * An operation is a window, from before the call until after it. It had its effect at one moment in between; nobody knows when.
 * So the model keeps, for each thing, when the last operations began and ended that showed it, and when those ended (or whether they
 * still run) that may have changed it. From these follows what is sure during a window:
 *
 *      it is there      it was shown to be, by an operation that ended before the window began; nothing that ended since that one
 *                       began may have removed it; and the collector may not: somebody leads to it, or it was promised to stay
 *      it is not there  it was shown to be absent, in the same way, and nothing may have added it since
 *
 * All else may be either. Nothing here is a guess about speed: on a slow machine less is sure, and nothing false.
 *
 *      window_open(&w, model, repository)      locked: say in w.now what is going to change
 *      window_run(&w)                          unlocked: call the registry
 *      window_close(&w)                        locked: judge the answer, note what it shows
 *      window_end(&w)
 *
 * A sweep is a collection without grace, as `orlop gc --grace 0s` does it: it ends all promises. */
#pragma once

#include "content.h"

#include <pthread.h>
#include <stdatomic.h>

enum { NO_MANIFEST = MANIFESTS, THREADS_MAX = 16 };

struct shown {                          /* the operation that began last; 0: none */
        int64_t began_us, ended_us;
};

struct presence {
        struct shown kept, asked;       /* that it is there: with the promise of the whole grace, or of half of it */
        int64_t absent_us;              /* when the operation began that showed last that it is not there */
        int64_t added_us, removed_us;   /* when the last ended that may have done so */
        int adding, removing;           /* operations that run */
};

struct pointer {                        /* a tag; each value that it may have, NO_MANIFEST for none */
        struct shown shown[MANIFESTS + 1];
        int64_t written_us[MANIFESTS + 1];
        int writing[MANIFESTS + 1];
};

struct facts {
        struct presence blobs[BLOBS], manifests[MANIFESTS];
        struct pointer tags[TAGS];
        int64_t swept_us;
        int sweeping;
};

struct times {
        int64_t grace_us, untagged_us, trash_us, expiry_us;
};

enum thing { THING_BLOB, THING_MANIFEST, THING_TAG, THING_NONE };

struct model {
        const struct content *content;  /* borrowed */
        struct times times;
        struct repository {
                pthread_mutex_t lock;
                struct facts facts;
        } repositories[REPOSITORIES];
        struct history *history;        /* owned */
        atomic_bool ended;              /* by time, or by the first violation */
        atomic_bool violated;
        _Atomic uint64_t strict, free;  /* answers of which only one was right; others */
        char *story;                    /* owned; of the first violation */
};

struct window {
        struct model *model;
        int repository, thread;
        int64_t began_us, ended_us;
        struct facts before;
        struct facts *now;              /* while it is locked */
};

void model_init(struct model *model, const struct content *content, const struct times *times);
void model_fini(struct model *model);

void window_open(struct window *w, struct model *model, int repository, int thread);
void window_run(struct window *w);
void window_close(struct window *w);
void window_end(struct window *w);

/* --- What is sure in a closed window ---------------------------------------------------------------------------------- */

bool blob_is_sure(const struct window *w, int blob);
bool manifest_is_sure(const struct window *w, int manifest);
bool blob_is_absent(const struct window *w, int blob);
bool manifest_is_absent(const struct window *w, int manifest);
bool may_point_to(const struct window *w, int tag, int manifest);      /* NO_MANIFEST: may there be no such tag? */
/* Some manifest of the repository may name the blob, some index the manifest; or surely does. */
bool blob_may_be_named(const struct window *w, int blob);
bool blob_is_named(const struct window *w, int blob);
bool manifest_may_be_named(const struct window *w, int manifest);
bool manifest_is_named(const struct window *w, int manifest);

void count_answer(const struct window *w, bool strict);

/* --- What an answer shows --------------------------------------------------------------------------------------------- */

void note_shown(const struct window *w, struct shown *shown);
void note_absent(const struct window *w, struct presence *presence);
void note_removed(const struct window *w, int manifest);       /* and what this does to tags and parts */
void note_maybe_removed(const struct window *w, int manifest);
void note_swept(const struct window *w);

/* --- History ---------------------------------------------------------------------------------------------------------- */

/* A closed window's line for a person; `what` and `detail` are constants. */
void record(const struct window *w, const char *what, enum thing thing, int number, const char *detail, const char *outcome);
/* The first one ends the race, and is told with what happened before to the same things. */
void violation(const struct window *w, enum thing thing, int number, const char *fmt, ...) PRINTF_LIKE(4, 5);

struct history *history_new(void);
void history_free(struct history *history);
