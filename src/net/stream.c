/* See stream.h. TLS sees the socket through a BIO of ours: reading serves it from one large receive, writing gathers its records
 * in memory that all streams of the loop share. What is left over at the end of a call moves to the stream. */
#include "net/stream.h"

#include "base/cleanup.h"
#include "net/tls_internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum {
        RECORD = 16 * 1024,                     /* RFC 8446, section 5.1 */
        RECORD_ROOM = RECORD + 512,             /* and what encryption adds */
        IN_MAX = 128 * 1024,
        OUT_MAX = STREAM_CHUNK + STREAM_CHUNK / RECORD * 512 + 64 * 1024,       /* handshake messages may come on top */
        CHUNK_FIRST = 64 * 1024,
        SENDFILE_CHUNK = 1024 * 1024,
        PROBE_STEP = 128 * 1024,                /* what the kernel reads ahead, as a rule */
        WARM_PIECE = 64 * 1024,
};

struct stream_scratch {
        BIO_METHOD *method;             /* owned */
        char *in, *out, *bytes;         /* owned; made when needed */
        size_t in_at, in_end;           /* received by the call that runs, not decrypted yet */
        size_t in_want;                 /* how much to receive at once */
        size_t out_n;                   /* encrypted by the call that runs, not sent yet */
};

/* --- Shared memory ---------------------------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *bytes, size_t n, size_t *ret_n);
static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *ret_n);

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
        (void)bio;
        (void)number;
        (void)pointer;
        return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

RESULT stream_scratch_new(struct stream_scratch **ret_scratch, struct err *e)
{
        struct stream_scratch *scratch = calloc(1, sizeof *scratch);

        if (scratch)
                scratch->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");
        if (!scratch || !scratch->method) {
                free(scratch);
                return FAIL(e, ERR_NOMEM, ENOMEM, "prepare a loop's buffers");
        }
        BIO_meth_set_read_ex(scratch->method, bio_read);
        BIO_meth_set_write_ex(scratch->method, bio_write);
        BIO_meth_set_ctrl(scratch->method, bio_ctrl);
        *ret_scratch = scratch;
        return OK;
}

void stream_scratch_free(struct stream_scratch *scratch)
{
        if (!scratch)
                return;
        BIO_meth_free(scratch->method);
        free(scratch->in);
        free(scratch->out);
        free(scratch->bytes);
        free(scratch);
}

static char *make_once(char **buffer, size_t n)
{
        if (!*buffer)
                *buffer = malloc(n);
        return *buffer;
}

char *stream_scratch_bytes(struct stream_scratch *scratch)
{
        return make_once(&scratch->bytes, STREAM_CHUNK);
}

/* --- Socket ----------------------------------------------------------------------------------------------------------- */

static ssize_t receive(struct stream *stream, void *bytes, size_t n)
{
        ssize_t got;

        if (stream->dead)
                return STREAM_DEAD;
        if (stream->drained)
                return STREAM_AGAIN;
        do
                got = recv(stream->fd, bytes, n, 0);
        while (got < 0 && errno == EINTR);
        if (got > 0) {
                /* A short read emptied the socket; an end that follows makes an event of its own. */
                stream->drained = (size_t)got < n && !stream->hung_up;
                return got;
        }
        if (got == 0)
                return STREAM_END;
        if (errno == EAGAIN) {
                stream->drained = true;
                return STREAM_AGAIN;
        }
        stream->dead = true;
        return STREAM_DEAD;
}

static ssize_t send_parts(struct stream *stream, const struct iovec *parts, int count, bool more)
{
        struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count };
        int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
        ssize_t sent;

        if (stream->dead)
                return STREAM_DEAD;
        do
                sent = count == 1 ? send(stream->fd, parts->iov_base, parts->iov_len, flags) : sendmsg(stream->fd, &message, flags);
        while (sent < 0 && errno == EINTR);
        if (sent >= 0)
                return sent;
        if (errno == EAGAIN)
                return STREAM_AGAIN;
        stream->dead = true;
        return STREAM_DEAD;
}

/* --- TLS's view of the socket ----------------------------------------------------------------------------------------- */

