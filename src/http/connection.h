/* What the engine's files share: a loop's part of the server, a connection, and an exchange (one request and its answer).
 *
 *      server.c        listeners, loops, stopping, figures
 *      connection.c    the states of a connection, its time limits, reading heads
 *      exchange.c      a request's life: routing, the handlers' steps on workers, the log line
 *      receive.c       a body on its way in
 *      transmit.c      an answer on its way out
 *      held.c          what answers hold in memory, all together
 *      bulk.c          large files over TLS: encrypted by threads of their own
 *      priority.c      loops go first while large bodies come or go
 *      scratches.c     memory for TLS, for threads that are lent a stream
 *
 * Memory of ours that a connection holds at most (TLS sessions of OpenSSL come on top):
 *
 *      idle                    sizeof(struct connection), under 1 KiB; no exchange, no buffer
 *      a head is coming        what came of it, at most the limit of a head, and what was received with it (RECEIVE_BYTES)
 *      a handler runs          an exchange and its arena (EXCHANGE_ARENA_MAX; what handlers put there is small, but for a manifest)
 *      a body streams in       two buffers of BODY_BUFFER_MIN. They grow to BODY_BUFFER_MAX where the client fills them, as long
 *                              as all large ones together stay under LARGE_BUFFERS_MAX
 *      a whole body comes in   what came of it, at most the route's limit; all together WHOLE_BODIES_MAX, then 503
 *      an answer goes out      its head and, with TLS, up to STREAM_CHUNK of encrypted bytes that the socket has not taken. A body
 *                              above SMALL_BODY_MAX and what was allocated on its way: all together ANSWERS_MAX, then 503. Files are
 *                              not read into memory, and what lies in the application's cache is shared
 *
 * A thread that works for a loop holds with TLS what it encrypts into, of which a small answer touches a few KiB.
 *
 * Everything here belongs to the connection's loop thread, except an exchange's handler fields while `working` is set, and the stream
 * while it is `lent`. */
#pragma once

#include "http/chunked.h"
#include "http/head.h"
#include "http/message.h"
#include "http/server.h"
#include "net/loop.h"
#include "net/socket.h"
#include "net/stream.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
        RECEIVE_BYTES = 64 * 1024,
        BODY_BUFFER_MIN = 16 * 1024,
        BODY_BUFFER_STEP = 4,                   /* how they grow */
        BODY_BUFFER_MAX = 1024 * 1024,
        LARGE_BUFFERS_MAX = 32 * 1024 * 1024,
        LARGE_BUFFER_SHARE = 16,                /* a buffer is at most this part of what is left of them */
        WHOLE_BODIES_MAX = 128 * 1024 * 1024,
        ANSWERS_MAX = 128 * 1024 * 1024,
        ANSWER_SHARE = 2,                       /* an answer is at most this part of what is left of them */
        ANSWERS_TRIM = 32 * 1024 * 1024,        /* so much that was freed is worth giving back */
        EXCHANGE_ARENA_MAX = 64 * 1024 * 1024,  /* a manifest takes twice its size; see --max-manifest */
        HEAD_ROOM = 2 * 1024 * 1024,            /* above every limit of a head that can be set, plus what is received with it */
        SMALL_BODY_MAX = 16 * 1024,             /* an answer's body that is copied behind its head */
        DRAIN_BYTES_MAX = 256 * 1024,           /* of a body that nobody wants, to keep the connection */
        BULK_BYTES_MIN = 256 * 1024,            /* with so much left to send, a connection lets others go first */
        BULK_TURN_BYTES = 1024 * 1024,          /* what a thread of bulk.c sends at once */
        LARGE_BODY_MIN = 1024 * 1024,           /* for a body like that, loops go first; see priority.c */
        TURN_BYTES = 512 * 1024,                /* then other connections of the loop have their turn, */
        RECEIVE_TURN_BYTES = 256 * 1024,        /* which come more slowly, above all where they are decrypted, */
        TURN_STEPS = 64,                        /* and after so many changes of state */
        LINGER_MS = 5000,
        HELLOS_MANY = 256,                      /* handshakes whose memory is worth giving back */
        LOOPS_MAX = 64,
};

