/* The engine with a small application, over real sockets: each way that a body can take, and how a request can end. */
#include "http/server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

enum { FILE_BYTES = 3 * 1024 * 1024 + 17, BODY_MAX = 64 * 1024, LOOPS = 2 };

static struct err e;
static _Atomic uint64_t body_max = BODY_MAX;

/* --- The application -------------------------------------------------------------------------------------------------- */

struct figures {
        _Atomic uint64_t written, broken, ended, answering;
} figures;

static char *file_bytes;
static int file_fd;

static bool get_now(struct http_request *rq, struct http_response *rs)
{
        (void)rq;
        http_response_bytes(rs, 200, S("text/plain"), S("now\n"));
        return true;
}

static RESULT get_later(struct http_request *rq, struct http_response *rs, struct err *error)
{
        (void)error;
        http_response_bytes(rs, 200, S("text/plain"), rq->params[0]);
        rs->ranges = true;
        return OK;
}

static RESULT get_file(struct http_request *rq, struct http_response *rs, struct err *error)
{
        int fd = dup(file_fd);

        (void)rq;
        if (fd < 0)
                return FAIL(error, ERR_IO, errno, "dup");
        http_response_file(rs, 200, S("application/octet-stream"), fd, FILE_BYTES);
        rs->ranges = true;
        return OK;
}

static RESULT put_whole(struct http_request *rq, struct http_response *rs, struct err *error)
{
        (void)error;
        http_response_bytes(rs, 200, S("text/plain"), rq->body);
        return OK;
}

struct counter {
        uint64_t n, sum;
};

/* "refuse" answers before the body is read. */
static RESULT stream_begin(struct http_request *rq, struct http_response *rs, struct err *error)
{
        if (slice_eq(rq->params[0], S("refuse")))
                return FAIL(error, ERR_DENIED, 0, "not here");
        (void)rs;
        rq->state = arena_alloc(rq->arena, sizeof(struct counter));
        return OK;
}

static RESULT stream_write_body(struct http_request *rq, struct slice bytes, struct err *error)
{
        struct counter *counter = rq->state;

        for (size_t i = 0; i < bytes.n; i++)
                counter->sum += (unsigned char)bytes.p[i] * (counter->n++ % 251);
        atomic_fetch_add(&figures.written, bytes.n);
        if (slice_eq(rq->params[0], S("fail")) && counter->n > 100000)
                return FAIL(error, ERR_FULL, 0, "full");
        return OK;
}

static RESULT stream_finish(struct http_request *rq, struct http_response *rs, struct err *error)
{
        struct counter *counter = rq->state;

        (void)error;
        http_response_bytes(rs, 200, S("text/plain"),
                            arena_printf(rq->arena, "%llu %llu", (unsigned long long)counter->n, (unsigned long long)counter->sum));
        return OK;
}

static void stream_broken(struct http_request *rq)
{
        (void)rq;
        atomic_fetch_add(&figures.broken, 1);
}

static void stream_fini(struct http_request *rq)
{
        (void)rq;
        atomic_fetch_add(&figures.ended, 1);
}

/* Bodies of one byte go on from the loop: "0" ends in an error, each other byte in itself, and that on a thread of its own. */
static void answer_soon(struct http_request *rq, struct http_response *rs)
{
        http_response_bytes(rs, 200, S("text/plain"), arena_copy(rq->arena, rq->body));
}

static void *end_soon(void *arg)
{
        struct http_request *rq = arg;
        struct err error;

        http_request_answer(rq, rq->body.p[0] == '0' ? FAIL(&error, ERR_DENIED, 0, "not this one") : OK, &error);
        atomic_fetch_sub(&figures.answering, 1);
        return NULL;
}

static void start_soon(struct http_request *rq)
{
        pthread_t thread;

        atomic_fetch_add(&figures.answering, 1);
        assert_int_equal(pthread_create(&thread, NULL, end_soon, rq), 0);
        pthread_detach(thread);
}

static bool stream_soon(struct http_request *rq)
{
        if (rq->body.n != 1)
                return false;
        rq->later = start_soon;
        rq->answer = answer_soon;
        return true;
}

