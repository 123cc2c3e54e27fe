/* The load generator's frame: clients on a few threads run operations of one scenario and time them.
 *
 *      bench-load SCENARIO URL [OPTION...]      prints one JSON object; exit status 1 where anything failed
 *
 * A scenario is a straight chain of requests: begin() sends the first of operation number i, answered() gets each answer and
 * sends the next, until it calls load_sample() and load_done(). A wrong answer is load_failed(), which ends the whole run: figures of a
 * run with errors are worth nothing. All connections are open before the clock starts. */
#pragma once

#include "histogram.h"
#include "wire.h"

#include <pthread.h>
#include <stdatomic.h>

#define LOAD_CLIENTS_MAX 20000
#define LOAD_THREADS_MAX 64
#define LOAD_PATHS_MAX 200000
#define LOAD_HEADERS_MAX 16

struct load_options {
        const char *scenario, *url;
        unsigned clients, threads;
        double seconds;                 /* how long operations are begun; 0: without end */
        uint64_t count;                 /* how many are begun; 0: any number. The first of the two limits ends the run */
        const char *method, *paths_file;
        struct slice paths[LOAD_HEADERS_MAX];
        size_t path_count;
        const char *headers[LOAD_HEADERS_MAX];
        size_t header_count;
        int status;                     /* the only good one */
        int64_t body_bytes;             /* the only good size of an answer; -1: any */
        uint64_t bytes;                 /* of a pushed blob */
        bool streamed;                  /* PATCH in chunks, then PUT; otherwise one PUT */
        const char *repository;
        unsigned repositories, tags;
        const char *subject;            /* digest that seeded manifests refer to */
        uint64_t first;                 /* number of the first repository or tag */
        uint64_t rate;                  /* slow clients: bytes a second */
};

struct load;

struct load_client {
        struct wire_conn conn;          /* first: see load_client_of() */
        struct load_worker *worker;
        unsigned number;
        uint64_t operation;
        int64_t began_us;
        void *state;                    /* owned: scenario->client_bytes, zeroed */
};

struct load_worker {
        pthread_t thread;
        struct load *load;
        struct wire_loop loop;
        struct load_client *clients;    /* owned */
        unsigned client_count, connected, resting;
        bool running;
        struct histogram times;
        uint64_t random;
        struct err err;
};

struct scenario {
        const char *name, *sentence;
        size_t client_bytes;
        bool holds;                     /* stays connected until it is told to stop */
        RESULT_FN(prepare, (struct load *l, struct err *e));                          /* once, before the clock; or NULL */
        void (*begin)(struct load_client *c);
        void (*answered)(struct load_client *c, const struct wire_response *rs);
};

struct load {
        struct load_options options;
        const struct scenario *scenario;
        struct wire_target target;
        struct load_worker *workers;    /* owned */
        pthread_barrier_t connected;
        int64_t start_us, deadline_us;
        atomic_ullong next, bytes;
        atomic_uint resting, errors;
        atomic_bool stop;
        pthread_mutex_t lock;
        char first_error[400];          /* under lock */
        void *shared;                   /* the scenario's, from prepare() on */
};

extern const struct scenario scenario_get, scenario_push, scenario_image, scenario_seed, scenario_idle;
/* Slow clients do not use the loop: see slow.c. Prints its own result. */
RESULT slow_run(const struct load_options *options, atomic_bool *stop, struct err *e);

static inline struct load_client *load_client_of(struct wire_conn *conn)
{
        return (struct load_client *)(void *)conn;
}

void load_sample(struct load_client *c);                        /* records the time since begin() or the last sample */
void load_restart(struct load_client *c);                       /* the next sample counts from now */
void load_done(struct load_client *c, uint64_t body_bytes);     /* the operation is over; begins the next one */
void load_failed(struct load_client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* false, and the run is failed: the answer is not what it must be. */
bool load_expect(struct load_client *c, const char *what, const struct wire_response *rs, int status);
uint64_t load_random(struct load_worker *w);