static size_t take(void *to, size_t n, const char *from, size_t *at, size_t end)
{
        size_t taken = MIN(n, end - *at);

        memcpy(to, from + *at, taken);
        *at += taken;
        return taken;
}

static int bio_read(BIO *bio, char *bytes, size_t n, size_t *ret_n)
{
        struct stream *stream = BIO_get_data(bio);
        struct stream_scratch *scratch = stream->scratch;
        ssize_t got;

        BIO_clear_retry_flags(bio);
        if (stream->unread_at < stream->unread.n) {
                *ret_n = take(bytes, n, stream->unread.p, &stream->unread_at, stream->unread.n);
                return 1;
        }
        if (scratch->in_at == scratch->in_end) {
                got = make_once(&scratch->in, IN_MAX) ? receive(stream, scratch->in, scratch->in_want) : STREAM_DEAD;
                if (got == STREAM_AGAIN)
                        BIO_set_retry_read(bio);
                if (got <= 0)
                        return 0;
                scratch->in_at = 0;
                scratch->in_end = (size_t)got;
        }
        *ret_n = take(bytes, n, scratch->in, &scratch->in_at, scratch->in_end);
        return 1;
}

static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *ret_n)
{
        struct stream *stream = BIO_get_data(bio);
        struct stream_scratch *scratch = stream->scratch;

        BIO_clear_retry_flags(bio);
        if (!make_once(&scratch->out, OUT_MAX) || n > OUT_MAX - scratch->out_n)
                return 0;
        memcpy(scratch->out + scratch->out_n, bytes, n);
        scratch->out_n += n;
        *ret_n = n;
        return 1;
}

static void tls_begin(struct stream *stream, size_t want)
{
        struct stream_scratch *scratch = stream->scratch;

        ERR_clear_error();
        scratch->in_at = scratch->in_end = scratch->out_n = 0;
        scratch->in_want = MIN((size_t)IN_MAX, MAX(want + want / RECORD * 64, (size_t)RECORD_ROOM));
}

/* Keeps bytes for later; without memory the stream is lost. */
static void keep(struct stream *stream, struct buf *b, const char *bytes, size_t n)
{
        buf_put(b, (struct slice){ bytes, n });
        if (!buf_ok(b))
                stream->dead = true;
}

bool stream_is_full(const struct stream *stream)
{
        return stream->unsent.n > 0 && !stream->corked;
}

/* What was encrypted goes out, behind what waited for it. The rest is kept, and with `more` all: it waits for what follows. */
static void send_out(struct stream *stream, bool more)
{
        struct stream_scratch *scratch = stream->scratch;
        struct iovec parts[] = { { stream->unsent.p, stream->unsent.n }, { scratch->out, scratch->out_n } };
        bool full = stream_is_full(stream);
        size_t of_unsent;
        ssize_t sent = 0;

        if (scratch->out_n == 0)
                return;
        if (!full && !more)
                sent = send_parts(stream, parts + !stream->corked, 1 + stream->corked, false);
        sent = MAX(sent, (ssize_t)0);
        of_unsent = MIN((size_t)sent, stream->unsent.n);
        buf_consume(&stream->unsent, of_unsent);
        if (stream->unsent.n == 0)
                buf_fini(&stream->unsent);
        if ((size_t)sent - of_unsent < scratch->out_n)
                keep(stream, &stream->unsent, scratch->out + (size_t)sent - of_unsent, scratch->out_n - ((size_t)sent - of_unsent));
        stream->corked = !full && more;
        scratch->out_n = 0;
}

static void tls_end(struct stream *stream, bool more)
{
        struct stream_scratch *scratch = stream->scratch;

        if (stream->unread_at == stream->unread.n && stream->unread.n) {
                stream->unread_at = 0;
                buf_fini(&stream->unread);
        }
        if (scratch->in_at < scratch->in_end)
                keep(stream, &stream->unread, scratch->in + scratch->in_at, scratch->in_end - scratch->in_at);
        scratch->in_at = scratch->in_end = 0;
        send_out(stream, more);
}