static void word_failure(struct http_request *rq, struct http_response *rs, int status, const struct err *error)
{
        struct slice text = arena_copy(rq->arena, slice_from(error->message));

        http_response_bytes(rs, status ? status : error->code == ERR_DENIED ? 403 : 500, S("text/plain"), text);
}

static const struct http_route routes[] = {
        { HTTP_GET | HTTP_HEAD, "/now", 1, BODY_NONE, .try_now = get_now },
        { HTTP_GET | HTTP_HEAD, "/later/{text}", 1, BODY_NONE, .begin = get_later },
        { HTTP_GET, "/file", 1, BODY_NONE, .begin = get_file },
        { HTTP_PUT, "/whole", 1, BODY_WHOLE, .body_max = &body_max, .finish = put_whole },
        { HTTP_PUT, "/stream/{how}", 1, BODY_STREAM, .begin = stream_begin, .write = stream_write_body, .finish = stream_finish,
          .broken = stream_broken, .fini = stream_fini },
        { HTTP_PUT, "/soon", 1, BODY_STREAM, .try_soon = stream_soon, .begin = stream_begin, .write = stream_write_body,
          .finish = stream_finish, .broken = stream_broken, .fini = stream_fini },
};

/* --- World ------------------------------------------------------------------------------------------------------------ */

struct world {
        struct pool *pool;
        struct http_server *server;
        char address[200];
};

static const struct http_limits usual = {
        .request_line_bytes_max = 8192,
        .head_bytes_max = 32768,
        .head_fields_max = 100,
        .connections_max = 100,
        .head_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .body_rate_bytes = 1024,
        .body_rate_window_ms = 5000,
        .ranges_max = 8,
};

#define must(result) assert_true((result).ok)

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);
        struct http_server_config config = {
                .loops = LOOPS,
                .app = { .routes = routes, .route_count = ARRAY_LEN(routes), .fail = word_failure },
                .limits = usual,
        };

        log_configure(LOG_ERROR, LOG_TEXT);
        must(pool_new(8, &w->pool, &e));
        config.pool = w->pool;
        must(http_server_new(&config, &w->server, &e));
        must(http_server_listen(w->server, S("127.0.0.1:0"), &e));
        snprintf(w->address, sizeof w->address, "%s", http_server_address(w->server, 0));
        must(http_server_start(w->server, &e));
        memset(&figures, 0, sizeof figures);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;
        int64_t begun = clock_mono_ms();

        http_server_stop(w->server, 10000);
        assert_true(clock_mono_ms() - begun < 8000);
        while (figures.answering)
                usleep(100);
        pool_free(w->pool);
        http_server_free(w->server);
        free(w);
        return 0;
}

static int dial(struct world *w)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        uint64_t port;

        assert_true(slice_to_u64(slice_from(strchr(w->address, ':') + 1), &port));
        address.sin_port = htons((uint16_t)port);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        return fd;
}

static void say(int fd, struct slice text)
{
        while (text.n) {
                ssize_t n = send(fd, text.p, text.n, MSG_NOSIGNAL);

                assert_true(n > 0);
                text = slice_skip(text, (size_t)n);
        }
}

/* Until the peer closes, or `n` bytes. */
static struct slice hear(int fd, char *room, size_t n)
{
        size_t got = 0;

        while (got < n) {
                struct pollfd wait = { .fd = fd, .events = POLLIN };
                ssize_t more;

                assert_int_equal(poll(&wait, 1, 10000), 1);
                more = recv(fd, room + got, n - got, 0);
                if (more <= 0)
                        break;
                got += (size_t)more;
        }
        return (struct slice){ room, got };
}

