/* Streams: what the socket did not take goes on its way when there is room. Most of stream.c is tested over the wire. */
#include "net/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* As in the middle of a handshake: OpenSSL has said all that it has to say, and nobody writes more. */
static void what_was_left_over_is_sent_when_there_is_room(void **state)
{
        struct stream stream;
        struct err e;
        int ends[2];
        char got[16];

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        assert_true(stream_open(&stream, ends[0], NULL, NULL, &e).ok);
        buf_put(&stream.unsent, S("flight"));
        stream_event(&stream, EPOLLIN);
        assert_int_equal(read(ends[1], got, sizeof got), -1);
        stream_event(&stream, EPOLLOUT);
        assert_int_equal(read(ends[1], got, sizeof got), 6);
        assert_memory_equal(got, "flight", 6);
        assert_false(stream_has_unsent(&stream));
        stream_close(&stream);
        close(ends[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_left_over_is_sent_when_there_is_room),
        };

        return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