/* What an unsuccessful call of OpenSSL means. */
static ssize_t tls_status(struct stream *stream, int result)
{
        switch (SSL_get_error(stream->ssl, result)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
                return STREAM_AGAIN;
        case SSL_ERROR_ZERO_RETURN:
                return STREAM_END;
        default:
                stream->dead = true;
                return STREAM_DEAD;
        }
}

/* --- Life ------------------------------------------------------------------------------------------------------------- */

RESULT stream_open(struct stream *stream, int fd, struct tls *tls, struct stream_scratch *scratch, struct err *e)
{
        BIO *bio;

        *stream = (struct stream){ .fd = fd, .scratch = scratch, .chunk = CHUNK_FIRST };
        stream->unsent = BUF_INIT(2 * OUT_MAX);
        stream->unread = BUF_INIT(2 * IN_MAX);
        stream->handshaken = !tls;
        if (!tls)
                return OK;
        TRY(tls_session_new(tls, &stream->ssl, e));
        bio = BIO_new(scratch->method);
        if (!bio) {
                SSL_free(TAKE_PTR(stream->ssl));
                return FAIL(e, ERR_NOMEM, ENOMEM, "make a TLS session");
        }
        BIO_set_data(bio, stream);
        BIO_set_init(bio, 1);
        SSL_set_bio(stream->ssl, bio, bio);
        SSL_set_accept_state(stream->ssl);
        return OK;
}

void stream_close(struct stream *stream)
{
        SSL_free(TAKE_PTR(stream->ssl));
        buf_fini(&stream->unsent);
        buf_fini(&stream->unread);
        cleanup_fd(&stream->fd);
        stream->fd = -1;
        stream->dead = true;
}

void stream_event(struct stream *stream, unsigned events)
{
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                stream->drained = false;
        if (events & (EPOLLRDHUP | EPOLLHUP))
                stream->hung_up = true;
        if (events & EPOLLERR)
                stream->dead = true;
        if (events & EPOLLOUT && stream_is_full(stream))
                stream_flush(stream);   /* nobody else comes by in a handshake, or after the end */
}

enum first_words { FIRST_NOTHING, FIRST_PLAIN_HTTP, FIRST_OTHER };

/* A request line begins with a capital letter, a TLS record with 22 (RFC 8446, section 5.1). */
static enum first_words first_words(struct stream *stream)
{
        char first;
        ssize_t got = recv(stream->fd, &first, 1, MSG_PEEK);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return FIRST_NOTHING;
        return got == 1 && first >= 'A' && first <= 'Z' ? FIRST_PLAIN_HTTP : FIRST_OTHER;
}

enum stream_hello stream_handshake(struct stream *stream, struct err *e)
{
        ssize_t status;
        int result;

        /* OpenSSL leaves its first state at the first call, with bytes or without: it is not called before some have come. */
        if (SSL_in_before(stream->ssl)) {
                enum first_words words = first_words(stream);

                if (words == FIRST_NOTHING)
                        return STREAM_HELLO_AGAIN;
                if (words == FIRST_PLAIN_HTTP) {
                        SSL_free(TAKE_PTR(stream->ssl));
                        stream->handshaken = true;
                        return STREAM_HELLO_PLAIN_HTTP;
                }
        }
        tls_begin(stream, 0);
        result = SSL_do_handshake(stream->ssl);
        status = result == 1 ? 1 : tls_status(stream, result);
        tls_end(stream, false); /* an alert goes out even when it failed */
        if (result == 1 && !stream->dead) {
                stream->handshaken = true;
                return STREAM_HELLO_DONE;
        }
        if (status == STREAM_AGAIN && !stream->dead)
                return STREAM_HELLO_AGAIN;
        IGNORE(FAIL(e, ERR_CLOSED, 0, "TLS handshake failed: %s", tls_reason()));
        return STREAM_HELLO_FAILED;
}

void stream_shutdown(struct stream *stream)
{
        if (stream->ssl && !stream->dead && stream->handshaken) {
                tls_begin(stream, 0);
                SSL_shutdown(stream->ssl);
                tls_end(stream, false);
        }
        if (!stream_has_unsent(stream))
                shutdown(stream->fd, SHUT_WR);
}

/* --- Reading ---------------------------------------------------------------------------------------------------------- */

