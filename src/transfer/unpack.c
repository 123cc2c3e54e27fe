#include "transfer/unpack.h"

#include <errno.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

enum { INPUT_BYTES = 128 * 1024, GZIP_WINDOW = 15 + 16 };       /* 16: with gzip's header (zlib.h) */

enum packing { PLAIN, GZIP, ZSTD };

struct unpack {
        int fd;                         /* borrowed */
        enum packing packing;
        z_stream gzip;
        ZSTD_DStream *zstd;             /* owned */
        bool within;                    /* a compressed member has begun and not ended */
        bool ended;                     /* of the file */
        bool can_seek;
        uint64_t position, file_bytes;  /* file_bytes: where it can seek */
        size_t at, end;                 /* what is there of input */
        unsigned char input[INPUT_BYTES];
};

void unpack_free(struct unpack *unpack)
{
        if (!unpack)
                return;
        if (unpack->packing == GZIP)
                inflateEnd(&unpack->gzip);
        ZSTD_freeDStream(unpack->zstd);
        free(unpack);
}

/* --- The file --------------------------------------------------------------------------------------------------------- */

/* Appends to the input until `want` bytes are there, or the file ends. */
static RESULT fill(struct unpack *unpack, size_t want, struct err *e)
{
        if (unpack->at == unpack->end)
                unpack->at = unpack->end = 0;
        while (unpack->end - unpack->at < want && !unpack->ended) {
                ssize_t got = read(unpack->fd, unpack->input + unpack->end, sizeof unpack->input - unpack->end);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return FAIL(e, ERR_IO, errno, "read the archive");
                unpack->ended = got == 0;
                unpack->end += (size_t)got;
                unpack->position += (uint64_t)got;
        }
        return OK;
}

static RESULT begin(struct unpack *unpack, struct err *e)
{
        size_t n;

        TRY(fill(unpack, 4, e));
        n = unpack->end - unpack->at;
        if (n >= 2 && memcmp(unpack->input, "\x1f\x8b", 2) == 0) {
                if (inflateInit2(&unpack->gzip, GZIP_WINDOW) != Z_OK)
                        return FAIL(e, ERR_NOMEM, 0, "too little memory to decompress");
                unpack->packing = GZIP;
        } else if (n >= 4 && memcmp(unpack->input, "\x28\xb5\x2f\xfd", 4) == 0) {
                unpack->zstd = ZSTD_createDStream();
                if (!unpack->zstd)
                        return FAIL(e, ERR_NOMEM, 0, "too little memory to decompress");
                unpack->packing = ZSTD;
        }
        return OK;
}

RESULT unpack_open(int fd, struct unpack **ret_unpack, struct err *e)
{
        _cleanup_(unpack_freep) struct unpack *unpack = calloc(1, sizeof *unpack);
        struct stat st;

        if (!unpack)
                return FAIL(e, ERR_NOMEM, ENOMEM, "read an archive");
        unpack->fd = fd;
        unpack->can_seek = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0;
        unpack->file_bytes = unpack->can_seek ? (uint64_t)st.st_size : 0;
        TRY(begin(unpack, e));
        *ret_unpack = TAKE_PTR(unpack);
        return OK;
}

uint64_t unpack_position(const struct unpack *unpack)
{
        return unpack->position;
}

/* --- Decompression ---------------------------------------------------------------------------------------------------- */

static RESULT inflate_some(struct unpack *unpack, void *room, size_t size, size_t *ret_n, struct err *e)
{
        z_stream *z = &unpack->gzip;
        int rc;

        z->next_in = unpack->input + unpack->at;
        z->avail_in = (unsigned)(unpack->end - unpack->at);
        z->next_out = room;
        z->avail_out = (unsigned)MIN(size, (size_t)INT32_MAX);
        *ret_n = z->avail_out;
        rc = inflate(z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
                return FAIL(e, ERR_INVALID, 0, "the archive is damaged: gzip: %s", z->msg ? z->msg : "unreadable");
        *ret_n -= z->avail_out;
        unpack->at = unpack->end - z->avail_in;
        unpack->within = rc != Z_STREAM_END;
        if (rc == Z_STREAM_END)
                inflateReset(z);        /* another member may follow */
        return OK;
}

static RESULT unzstd_some(struct unpack *unpack, void *room, size_t size, size_t *ret_n, struct err *e)
{
        ZSTD_inBuffer in = { unpack->input, unpack->end, unpack->at };
        ZSTD_outBuffer out = { room, size, 0 };
        size_t rc = ZSTD_decompressStream(unpack->zstd, &out, &in);

        if (ZSTD_isError(rc))
                return FAIL(e, ERR_INVALID, 0, "the archive is damaged: zstd: %s", ZSTD_getErrorName(rc));
        *ret_n = out.pos;
        unpack->at = in.pos;
        unpack->within = rc != 0;
        return OK;
}

static void copy_some(struct unpack *unpack, void *room, size_t size, size_t *ret_n)
{
        *ret_n = MIN(size, unpack->end - unpack->at);
        memcpy(room, unpack->input + unpack->at, *ret_n);
        unpack->at += *ret_n;
}

/* Some bytes; none at the end. A decompressor may still hold bytes when its input is used up. */
static RESULT read_some(struct unpack *unpack, void *room, size_t size, size_t *ret_n, struct err *e)
{
        *ret_n = 0;
        for (;;) {
                bool last;

                TRY(fill(unpack, 1, e));
                last = unpack->at == unpack->end;
                if (last && !unpack->within)
                        return OK;
                switch (unpack->packing) {
                case PLAIN:
                        copy_some(unpack, room, size, ret_n);
                        break;
                case GZIP:
                        TRY(inflate_some(unpack, room, size, ret_n, e));
                        break;
                case ZSTD:
                        TRY(unzstd_some(unpack, room, size, ret_n, e));
                        break;
                }
                if (*ret_n)
                        return OK;
                if (last && unpack->within)
                        return FAIL(e, ERR_INVALID, 0, "the archive ends too early");
        }
}

RESULT unpack_read(struct unpack *unpack, void *room, size_t size, size_t *ret_n, struct err *e)
{
        size_t done = 0, n;

        while (done < size) {
                TRY(read_some(unpack, (char *)room + done, size - done, &n, e));
                if (n == 0)
                        break;
                done += n;
        }
        *ret_n = done;
        return OK;
}

RESULT unpack_skip(struct unpack *unpack, uint64_t bytes, struct err *e)
{
        char room[16 * 1024];

        if (unpack->packing == PLAIN && unpack->can_seek) {
                size_t there = (size_t)MIN(bytes, (uint64_t)(unpack->end - unpack->at));

                unpack->at += there;
                bytes -= there;
                if (bytes > unpack->file_bytes - MIN(unpack->position, unpack->file_bytes))
                        return FAIL(e, ERR_INVALID, 0, "the archive ends too early");
                if (bytes && lseek(unpack->fd, (off_t)bytes, SEEK_CUR) < 0)
                        return FAIL(e, ERR_IO, errno, "read the archive");
                unpack->position += bytes;
                return OK;
        }
        while (bytes) {
                size_t n;

                TRY(unpack_read(unpack, room, (size_t)MIN(bytes, (uint64_t)sizeof room), &n, e));
                if (n == 0)
                        return FAIL(e, ERR_INVALID, 0, "the archive ends too early");
                bytes -= n;
        }
        return OK;
}