static bool has(struct slice text, const char *part)
{
        return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static size_t count(struct slice text, const char *part)
{
        size_t n = 0;
        const char *at;

        while ((at = memmem(text.p, text.n, part, strlen(part)))) {
                n++;
                text = slice_skip(text, (size_t)(at - text.p) + strlen(part));
        }
        return n;
}

static struct slice ask(struct world *w, struct slice request, char *room, size_t n)
{
        int fd = dial(w);
        struct slice answer;

        say(fd, request);
        answer = hear(fd, room, n);
        close(fd);
        return answer;
}

static char room[8 * 1024 * 1024];

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define GO " HTTP/1.1\r\nHost: x\r\n\r\n"

/* --- Tests ------------------------------------------------------------------------------------------------------------ */

static void answers_now_and_later(void **state)
{
        struct world *w = *state;
        struct slice answer = ask(w, S("GET /now" END), room, sizeof room);

        assert_true(has(answer, "HTTP/1.1 200 OK\r\n"));
        assert_true(slice_ends(answer, S("\r\n\r\nnow\n")));
        answer = ask(w, S("GET /later/tea" END), room, sizeof room);
        assert_true(slice_ends(answer, S("\r\n\r\ntea")));
        answer = ask(w, S("HEAD /later/tea" END), room, sizeof room);
        assert_true(has(answer, "Content-Length: 3\r\n") && slice_ends(answer, S("\r\n\r\n")));
        assert_true(has(ask(w, S("GET /nothing" END), room, sizeof room), " 404 "));
        assert_true(has(ask(w, S("PUT /now" END), room, sizeof room), "Allow: GET, HEAD"));
}

static void pipelined_requests_are_answered_in_order(void **state)
{
        struct world *w = *state;
        struct slice answer = ask(w, S("GET /later/1" GO "GET /now" GO "PUT /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                                       "GET /later/2" GO "GET /now" END), room, sizeof room);

        assert_int_equal(count(answer, "HTTP/1.1 200 OK"), 5);
        assert_true(memmem(answer.p, answer.n, "\r\n\r\n1H", 6) < memmem(answer.p, answer.n, "\r\n\r\nabcH", 8));
        assert_true(slice_ends(answer, S("now\n")));
}

/* Each is ended by another thread, while the next waits behind it, or the client has said that it is done. */
static void answers_that_come_from_elsewhere(void **state)
{
        struct world *w = *state;
        struct slice answer;
        int fd = dial(w);

        for (int i = 1; i <= 20; i++) {
                say(fd, S("PUT /soon HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n7"
                          "PUT /soon HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n8\r\n0\r\n\r\n"
                          "PUT /soon HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n12"));
                answer = hear(fd, room, strlen("HTTP/1.1 200 OK\r\n"));
                assert_true(slice_starts(answer, S("HTTP/1.1 200 OK")));
                while (!slice_ends(answer, S("\r\n\r\n2 50")))         /* what the worker makes of "12" */
                        answer.n += hear(fd, room + answer.n, 1).n;
                assert_int_equal(count(answer, "\r\n\r\n7"), 1);
                assert_int_equal(count(answer, "\r\n\r\n8"), 1);
                assert_int_equal(figures.ended, 3 * i);
        }
        close(fd);

        fd = dial(w);
        say(fd, S("PUT /soon HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n0"));
        shutdown(fd, SHUT_WR);
        answer = hear(fd, room, sizeof room);
        assert_true(has(answer, " 403 ") && slice_ends(answer, S("not this one")));
        close(fd);

        for (int i = 0; i < 50; i++) {          /* clients that do not wait for the end */
                fd = dial(w);
                say(fd, S("PUT /soon HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n5"));
                close(fd);
        }
        while (figures.ended < 111)
                usleep(1000);
}

/* Far more in one go than a connection gets in one turn. */
static void a_flood_of_pipelined_requests_is_answered(void **state)
{
        struct world *w = *state;
        struct buf text = BUF_INIT(64 * 1024);
        enum { REQUESTS = 1000 };

        for (int i = 1; i < REQUESTS; i++)
                buf_put(&text, S("GET /now" GO));
        buf_put(&text, S("GET /now" END));
        assert_true(buf_ok(&text));
        assert_int_equal(count(ask(w, buf_slice(&text), room, sizeof room), "\r\n\r\nnow\n"), REQUESTS);
        buf_fini(&text);
}

/* Every split of a request with a body is the same request. */
static void split_at_every_byte(void **state)
{
        struct world *w = *state;
        struct slice text = S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n");
        struct timespec pause = { .tv_nsec = 300000 };

        for (size_t at = 1; at < text.n; at++) {
                int fd = dial(w);

                say(fd, slice_head(text, at));
                nanosleep(&pause, NULL);
                say(fd, slice_skip(text, at));
                assert_true(slice_ends(hear(fd, room, sizeof room), S("\r\n\r\n5 1000")));
                close(fd);
        }
}

static void whole_body_up_to_its_limit(void **state)
{
        struct world *w = *state;
        static char text[BODY_MAX + 200];
        int n;

        for (int over = 0; over <= 1; over++) {
                n = snprintf(text, sizeof text, "PUT /whole HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
                             BODY_MAX + over);
                memset(text + n, 'b', BODY_MAX + (size_t)over);
                assert_true(has(ask(w, (struct slice){ text, (size_t)n + BODY_MAX + (size_t)over }, room, sizeof room),
                                over ? " 413 " : " 200 "));

                n = snprintf(text, sizeof text,
                             "PUT /whole HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
                             BODY_MAX + over);
                memset(text + n, 'b', BODY_MAX + (size_t)over);
                n += BODY_MAX + over;
                n += snprintf(text + n, sizeof text - (size_t)n, "\r\n0\r\n\r\n");
                assert_true(has(ask(w, (struct slice){ text, (size_t)n }, room, sizeof room), over ? " 413 " : " 200 "));
        }
}

/* A large body arrives whole, chunked and not. */
static void streams_large_bodies(void **state)
{
        struct world *w = *state;
        struct counter want = { 0 };
        char expected[64];

        for (size_t i = 0; i < FILE_BYTES; i++)
                want.sum += (unsigned char)file_bytes[i] * (want.n++ % 251);
        snprintf(expected, sizeof expected, "\r\n\r\n%d %llu", FILE_BYTES, (unsigned long long)want.sum);
        for (int chunked = 0; chunked <= 1; chunked++) {
                int fd = dial(w), n = 0;

                if (chunked)
                        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"));
                else
                        n = dprintf(fd, "PUT /stream/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
                                    FILE_BYTES);
                assert_true(n >= 0);
                for (size_t at = 0, size = 1; at < FILE_BYTES; at += size, size = size * 3 % 70001 + 1) {
                        size = MIN(size, (size_t)FILE_BYTES - at);
                        if (chunked)
                                dprintf(fd, "%zx\r\n", size);
                        say(fd, (struct slice){ file_bytes + at, size });
                        if (chunked)
                                say(fd, S("\r\n"));
                }
                if (chunked)
                        say(fd, S("0\r\n\r\n"));
                assert_true(slice_ends(hear(fd, room, sizeof room), slice_from(expected)));
                close(fd);
        }
        assert_int_equal(figures.broken, 0);
        assert_int_equal(figures.written, 2 * FILE_BYTES);
}

static void early_answers_do_not_wait_for_the_body(void **state)
{
        struct world *w = *state;
        int fd = dial(w);
        struct slice answer;

        /* little is left: it is thrown away, the connection goes on */
        say(fd, S("PUT /stream/refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"));
        say(fd, slice_head((struct slice){ file_bytes, FILE_BYTES }, 1000));
        say(fd, S("GET /now" END));
        answer = hear(fd, room, sizeof room);
        assert_true(has(answer, " 403 ") && slice_ends(answer, S("now\n")));
        close(fd);

        /* much is left: the answer can be read all the same */
        fd = dial(w);
        say(fd, S("PUT /stream/refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"));
        say(fd, (struct slice){ file_bytes, FILE_BYTES });
        shutdown(fd, SHUT_WR);
        answer = hear(fd, room, sizeof room);
        assert_true(has(answer, " 403 ") && has(answer, "Connection: close"));
        close(fd);

        fd = dial(w);
        say(fd, S("PUT /stream/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"));
        say(fd, slice_head((struct slice){ file_bytes, FILE_BYTES }, 300000));
        assert_true(has(hear(fd, room, 12), " 500"));
        close(fd);
}

static void expect_continue(void **state)
{
        struct world *w = *state;
        int fd = dial(w);
        struct slice want = S("HTTP/1.1 100 Continue\r\n\r\n");

        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"));
        assert_true(slice_eq(hear(fd, room, want.n), want));
        say(fd, S("abc"));
        assert_true(has(hear(fd, room, sizeof room), " 200 OK"));
        close(fd);

        fd = dial(w);
        say(fd, S("PUT /whole HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"));
        assert_true(slice_eq(hear(fd, room, want.n), want));
        say(fd, S("abc"));
        assert_true(has(hear(fd, room, sizeof room), " 200 OK"));
        close(fd);

        fd = dial(w);
        say(fd, S("PUT /stream/refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
        assert_true(slice_starts(hear(fd, room, sizeof room), S("HTTP/1.1 403 ")));
        close(fd);
}

static void broken_bodies_are_told(void **state)
{
        struct world *w = *state;
        struct timespec pause = { .tv_nsec = 10000000 };
        int fd = dial(w);

        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"));
        say(fd, (struct slice){ file_bytes, 1000000 });
        close(fd);
        for (int i = 0; i < 500 && figures.ended == 0; i++)
                nanosleep(&pause, NULL);
        assert_int_equal(figures.broken, 1);
        assert_int_equal(figures.ended, 1);
        assert_int_equal(figures.written, 1000000);     /* what came is kept */

        fd = dial(w);
        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        say(fd, S("zz\r\n"));
        assert_true(has(hear(fd, room, sizeof room), " 400 "));
        close(fd);
        assert_int_equal(figures.broken, 2);

        fd = dial(w);
        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
        shutdown(fd, SHUT_WR);          /* it can still listen */
        assert_true(has(hear(fd, room, sizeof room), " 400 "));
        close(fd);
        assert_int_equal(figures.broken, 3);
}

static void files_and_ranges(void **state)
{
        struct world *w = *state;
        struct slice answer = ask(w, S("GET /file" END), room, sizeof room);

        assert_true(slice_ends(answer, (struct slice){ file_bytes, FILE_BYTES }));
        answer = ask(w, S("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=1000000-\r\n\r\n"), room, sizeof room);
        assert_true(has(slice_head(answer, 1000), " 206 "));
        assert_true(slice_ends(answer, (struct slice){ file_bytes + 1000000, FILE_BYTES - 1000000 }));
        answer = ask(w, S("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1,5-5,-3\r\n\r\n"), room, sizeof room);
        assert_true(has(answer, "multipart/byteranges"));
        assert_int_equal(count(answer, "Content-Range: bytes "), 3);
        answer = ask(w, S("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9\r\n\r\n"),
                     room, sizeof room);
        assert_true(slice_ends(answer, (struct slice){ file_bytes, FILE_BYTES }));      /* more than are served */
        answer = ask(w, S("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=99999999-\r\n\r\n"), room, sizeof room);
        assert_true(has(answer, " 416 ") && has(answer, "Content-Range: bytes */"));
        answer = ask(w, S("GET /later/coffee HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=1-2,4-\r\n\r\n"), room, sizeof room);
        assert_true(has(answer, "\r\n\r\nof\r\n") && has(answer, "\r\n\r\nee\r\n"));
}

static void slow_readers_get_all(void **state)
{
        struct world *w = *state;
        int fd = dial(w), small = 32 * 1024;
        struct timespec pause = { .tv_nsec = 100000000 };

        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        say(fd, S("GET /file" END));
        nanosleep(&pause, NULL);
        assert_true(slice_ends(hear(fd, room, sizeof room), (struct slice){ file_bytes, FILE_BYTES }));
        close(fd);
}

/* Threads of this process that go before its first one. */
static int threads_in_front(void)
{
        DIR *tasks = opendir("/proc/self/task");
        struct dirent *entry;
        uint64_t thread;
        int n = 0;

        assert_non_null(tasks);
        while ((entry = readdir(tasks)))
                if (slice_to_u64(slice_from(entry->d_name), &thread))
                        n += getpriority(PRIO_PROCESS, (id_t)thread) < getpriority(PRIO_PROCESS, (id_t)getpid());
        closedir(tasks);
        return n;
}

static bool may_go_first;

/* Before there is a loop, which would take it over. */
static void find_out_who_may_go_first(void)
{
        int nice = getpriority(PRIO_PROCESS, (id_t)getpid());

        may_go_first = setpriority(PRIO_PROCESS, (id_t)getpid(), nice - 4) == 0;
        setpriority(PRIO_PROCESS, (id_t)getpid(), nice);
}

static void expect_in_front(int loops)
{
        struct timespec pause = { .tv_nsec = 10000000 };

        for (int i = 0; i < 500 && threads_in_front() != loops; i++)
                nanosleep(&pause, NULL);
        assert_int_equal(threads_in_front(), loops);
}

static void loops_go_first_beside_large_bodies(void **state)
{
        struct world *w = *state;
        int fd;

        if (!may_go_first)
                skip();
        ask(w, S("GET /now" END), room, sizeof room);
        expect_in_front(0);
        fd = dial(w);
        dprintf(fd, "PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", FILE_BYTES);
        say(fd, (struct slice){ file_bytes, FILE_BYTES - 1 });
        expect_in_front(LOOPS);
        close(fd);
        expect_in_front(0);
        fd = dial(w);
        for (int i = 0; i < 8; i++)             /* more than sockets hold */
                say(fd, S("GET /file HTTP/1.1\r\nHost: x\r\n\r\n"));
        expect_in_front(LOOPS);
        close(fd);
        expect_in_front(0);
}

static void time_limits(void **state)
{
        struct world *w = *state;
        struct http_limits limits = usual;
        int fd;

        limits.head_timeout_ms = limits.idle_timeout_ms = limits.body_rate_window_ms = 200;
        http_server_set_limits(w->server, &limits);
        fd = dial(w);
        assert_int_equal(hear(fd, room, sizeof room).n, 0);     /* idle: closed without a word */
        close(fd);
        fd = dial(w);
        say(fd, S("GET /now HTTP/1.1\r\nHo"));
        assert_true(has(hear(fd, room, sizeof room), " 408 "));
        close(fd);
        fd = dial(w);
        say(fd, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
        assert_true(has(hear(fd, room, sizeof room), " 408 "));
        close(fd);
        assert_int_equal(figures.broken, 1);
        fd = dial(w);
        say(fd, S("PUT /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
        assert_true(has(hear(fd, room, sizeof room), " 408 "));
        close(fd);
        http_server_set_limits(w->server, &usual);
}

/* Above the limit the longest idle goes; where none is idle, the new one is told. */
static void connections_have_a_limit(void **state)
{
        struct world *w = *state;
        struct http_limits limits = usual;
        struct timespec pause = { .tv_nsec = 20000000 };
        int fds[8];

        limits.connections_max = 8;
        http_server_set_limits(w->server, &limits);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
                fds[i] = dial(w);
                say(fds[i], S("GET /now" GO));
                hear(fds[i], room, 15);
                nanosleep(&pause, NULL);
        }
        assert_true(has(ask(w, S("GET /now" END), room, sizeof room), " 200 "));
        assert_true(hear(fds[0], room, sizeof room).n > 0);     /* the rest of its answer, then the end */
        close(fds[0]);
        fds[0] = dial(w);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
                say(fds[i], S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
        nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
        assert_true(has(ask(w, S(""), room, sizeof room), " 503 "));
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
                close(fds[i]);
        http_server_set_limits(w->server, &usual);
}

/* One that is idle makes room for one, however many knock at once. */
/* A connection that a worker has answered makes room, though its loop has not been awake since. */
static void answered_connections_make_room(void **state)
{
        struct world *w = *state;
        struct http_limits limits = usual;

        limits.connections_max = 1;
        http_server_set_limits(w->server, &limits);
        for (int i = 0; i < 40; i++) {
                int first = dial(w), second;

                say(first, S("GET /later/x" GO));
                assert_true(has(hear(first, room, 15), " 200"));
                second = dial(w);
                say(second, S("GET /later/x" GO));
                assert_true(has(hear(second, room, 15), " 200"));
                close(first);
                close(second);
        }
        http_server_set_limits(w->server, &usual);
}

static void a_burst_does_not_pass_the_limit(void **state)
{
        struct world *w = *state;
        struct http_limits limits = usual;
        struct http_server_stats stats;
        int busy[3], idle, burst[40];

        limits.connections_max = 4;
        http_server_set_limits(w->server, &limits);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
                busy[i] = dial(w);
                say(busy[i], S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"));
        }
        idle = dial(w);
        say(idle, S("GET /now" GO));
        hear(idle, room, 15);
        nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
        for (size_t i = 0; i < ARRAY_LEN(burst); i++)
                burst[i] = dial(w);
        for (int look = 0; look < 50; look++) {
                http_server_stats(w->server, &stats);
                assert_in_range(stats.connections, 0, limits.connections_max);
                nanosleep(&(struct timespec){ .tv_nsec = 4000000 }, NULL);
        }
        /* they made room for each other, and the last one is served */
        say(burst[ARRAY_LEN(burst) - 1], S("GET /now" END));
        assert_true(has(hear(burst[ARRAY_LEN(burst) - 1], room, sizeof room), " 200 "));
        for (size_t i = 0; i < ARRAY_LEN(burst); i++)
                close(burst[i]);
        for (size_t i = 0; i < ARRAY_LEN(busy); i++)
                close(busy[i]);
        close(idle);
        http_server_set_limits(w->server, &usual);
}

/* A transfer that runs when the server is told to stop comes to its end, one that is idle does not keep it. */
static void stopping_lets_transfers_finish(void **state)
{
        struct world *w = *state;
        int idle = dial(w), busy = dial(w);
        pthread_t thread;

        say(busy, S("PUT /stream/x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc"));
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
        assert_int_equal(pthread_create(&thread, NULL, (void *(*)(void *))(void *)tear_down, &(void *){ w }), 0);
        assert_int_equal(hear(idle, room, sizeof room).n, 0);
        say(busy, S("def"));
        assert_true(has(hear(busy, room, sizeof room), " 200 "));
        pthread_join(thread, NULL);
        close(idle);
        close(busy);
        set_up(state);
}

static void unix_sockets_and_addresses_in_use(void **state)
{
        struct world *w = *state;
        struct http_server_config config = { .loops = 1, .pool = w->pool, .limits = usual,
                                             .app = { .routes = routes, .route_count = ARRAY_LEN(routes), .fail = word_failure } };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct http_server *other;
        char text[200];
        int fd;

        must(http_server_new(&config, &other, &e));
        assert_false(http_server_listen(other, slice_from(w->address), &e).ok);
        assert_int_equal(e.code, ERR_EXISTS);
        assert_non_null(strstr(e.message, w->address));
        snprintf(address.sun_path, sizeof address.sun_path, "/tmp/orlop-server-test-%d.sock", (int)getpid());
        snprintf(text, sizeof text, "unix:%s", address.sun_path);
        must(http_server_listen(other, slice_from(text), &e));
        must(http_server_start(other, &e));
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        say(fd, S("GET /now" END));
        assert_true(slice_ends(hear(fd, room, sizeof room), S("now\n")));
        close(fd);
        http_server_stop(other, 1000);
        http_server_free(other);
        assert_int_equal(access(address.sun_path, F_OK), -1);
}

static int make_file(void **state)
{
        char path[] = "/tmp/orlop-server-test-XXXXXX";

        (void)state;
        file_bytes = malloc(FILE_BYTES);
        for (size_t i = 0; i < FILE_BYTES; i++)
                file_bytes[i] = (char)(i * 2654435761u >> 13);
        file_fd = mkstemp(path);
        unlink(path);
        return write(file_fd, file_bytes, FILE_BYTES) == FILE_BYTES ? 0 : -1;
}

static int remove_file(void **state)
{
        (void)state;
        free(file_bytes);
        return close(file_fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(answers_now_and_later),
                TEST(pipelined_requests_are_answered_in_order),
                TEST(answers_that_come_from_elsewhere),
                TEST(a_flood_of_pipelined_requests_is_answered),
                TEST(split_at_every_byte),
                TEST(whole_body_up_to_its_limit),
                TEST(streams_large_bodies),
                TEST(early_answers_do_not_wait_for_the_body),
                TEST(expect_continue),
                TEST(broken_bodies_are_told),
                TEST(files_and_ranges),
                TEST(slow_readers_get_all),
                TEST(loops_go_first_beside_large_bodies),
                TEST(time_limits),
                TEST(connections_have_a_limit),
                TEST(answered_connections_make_room),
                TEST(a_burst_does_not_pass_the_limit),
                TEST(stopping_lets_transfers_finish),
                TEST(unix_sockets_and_addresses_in_use),
        };

        find_out_who_may_go_first();
        return cmocka_run_group_tests_name("server", tests, make_file, remove_file);
}
