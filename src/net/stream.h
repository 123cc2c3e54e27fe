/* A connected socket that does not block, plain or with TLS: what the HTTP engine reads from and writes to.
 *
 *      stream_open(&stream, fd, tls, &scratch, e)        tls NULL: plain
 *      stream_event(&stream, events)                     from the loop
 *      stream_handshake(&stream)                         with TLS, until it is done
 *      stream_read(), stream_write(), stream_send_file(), until they say STREAM_AGAIN
 *      stream_close(&stream)
 *
 * Output: what a write took is on its way. With TLS it may be encrypted and not sent yet, then it is kept in the stream (about
 * STREAM_CHUNK bytes at most), and further writes say STREAM_AGAIN until stream_flush() has sent it. What was written with `more`
 * waits for the next write, or for stream_flush().
 *
 * TLS reads and writes through memory that the streams of one thread share (struct stream_scratch): many records are encrypted into
 * one large write, and an idle connection holds no buffer. One thread at a time: the loop's, or one that it lends the stream and a
 * scratch to. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "net/tls.h"

#include <openssl/types.h>
#include <sys/uio.h>

/* The bytes that one write hands to the socket at most. */
enum { STREAM_CHUNK = 256 * 1024 };

struct stream_scratch;
RESULT stream_scratch_new(struct stream_scratch **ret_scratch, struct err *e);
void stream_scratch_free(struct stream_scratch *scratch);
/* STREAM_CHUNK bytes for whoever needs them until he returns to the loop. Made when first asked for; NULL: no memory. */
char *stream_scratch_bytes(struct stream_scratch *scratch);

struct stream {
        int fd;                                 /* owned */
        SSL *ssl;                               /* owned; NULL: plain */
        struct stream_scratch *scratch;         /* borrowed: the thread's */
        struct buf unsent;                      /* what the socket has not taken yet */
        bool corked;                            /* unsent waits for what follows it, not for the socket */
        struct buf unread;                      /* TLS: what was received and not decrypted yet */
        size_t unread_at;                       /* bytes of it that were used up */
        size_t chunk;                           /* how much to write at once: adapts to what the socket takes */
        bool drained;                           /* nothing to read until the next event */
        bool hung_up;                           /* the peer will send no more */
        bool dead;                              /* an error or a reset: nothing works any more */
        bool handshaken;
};

enum stream_status {
        STREAM_AGAIN = 0,               /* wait for an event */
        STREAM_END = -1,                /* reading: the peer has sent all */
        STREAM_DEAD = -2,               /* broken */
};

RESULT stream_open(struct stream *stream, int fd, struct tls *tls, struct stream_scratch *scratch, struct err *e);
void stream_close(struct stream *stream);
/* EPOLLIN, EPOLLHUP, … of the socket. What it did not take goes on its way. */
void stream_event(struct stream *stream, unsigned events);

enum stream_hello { STREAM_HELLO_DONE, STREAM_HELLO_AGAIN, STREAM_HELLO_FAILED, STREAM_HELLO_PLAIN_HTTP };
/* STREAM_HELLO_PLAIN_HTTP: the peer speaks plain HTTP; the stream is plain from here on, its first bytes can be read.
 * STREAM_HELLO_FAILED: e tells why. */
enum stream_hello stream_handshake(struct stream *stream, struct err *e);

/* > 0: bytes. */
ssize_t stream_read(struct stream *stream, void *bytes, size_t n);
/* > 0: bytes taken, of all parts together; `more`: others follow at once, and these may wait for them. */
ssize_t stream_write(struct stream *stream, const struct iovec *parts, int count, bool more);
/* > 0: bytes of the file taken. STREAM_DEAD also where the file cannot be read: e is set then. Reads from the page cache where
 * that can be; ret_cold: the bytes must be fetched from the disk first, which would block (stream_warm()). */
ssize_t stream_send_file(struct stream *stream, int file_fd, uint64_t offset, uint64_t n, bool *ret_cold, struct err *e);
/* Fetches a piece of the file into the page cache. Blocks: a worker's work. It fails where the disk does: trying to send again would
 * only say once more that the bytes must be fetched. */
RESULT stream_warm(int file_fd, uint64_t offset, uint64_t n, struct err *e);
/* > 0: all is sent. */
ssize_t stream_flush(struct stream *stream);
/* Bytes that were written and the peer has not acknowledged: the socket's, and with TLS those that wait for it. */
size_t stream_queued(const struct stream *stream);
/* All that came was read: nothing more is there to be read before an event tells of it. */
bool stream_is_drained(const struct stream *stream);
bool stream_has_unsent(const struct stream *stream);
bool stream_is_full(const struct stream *stream);       /* has unsent bytes that the socket must take before others */
/* Says to the peer that no more will come; the receiving side stays open. */
void stream_shutdown(struct stream *stream);
