/* A growable buffer with a hard limit and a sticky failure: put what you like, check once at the end with buf_ok().
 *
 *      _cleanup_(buf_fini) struct buf b = BUF_INIT(64 * 1024);
 *      buf_put(&b, S("{\"tags\":["));
 *      ...
 *      if (!buf_ok(&b))
 *              return FAIL(e, ERR_NOMEM, 0, "the answer is too large");
 *
 * After a failure the contents are what they were before it, and further puts do nothing. */
#pragma once

#include "base/check.h"
#include "base/slice.h"

struct buf {
        char *p;                /* owned */
        size_t n, capacity;
        size_t max;             /* bytes that it may hold */
        bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

void buf_fini(struct buf *b);
void buf_reset(struct buf *b);                       /* empty and usable again, memory kept */
void buf_put(struct buf *b, struct slice s);
void buf_put_char(struct buf *b, char c);
void buf_put_u64(struct buf *b, uint64_t value);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *buf_reserve(struct buf *b, size_t n);          /* room for n more bytes, or NULL; then set b->n */
void buf_consume(struct buf *b, size_t n);           /* drops the first n bytes */
const char *buf_cstr(struct buf *b);                 /* NUL-terminated view; "" after a failure */

static inline bool buf_ok(const struct buf *b)
{
        return !b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
        return (struct slice){ b->p, b->n };
}

/* JSON (RFC 8259): the quoted and escaped string. Bytes that are not UTF-8 become U+FFFD. */
void buf_put_json_string(struct buf *b, struct slice s);