/* The states of a connection, and what each waits for.
 *
 *               accept
 *                 |
 *      (TLS)    HELLO --------------------------------------------------+
 *                 |                                                     |
 *         +---> IDLE ---> HEAD --+--> WORK <--> BODY                    |
 *         |      ^                |    |         |                      |
 *         |      +--- DRAIN <--- SEND <+---------+                      |
 *         +-----------------------|                                     |
 *                                 +--> LINGER --> CLOSED <--------------+ (from every state)
 */
#define CONNECTION_STATES(X) \
        X(HELLO)        /* a TLS handshake */ \
        X(IDLE)         /* the first byte of a request */ \
        X(HEAD)         /* the rest of a head */ \
        X(WORK)         /* a handler; nothing is read */ \
        X(BODY)         /* bytes of the body, or the worker that takes them */ \
        X(SEND)         /* the socket takes more of the answer, or a worker fetches bytes from the disk */ \
        X(DRAIN)        /* the end of a body that nobody wants */ \
        X(LINGER)       /* the peer to close, after an answer that closes */ \
        X(CLOSED)       /* the worker that still has the exchange; then memory is freed */

enum connection_state {
#define X(name) CONNECTION_##name,
        CONNECTION_STATES(X)
#undef X
};

/* A step's outcome: wait for an event, or look at the new state at once. */
enum step { STEP_WAIT, STEP_GO_ON };

struct http_loop;
struct exchange;

struct connection {
        struct http_loop *home;                 /* borrowed, outlives it */
        struct stream stream;
        struct loop_watch watch;
        struct loop_message again;              /* to go on in the next round */
        bool again_posted;
        enum connection_state state;
        struct timer timer;
        uint64_t progress_bytes;                /* since the rate was looked at last */
        uint64_t queued_bytes;                  /* what the socket had then, not taken by the peer yet */
        struct connection *previous, *next;     /* in home->connections, or home->dead */
        struct connection *idle_previous, *idle_next;   /* in home's list of idle ones, longest first */
        bool idle_listed;
        int64_t idle_since_ms;
        struct buf in;                          /* received, not used up yet */
        struct head_scan scan;
        struct exchange *exchange;              /* owned; NULL between requests */
        uint64_t drain_left;
        bool keep_alive;                        /* after the answer that is being sent */
        bool lent;                              /* another thread has the stream, and keep_alive */
        struct stream_scratch *loops_scratch;   /* borrowed; while that thread uses its own */
        uint32_t lent_events;                   /* what happened to it meanwhile */
        bool tls;
        char peer[64];
};

struct body_buffer {
        char *p;                                /* owned */
        size_t n, capacity;
};

/* What a request's handlers know of it. A broken body is told to who was told of the beginning, and that is their end, too. */
enum told { TOLD_NOTHING, TOLD_BEGIN, TOLD_FINISH, TOLD_END };

struct exchange {
        struct pool_task task;
        struct loop_message done;
        bool may_be_quiet;                      /* nothing of the connection waits for `done`, once the answer is out */
        struct connection *connection;          /* borrowed; lives until the exchange ends */
        struct exchange *next_spare;

        /* the request */
        struct arena arena;
        struct arena_mark before_handler;       /* the request's own stands before */
        struct http_request rq;
        struct head head;
        int64_t started_us;
        bool is_large;                          /* counted in server->priority */

        /* the body in */
        struct chunked chunked;
        uint64_t body_left;                     /* not chunked: bytes still to come */
        uint64_t body_given;                    /* bytes that the handler got */
        bool body_complete;                     /* all of it was received */
        bool continue_owed;                     /* the client waits for 100 */
        struct body_buffer fill, busy;          /* the loop fills one while the worker has the other */
        size_t buffer_want;                     /* capacity of the next buffer */
        struct buf whole;                       /* BODY_WHOLE */
        uint64_t bytes_in;
        bool broken;                            /* it broke off */
        int broken_status;                      /* what to answer then; 0: nobody is there to hear it */
        struct err broken_error;

        /* the handlers' steps; the worker's, or the bulk thread's, while `working` */
        bool working;
        bool do_begin, do_finish, do_broken, do_warm;
        enum told told;
        struct http_response rs;
        int64_t out_us;                         /* when the answer was out; 0: see for yourself */
        struct err e;                           /* what failed, for the answer and the log */