bool stream_is_drained(const struct stream *stream)
{
        if (!stream->drained || stream->hung_up || stream->unread.n)
                return false;
        /* an end that was read behind the last bytes is still to be told */
        return !stream->ssl || !(SSL_has_pending(stream->ssl) || SSL_get_shutdown(stream->ssl) & SSL_RECEIVED_SHUTDOWN);
}

/* Asking OpenSSL for a record that has not come costs as much as one that has. */
static bool may_have_more(const struct stream *stream)
{
        const struct stream_scratch *scratch = stream->scratch;

        return !stream->drained || scratch->in_at < scratch->in_end || stream->unread_at < stream->unread.n || SSL_pending(stream->ssl);
}

static ssize_t tls_read(struct stream *stream, char *bytes, size_t n)
{
        ssize_t status = STREAM_AGAIN;
        size_t total = 0;

        if (!stream->dead && stream_is_drained(stream))
                return STREAM_AGAIN;
        tls_begin(stream, n);
        while (total < n) {
                size_t got;
                int result = SSL_read_ex(stream->ssl, bytes + total, n - total, &got);

                if (result != 1) {
                        status = tls_status(stream, result);
                        break;
                }
                total += got;
                if (!may_have_more(stream))
                        break;
        }
        tls_end(stream, false);
        return total ? (ssize_t)total : status;
}

ssize_t stream_read(struct stream *stream, void *bytes, size_t n)
{
        return stream->ssl ? tls_read(stream, bytes, n) : receive(stream, bytes, n);
}

/* --- Writing ---------------------------------------------------------------------------------------------------------- */

bool stream_has_unsent(const struct stream *stream)
{
        return stream->unsent.n > 0;
}

size_t stream_queued(const struct stream *stream)
{
        int n;

        return stream->unsent.n + (ioctl(stream->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0);
}

ssize_t stream_flush(struct stream *stream)
{
        stream->corked = false;
        while (stream->unsent.n) {
                struct iovec part = { stream->unsent.p, stream->unsent.n };
                ssize_t sent = send_parts(stream, &part, 1, false);

                if (sent <= 0)
                        return sent;
                buf_consume(&stream->unsent, (size_t)sent);
        }
        buf_fini(&stream->unsent);
        return 1;
}

/* A socket that takes little at a time gets little at a time: what it leaves has to be kept. */
static void adapt_chunk(struct stream *stream, size_t taken)
{
        if (stream_is_full(stream))
                stream->chunk = MAX(stream->chunk / 2, (size_t)RECORD);
        else if (taken == stream->chunk)
                stream->chunk = MIN(stream->chunk * 2, (size_t)STREAM_CHUNK);
}

static ssize_t encrypt(struct stream *stream, const char *bytes, size_t n)
{
        size_t total = 0;

        while (total < n) {
                size_t taken;
                int result = SSL_write_ex(stream->ssl, bytes + total, n - total, &taken);

                if (result != 1) {
                        stream->dead = true;
                        return STREAM_DEAD;
                }
                total += taken;
        }
        return (ssize_t)total;
}

static ssize_t tls_write(struct stream *stream, const struct iovec *parts, int count, bool more)
{
        size_t total = 0;

        if (stream_is_full(stream) && stream_flush(stream) <= 0)
                return stream->dead ? STREAM_DEAD : STREAM_AGAIN;
        tls_begin(stream, 0);
        for (int i = 0; i < count && total < stream->chunk && !stream->dead; i++) {
                ssize_t taken = encrypt(stream, parts[i].iov_base, MIN(parts[i].iov_len, stream->chunk - total));

                total += taken > 0 ? (size_t)taken : 0;
        }
        tls_end(stream, more);
        adapt_chunk(stream, total);
        return stream->dead ? STREAM_DEAD : (ssize_t)total;
}

ssize_t stream_write(struct stream *stream, const struct iovec *parts, int count, bool more)
{
        return stream->ssl ? tls_write(stream, parts, count, more) : send_parts(stream, parts, count, more);
}

/* --- Files ------------------------------------------------------------------------------------------------------------ */

/* Reads what the page cache has; ERR: errno EAGAIN where that is nothing. Some file systems cannot tell: then it may block. */
static ssize_t read_cached(int file_fd, void *bytes, size_t n, uint64_t offset)
{
        struct iovec part = { bytes, n };
        ssize_t got = preadv2(file_fd, &part, 1, (off_t)offset, RWF_NOWAIT);

        if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
                got = pread(file_fd, bytes, n, (off_t)offset);
        return got;
}

static struct result fail_file(ssize_t got, struct err *e)
{
        return got < 0 ? FAIL(e, ERR_IO, errno, "read a file that is being sent")
                       : FAIL(e, ERR_CORRUPT, 0, "a file that is being sent became shorter");
}

static ssize_t failed_file(ssize_t got, bool *ret_cold, struct err *e)
{
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
                *ret_cold = true;
                return STREAM_AGAIN;
        }
        IGNORE(fail_file(got, e));
        return STREAM_DEAD;
}

