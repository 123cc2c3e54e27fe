/* Files on their way out, with a disk that is slow or broken: the calls that read files are answered here. */
#include "http/server.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 4096, FILE_BYTES = 2 * 1024 * 1024, PAGES = FILE_BYTES / PAGE };

static struct err e;
static int file_fd;

/* --- The disk --------------------------------------------------------------------------------------------------------- */

static atomic_bool cached[PAGES];               /* in the page cache, */
static atomic_int broken_from;                  /* pages from here on cannot be read */
static atomic_int fetched, blocked;             /* reads that waited for the disk: a worker's, and a loop's */

/* By page: is it to be had without waiting? */
static bool fetch(uint64_t offset, size_t n, atomic_int *counter)
{
        for (uint64_t page = offset / PAGE; page < PAGES && page * PAGE < offset + n; page++) {
                if ((int)page >= broken_from)
                        return false;
                atomic_fetch_add(counter, !cached[page]);
                cached[page] = true;
        }
        return true;
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
        (void)count;
        if (flags == RWF_NOWAIT && offset < FILE_BYTES && !cached[offset / PAGE]) {
                errno = EAGAIN;
                return -1;
        }
        return syscall(SYS_pread64, fd, parts->iov_base, parts->iov_len, offset);
}

ssize_t pread(int fd, void *bytes, size_t n, off_t offset)
{
        if (!fetch((uint64_t)offset, n, &fetched)) {
                errno = EIO;
                return -1;
        }
        return syscall(SYS_pread64, fd, bytes, n, offset);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t n)
{
        ssize_t sent = syscall(SYS_sendfile, to, from, offset, n);

        if (sent > 0)
                fetch((uint64_t)(*offset - sent), (size_t)sent, &blocked);
        return sent;
}

/* --- The application -------------------------------------------------------------------------------------------------- */

static RESULT get_file(struct http_request *rq, struct http_response *rs, struct err *error)
{
        int fd = dup(file_fd);

        (void)rq;
        if (fd < 0)
                return FAIL(error, ERR_IO, errno, "dup");
        http_response_file(rs, 200, S("application/octet-stream"), fd, FILE_BYTES);
        return OK;
}

static void word_failure(struct http_request *rq, struct http_response *rs, int status, const struct err *error)
{
        (void)rq, (void)error;
        http_response_bytes(rs, status ? status : 500, S("text/plain"), S("no"));
}

struct world {
        struct pool *pool;
        struct http_server *server;
};

static int set_up(void **state)
{
        static const struct http_route routes[] = { { HTTP_GET, "/file", 1, BODY_NONE, .begin = get_file } };
        static struct world w;
        struct http_server_config config = {
                .loops = 1,
                .app = { .routes = routes, .route_count = ARRAY_LEN(routes), .fail = word_failure },
                .limits = { .request_line_bytes_max = 8192, .head_bytes_max = 32768, .head_fields_max = 100, .connections_max = 100,
                            .head_timeout_ms = 5000, .idle_timeout_ms = 5000, .ranges_max = 8 },
        };
        char path[] = "/tmp/orlop-disk-test-XXXXXX";

        log_configure(LOG_ERROR, LOG_TEXT);
        file_fd = mkstemp(path);
        unlink(path);
        assert_int_equal(ftruncate(file_fd, FILE_BYTES), 0);
        broken_from = PAGES;
        fetched = blocked = 0;
        for (size_t i = 0; i < PAGES; i++)
                cached[i] = false;
        assert_true(pool_new(2, &w.pool, &e).ok);
        config.pool = w.pool;
        assert_true(http_server_new(&config, &w.server, &e).ok);
        assert_true(http_server_listen(w.server, S("127.0.0.1:0"), &e).ok);
        assert_true(http_server_start(w.server, &e).ok);
        *state = &w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        http_server_stop(w->server, 1000);
        pool_free(w->pool);
        http_server_free(w->server);
        return close(file_fd);
}

/* What comes of the file until the end of the connection. */
static size_t get(struct world *w)
{
        struct slice request = S("GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        static char room[FILE_BYTES + 4096];
        struct slice answer = { room, 0 }, line;
        uint64_t port;

        assert_true(slice_to_u64(slice_from(strchr(http_server_address(w->server, 0), ':') + 1), &port));
        address.sin_port = htons((uint16_t)port);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(send(fd, request.p, request.n, 0), request.n);
        for (;;) {
                struct pollfd wait = { .fd = fd, .events = POLLIN };
                ssize_t more;

                assert_int_equal(poll(&wait, 1, 5000), 1);
                more = recv(fd, room + answer.n, sizeof room - answer.n, 0);
                if (more <= 0)
                        break;
                answer.n += (size_t)more;
        }
        close(fd);
        while (slice_cut(&answer, '\n', &line) && line.n > 1)
                ;
        return answer.n;
}

/* --- Tests ------------------------------------------------------------------------------------------------------------ */

static void what_is_not_cached_is_fetched_by_a_worker(void **state)
{
        assert_int_equal(get(*state), FILE_BYTES);
        assert_int_equal(fetched, PAGES);
        assert_int_equal(blocked, 0);
}

/* As others that read the file, or look ahead in it, leave it behind. */
static void a_gap_between_what_is_cached_is_seen(void **state)
{
        for (size_t i = 0; i < PAGES; i++)
                cached[i] = i % 128 < 16 || i % 128 >= 112;
        assert_int_equal(get(*state), FILE_BYTES);
        assert_int_equal(blocked, 0);
}

static void a_file_that_cannot_be_read_ends_the_connection(void **state)
{
        static const int from[] = { 0, 1, 31, 32, 33, 300, PAGES - 1 };

        for (size_t i = 0; i < ARRAY_LEN(from); i++) {
                size_t got;

                for (size_t page = 0; page < PAGES; page++)
                        cached[page] = false;
                broken_from = from[i];
                got = get(*state);
                assert_true(got <= (size_t)from[i] * PAGE && got + 192 * 1024 > (size_t)from[i] * PAGE);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(what_is_not_cached_is_fetched_by_a_worker),
                TEST(a_gap_between_what_is_cached_is_seen),
                TEST(a_file_that_cannot_be_read_ends_the_connection),
        };

        return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