        /* the answer out */
        size_t held_bytes;                      /* counted in server->held_bytes */
        bool composed;                          /* the head, and what follows, stand below */
        struct message_selection selection;
        struct buf out;                         /* head, and what else is made here */
        size_t out_at;
        size_t part;                            /* of selection.ranges */
        uint64_t part_at, part_left;            /* what is being sent of the body */
        bool closing_sent;                      /* multipart: its last line is out or in `out` */
        bool unreadable;                        /* the file: the worker that fetched its bytes failed */
        uint64_t bytes_out;                     /* of the body */
        bool bulk_ended;                        /* a turn of bulk.c came back: what it sent, how it ended */
        bool bulk_cold;
        size_t bulk_bytes;
        ssize_t bulk_status;
};

/* Figures that any thread may read. */
struct loop_figures {
        _Atomic uint64_t assigned;              /* connections open, or on their way here */
        _Atomic uint64_t connections, connections_total, requests_total, requests_running, bytes_in, bytes_out;
};

struct http_loop {
        struct http_server *server;             /* borrowed */
        struct loop *loop;                      /* owned */
        struct stream_scratch *scratch;         /* owned */
        pthread_t thread;
        bool running;
        char *receive;                          /* owned; RECEIVE_BYTES for what is looked at before anybody keeps it */
        struct connection *connections, *dead;
        struct connection *idle_first, *idle_last;
        struct exchange *spare;
        unsigned spare_count;
        uint64_t id_prefix, id_count;
        int64_t date_second;
        char date[32];
        struct loop_figures figures;
        _Atomic int64_t idle_since_ms;          /* of the longest idle connection; INT64_MAX: none */
        _Atomic unsigned idle_count;            /* connections of which nothing of a request has come */
        _Atomic unsigned quiet_count;           /* connections that are being answered, and idle once the loop wakes */
        _Atomic unsigned coming;                /* connections on their way here */
        struct loop_message stop_message, abort_message, evict_message;
        _Atomic bool evicting;                  /* evict_message is on its way */
};

struct listener {
        struct http_server *server;             /* borrowed */
        struct loop_watch watch;
        struct timer retry;                     /* when descriptors ran out */
        int fd;                                 /* owned */
        bool tls, made_here;
        struct socket_address address;
        int held_fd;                            /* owned; accepted, and waits for room. -1: none */
        struct socket_address held_peer;
};

struct scratches {
        pthread_mutex_t lock;                   /* for what stands below */
        struct stream_scratch *spare[LOOPS_MAX];        /* owned */
        unsigned count;
};

struct priority {
        pthread_mutex_t lock;                   /* for what stands below */
        pid_t loops[LOOPS_MAX];                 /* their threads */
        unsigned loop_count;
        int transfers;                          /* of large bodies */
};

struct http_server {
        struct pool *pool;                      /* borrowed */
        struct pool *bulk;                      /* owned; the threads of bulk.c. NULL: plain */
        struct scratches scratches;
        struct priority priority;
        struct http_app app;
        struct tls *tls;                        /* borrowed; NULL: plain */
        unsigned loop_count;
        struct http_loop loops[LOOPS_MAX];
        /* limits, see struct http_limits */
        _Atomic uint64_t request_line_bytes_max, head_bytes_max, head_fields_max, connections_max;
        _Atomic uint64_t head_timeout_ms, idle_timeout_ms, body_rate_bytes, body_rate_window_ms, ranges_max;
        _Atomic uint64_t connections;           /* open, or on their way to a loop */
        _Atomic uint64_t large_buffer_bytes, whole_body_bytes;
        _Atomic uint64_t held_bytes, held_bytes_freed;  /* of answers; freed: since memory was given back */
        _Atomic unsigned hellos, hellos_ended;  /* handshakes that run, and that ended since memory was given back */
        _Atomic bool stopping;
        struct listener listeners[SOCKET_LISTENERS_MAX];        /* watched by the first loop */
        size_t listener_count;
        struct loop_message deafen_message, resume_message;
        _Atomic bool accept_waits;              /* for an idle connection to go; then resume_message is posted, */
        _Atomic bool resume_posted;             /* once at a time */
        bool started;
};

/* --- server.c --------------------------------------------------------------------------------------------------------- */

/* Something went or arrived: there may be room for who waits to be accepted. Any loop. */
void server_resume_accepting(struct http_server *server);

/* --- connection.c ----------------------------------------------------------------------------------------------------- */