static ssize_t tls_send_file(struct stream *stream, int file_fd, uint64_t offset, uint64_t n, bool *ret_cold, struct err *e)
{
        char *bytes = stream_scratch_bytes(stream->scratch);
        struct iovec part = { bytes, (size_t)MIN(n, (uint64_t)stream->chunk) };
        ssize_t got;

        if (!bytes)
                return STREAM_DEAD;
        if (stream_is_full(stream) && stream_flush(stream) <= 0)
                return stream->dead ? STREAM_DEAD : STREAM_AGAIN;
        got = read_cached(file_fd, bytes, part.iov_len, offset);
        if (got <= 0)
                return failed_file(got, ret_cold, e);
        part.iov_len = (size_t)got;
        return tls_write(stream, &part, 1, false);
}

/* How much of the next bytes the page cache has; like read_cached() where that is nothing. sendfile() cannot be asked not to wait for
 * the disk, and a look at every page would cost as much as sending a tenth of them: one byte of each piece that the kernel reads
 * at once tells nearly as much. What lies behind the last that was found is left for the next call. */
static ssize_t cached_bytes(int file_fd, uint64_t offset, size_t n)
{
        size_t known = 0;
        char probe;

        for (size_t at = 0;; at = MIN(at + PROBE_STEP, n - 1)) {
                ssize_t got = read_cached(file_fd, &probe, 1, offset + at);

                if (got <= 0)
                        return known ? (ssize_t)known : got;
                if (at == n - 1)
                        return (ssize_t)n;
                known = at;
        }
}

static ssize_t plain_send_file(struct stream *stream, int file_fd, uint64_t offset, uint64_t n, bool *ret_cold, struct err *e)
{
        off_t at = (off_t)offset;
        ssize_t have, sent;

        if (stream->dead)
                return STREAM_DEAD;
        have = cached_bytes(file_fd, offset, (size_t)MIN(n, (uint64_t)SENDFILE_CHUNK));
        if (have <= 0)
                return failed_file(have, ret_cold, e);
        sent = sendfile(stream->fd, file_fd, &at, (size_t)have);
        if (sent > 0)
                return sent;
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
                return STREAM_AGAIN;
        stream->dead = true;
        return STREAM_DEAD;
}

ssize_t stream_send_file(struct stream *stream, int file_fd, uint64_t offset, uint64_t n, bool *ret_cold, struct err *e)
{
        *ret_cold = false;
        *e = ERR_INIT;
        return stream->ssl ? tls_send_file(stream, file_fd, offset, n, ret_cold, e)
                           : plain_send_file(stream, file_fd, offset, n, ret_cold, e);
}

RESULT stream_warm(int file_fd, uint64_t offset, uint64_t n, struct err *e)
{
        char piece[WARM_PIECE];

        n = MIN(n, (uint64_t)SENDFILE_CHUNK);
        for (uint64_t at = 0; at < n; at += sizeof piece) {
                ssize_t got = pread(file_fd, piece, (size_t)MIN(n - at, (uint64_t)sizeof piece), (off_t)(offset + at));

                if (got <= 0)           /* what comes before can be sent, where it is enough for cached_bytes() to see it */
                        return at > PROBE_STEP ? OK : fail_file(got, e);
        }
        return OK;
}
