/* Decoder of chunked bodies (RFC 9112, section 7.1).
 *
 *      SIZE --digit--> SIZE         SIZE --CR--> SIZE_LF --LF--> DATA (size 0: TRAILER)
 *        \--blank--> BLANK --";"--> EXTENSION --CR--> SIZE_LF
 *        \--";"--> EXTENSION
 *      DATA --all bytes--> DATA_CR --CR--> DATA_LF --LF--> SIZE
 *      TRAILER --CR--> END_LF --LF--> END
 *        \--other--> TRAILER_LINE --CR--> TRAILER_LF --LF--> TRAILER
 *
 * Every byte that has no edge leads to BAD, and nothing leads out of END and BAD. */
#include "http/chunked.h"

#include "base/check.h"
#include "http/chars.h"

enum step { SIZE, BLANK, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LINE, TRAILER_LF, END_LF, END, BAD };

enum { DIGITS_MAX = 16 };

void chunked_init(struct chunked *c)
{
        *c = (struct chunked){ .step = SIZE };
}

static enum step bad(struct chunked *c, const char *wrong)
{
        c->wrong = wrong;
        return BAD;
}

static enum step expect(struct chunked *c, char byte, char want, enum step next)
{
        return byte == want ? next : bad(c, "a line of the chunked body does not end with CR LF");
}

static enum step on_size(struct chunked *c, char byte)
{
        if (char_is(byte, CHAR_HEX)) {
                if (c->digits++ == DIGITS_MAX)
                        return bad(c, "the size of a chunk has too many digits");
                c->left = c->left << 4 | char_hex_value(byte);
                return SIZE;
        }
        if (c->digits == 0)
                return bad(c, "a chunk does not begin with its size in hexadecimal digits");
        if (c->left > INT64_MAX)
                return bad(c, "the size of a chunk is too large");
        if (byte == '\r')
                return SIZE_LF;
        if (byte == ';')
                return EXTENSION;
        if (byte == ' ' || byte == '\t')
                return BLANK;
        return bad(c, "the size of a chunk is not a hexadecimal number");
}

/* What the client pays for in data it may spend on extensions. */
static enum step on_extension(struct chunked *c, char byte)
{
        bool blank = byte == ' ' || byte == '\t';

        if (byte == '\r' && c->step == EXTENSION)
                return SIZE_LF;
        if (!char_is(byte, CHAR_VALUE) || (c->step == BLANK && !blank && byte != ';'))
                return bad(c, "a chunk's extension is malformed");
        if (c->extension_bytes++ == CHUNKED_EXTENSION_BYTES_MAX)
                return bad(c, "the extensions of chunks are too long");
        return c->step == BLANK && blank ? BLANK : EXTENSION;
}

static enum step on_trailer(struct chunked *c, char byte)
{
        if (byte == '\r')
                return c->step == TRAILER ? END_LF : TRAILER_LF;
        if (!char_is(byte, CHAR_VALUE))
                return bad(c, "a control character stands in a trailer");
        if (c->trailer_bytes++ == CHUNKED_TRAILER_BYTES_MAX)
                return bad(c, "the trailers are too long");
        return TRAILER_LINE;
}

static enum step next_step(struct chunked *c, char byte)
{
        switch ((enum step)c->step) {
        case SIZE:
                return on_size(c, byte);
        case BLANK:
        case EXTENSION:
                return on_extension(c, byte);
        case SIZE_LF:
                return expect(c, byte, '\n', c->left ? DATA : TRAILER);
        case DATA_CR:
                return expect(c, byte, '\r', DATA_LF);
        case DATA_LF:
                return expect(c, byte, '\n', SIZE);
        case TRAILER:
        case TRAILER_LINE:
                return on_trailer(c, byte);
        case TRAILER_LF:
                return expect(c, byte, '\n', TRAILER);
        case END_LF:
                return expect(c, byte, '\n', END);
        case DATA:
        case END:
        case BAD:
                break;
        }
        return BAD;
}

static struct slice take_data(struct chunked *c, struct slice *in)
{
        struct slice data = slice_head(*in, MIN((uint64_t)in->n, c->left));

        *in = slice_skip(*in, data.n);
        c->left -= data.n;
        c->extension_bytes -= (unsigned)MIN((size_t)c->extension_bytes, data.n);
        if (c->left == 0) {
                c->step = DATA_CR;
                c->digits = 0;
        }
        return data;
}

enum chunked_state chunked_feed(struct chunked *c, struct slice *in, struct slice *ret_data)
{
        while (c->step != END && c->step != BAD) {
                if (in->n == 0)
                        return CHUNKED_MORE;
                if (c->step == DATA) {
                        *ret_data = take_data(c, in);
                        return CHUNKED_DATA;
                }
                c->step = next_step(c, in->p[0]);
                *in = slice_skip(*in, 1);
        }
        return c->step == END ? CHUNKED_END : CHUNKED_BAD;
}