/* Takes the descriptor. */
void connection_open(struct http_loop *home, int fd, bool tls, const struct socket_address *peer);
/* Goes on as far as it can. */
void connection_run(struct connection *c);
/* Something happened to it: goes on, but where it moves much at once, behind the others. */
void connection_wake(struct connection *c);
enum step connection_go_on_later(struct connection *c);         /* see loop_put_off() */
void connection_close(struct connection *c);
/* The stream is another thread's until the loop takes it back; events wait so long. */
void connection_lend(struct connection *c);
void connection_take_back(struct connection *c);
/* The other thread, around its use. false: no memory. */
bool connection_use_stream(struct connection *c);
void connection_leave_stream(struct connection *c);
void connection_evict_idle(struct http_loop *home);     /* the one that was idle for longest */
void connection_stop(struct http_loop *home);           /* closes idle ones; the others close after their answer */
void connection_abort(struct http_loop *home);          /* closes all */
void connection_free_dead(struct http_loop *home);

/* --- exchange.c ------------------------------------------------------------------------------------------------------- */

struct exchange *exchange_new(struct connection *c);    /* NULL: no memory */
/* The handlers' fini, the log line, and memory back. */
void exchange_end(struct exchange *ex);
void exchange_free_spare(struct http_loop *home);
/* From a complete head to an answer or the next step. The first `used` bytes of c->in, the head among them, are used up. */
enum step exchange_begin(struct connection *c, struct slice head_bytes, size_t used);
/* Answers for the engine. The connection closes afterwards: where the next request begins is not known. */
enum step exchange_fail(struct connection *c, int status);
/* All of the body is there: does the handler go on from the loop? false: it needs a worker. */
bool exchange_try_soon(struct connection *c, struct slice body);
/* Sends the steps that are set to a worker. */
enum step exchange_submit(struct exchange *ex);

/* --- receive.c -------------------------------------------------------------------------------------------------------- */

enum step receive_body(struct connection *c);
/* The peer has gone, is too slow, or its body is malformed (ex->broken_error): what came is handed over, then `status` is
 * answered; 0: nobody is there to hear it. */
enum step receive_break(struct connection *c, int status);
/* The connection is closed: a handler that has begun is told. STEP_WAIT: a worker is on it. */
enum step receive_close(struct connection *c);
/* A buffer came back from the worker. */
void receive_buffer_done(struct exchange *ex);
void receive_fini(struct exchange *ex);
/* Reads and throws away: the end of a body, or what a peer sends after the end. */
enum step receive_drain(struct connection *c);
enum step receive_linger(struct connection *c);

/* --- transmit.c ------------------------------------------------------------------------------------------------------- */

/* The answer stands in ex->rs. */
enum step transmit_begin(struct connection *c);
/* The same on a worker that was lent the stream, for an answer that is small. true: all of it is out. */
bool transmit_early(struct connection *c);
enum step transmit_more(struct connection *c);

/* --- held.c ----------------------------------------------------------------------------------------------------------- */

/* On the worker whose handler answered: counts what the answer holds while it is sent, or puts 503 in its place. */
void held_take(struct exchange *ex);
/* The body is out, or stands in ex->out: what handlers allocated goes. Their fini has run. */
void held_drop(struct exchange *ex);

/* --- priority.c ------------------------------------------------------------------------------------------------------- */

void priority_init(struct priority *priority);
void priority_fini(struct priority *priority);
void priority_add_loop(struct priority *priority);      /* on its thread */
/* A large body comes or goes: until it is dropped, all loops go first. On the exchange's loop. */
void priority_raise(struct exchange *ex);
void priority_drop(struct exchange *ex);

/* --- scratches.c ------------------------------------------------------------------------------------------------------ */

void scratches_init(struct scratches *scratches);
void scratches_fini(struct scratches *scratches);
/* Gives the stream another scratch than its loop's, and back. false: no memory. */
bool scratches_lend(struct scratches *scratches, struct stream *stream, struct stream_scratch **ret_of_loop);
void scratches_take_back(struct scratches *scratches, struct stream *stream, struct stream_scratch *of_loop);

/* --- bulk.c ----------------------------------------------------------------------------------------------------------- */

/* Is so much of a file to be sent that it is worth it? */
bool bulk_suits(const struct connection *c);
/* Lends the stream, which is not full, to send a turn's bytes of the file. */
enum step bulk_submit(struct connection *c);
/* What a turn came to, as stream_send_file() tells it. */
ssize_t bulk_take_result(struct exchange *ex, bool *ret_cold);
