#include "transfer/tar.h"

#include "base/cleanup.h"

#include <stdio.h>

/* The fields of a header and where they stand. */
enum {
        NAME = 0, NAME_BYTES = 100, MODE = 100, OWNER = 108, GROUP = 116, SIZE = 124, SIZE_BYTES = 12, TIME = 136, CHECKSUM = 148,
        CHECKSUM_BYTES = 8, TYPE = 156, LINK = 157, MAGIC = 257, PREFIX = 345, PREFIX_BYTES = 155,
};
#define OCTAL_SIZE_MAX 077777777777ull

/* --- Numbers ---------------------------------------------------------------------------------------------------------- */

/* Octal digits between spaces or NULs; GNU: a first byte of 0x80 and the number in base 256. */
static bool read_number(const unsigned char *field, size_t n, uint64_t *ret_number)
{
        uint64_t number = 0;
        size_t i = 0;

        if (field[0] == 0x80) {
                for (i = 1; i < n; i++) {
                        if (number > UINT64_MAX >> 8)
                                return false;
                        number = number << 8 | field[i];
                }
                *ret_number = number;
                return true;
        }
        while (i < n && field[i] == ' ')
                i++;
        for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
                number = number << 3 | (uint64_t)(field[i] - '0');      /* 12 digits are 36 bits */
        for (; i < n; i++)
                if (field[i] != ' ' && field[i] != 0)
                        return false;
        *ret_number = number;
        return true;
}

/* Its own field counts as spaces. Old programs added signed bytes. */
static bool checksum_is_right(const unsigned char *block)
{
        uint64_t told, sum = 0;
        int64_t sum_of_signed = 0;

        for (size_t i = 0; i < TAR_BLOCK; i++) {
                unsigned char byte = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES ? ' ' : block[i];

                sum += byte;
                sum_of_signed += (signed char)byte;
        }
        return read_number(block + CHECKSUM, CHECKSUM_BYTES, &told) && (told == sum || (int64_t)told == sum_of_signed);
}

/* --- Headers ---------------------------------------------------------------------------------------------------------- */

static void copy_field(char *to, const unsigned char *field, size_t n)
{
        n = strnlen((const char *)field, n);
        memcpy(to, field, n);
        to[n] = 0;
}

static void read_name(const unsigned char *block, struct tar_header *header)
{
        size_t n = 0;

        if (memcmp(block + MAGIC, "ustar\0", 6) == 0 && block[PREFIX]) {
                copy_field(header->name, block + PREFIX, PREFIX_BYTES);
                n = strlen(header->name);
                header->name[n++] = '/';
        }
        copy_field(header->name + n, block + NAME, NAME_BYTES);
        copy_field(header->link, block + LINK, NAME_BYTES);
}

static RESULT read_kind(char type, struct tar_header *header, struct err *e)
{
        switch (type) {
        case 0:
        case '0':
        case '7':
                header->kind = *header->name && header->name[strlen(header->name) - 1] == '/' ? TAR_OTHER : TAR_FILE;
                return OK;
        case '1':       /* some write the size of what it links to; no data follows */
                header->kind = TAR_HARD_LINK;
                header->size = 0;
                return OK;
        case '2':
                header->kind = TAR_SYMBOLIC_LINK;
                header->size = 0;
                return OK;
        case 'x':
                header->kind = TAR_PAX;
                return OK;
        case 'L':
                header->kind = TAR_LONG_NAME;
                return OK;
        case 'K':
                header->kind = TAR_LONG_LINK;
                return OK;
        case 'S':
                return FAIL(e, ERR_INVALID, 0, "the archive holds a sparse file, which image archives do not");
        default:
                header->kind = TAR_OTHER;
                return OK;
        }
}

static bool is_zero(const unsigned char *block)
{
        for (size_t i = 0; i < TAR_BLOCK; i++)
                if (block[i])
                        return false;
        return true;
}

RESULT tar_parse(const unsigned char block[static TAR_BLOCK], struct tar_header *ret_header, struct err *e)
{
        if (is_zero(block)) {
                *ret_header = (struct tar_header){ .kind = TAR_END };
                return OK;
        }
        if (!checksum_is_right(block))
                return FAIL(e, ERR_INVALID, 0, "this is no tar archive, or it is damaged");
        if (!read_number(block + SIZE, SIZE_BYTES, &ret_header->size) || ret_header->size > INT64_MAX)
                return FAIL(e, ERR_INVALID, 0, "the archive tells a size that is none");
        read_name(block, ret_header);
        return read_kind((char)block[TYPE], ret_header, e);
}

/* --- Extensions ------------------------------------------------------------------------------------------------------- */

static RESULT keep_name(char to[static TAR_NAME_MAX], struct slice name, struct err *e)
{
        while (name.n && name.p[name.n - 1] == 0)
                name.n--;
        if (!slice_to_cstr(name, to, TAR_NAME_MAX))
                return FAIL(e, ERR_INVALID, 0, "the archive holds a name that is too long, or none");
        return OK;
}

static RESULT take_record(struct tar_extension *extension, struct slice key, struct slice value, struct err *e)
{
        if (slice_eq(key, S("path")))
                return keep_name(extension->name, value, e);
        if (slice_eq(key, S("linkpath")))
                return keep_name(extension->link, value, e);
        if (slice_starts(key, S("GNU.sparse.")))
                return FAIL(e, ERR_INVALID, 0, "the archive holds a sparse file, which image archives do not");
        if (!slice_eq(key, S("size")))
                return OK;
        extension->has_size = slice_to_u64(value, &extension->size) && extension->size <= INT64_MAX;
        return extension->has_size ? OK : FAIL(e, ERR_INVALID, 0, "the archive tells a size that is none");
}

/* "<length> <key>=<value>\n", where the length is that of the whole record. */
static RESULT take_records(struct tar_extension *extension, struct slice data, struct err *e)
{
        while (data.n) {
                struct slice rest = data, length, key;
                uint64_t n;

                if (!slice_cut(&rest, ' ', &length) || !slice_to_u64(length, &n) || n > data.n || n < length.n + 3 || data.p[n - 1] != '\n')
                        return FAIL(e, ERR_INVALID, 0, "the archive holds a pax header that is damaged");
                rest = slice_head(rest, (size_t)n - length.n - 2);
                if (!slice_cut(&rest, '=', &key))
                        return FAIL(e, ERR_INVALID, 0, "the archive holds a pax header that is damaged");
                TRY(take_record(extension, key, rest, e));
                data = slice_skip(data, (size_t)n);
        }
        return OK;
}

RESULT tar_extend(struct tar_extension *extension, enum tar_kind kind, struct slice data, struct err *e)
{
        if (kind == TAR_LONG_NAME)
                return keep_name(extension->name, data, e);
        if (kind == TAR_LONG_LINK)
                return keep_name(extension->link, data, e);
        CHECK(kind == TAR_PAX);
        return take_records(extension, data, e);
}

void tar_apply(struct tar_extension *extension, struct tar_header *header)
{
        if (extension->has_size && header->kind != TAR_HARD_LINK && header->kind != TAR_SYMBOLIC_LINK)
                header->size = extension->size;
        if (*extension->name)
                memcpy(header->name, extension->name, TAR_NAME_MAX);
        if (*extension->link)
                memcpy(header->link, extension->link, TAR_NAME_MAX);
        extension->has_size = false;
        extension->name[0] = extension->link[0] = 0;
}

/* --- Writing ---------------------------------------------------------------------------------------------------------- */

/* What does not fit is cut. */
static void put_field(unsigned char *field, size_t n, struct slice text)
{
        text = slice_head(text, n);
        memcpy(field, text.p, text.n);
}

static void put_header(struct buf *b, const char *name, uint64_t size, char type)
{
        unsigned char block[TAR_BLOCK] = { 0 };
        unsigned sum = 0;

        put_field(block + NAME, NAME_BYTES, slice_from(name));
        put_field(block + MODE, OWNER - MODE, S("0000644"));
        put_field(block + OWNER, GROUP - OWNER, S("0000000"));
        put_field(block + GROUP, SIZE - GROUP, S("0000000"));
        snprintf((char *)block + SIZE, SIZE_BYTES, "%011llo", (unsigned long long)MIN(size, OCTAL_SIZE_MAX));
        put_field(block + TIME, CHECKSUM - TIME, S("00000000000"));
        memset(block + CHECKSUM, ' ', CHECKSUM_BYTES);
        block[TYPE] = (unsigned char)type;
        put_field(block + MAGIC, 8, S("ustar\0" "00"));
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += block[i];
        snprintf((char *)block + CHECKSUM, CHECKSUM_BYTES, "%06o", sum);
        buf_put(b, (struct slice){ (const char *)block, TAR_BLOCK });
}

/* Its length counts itself. */
static void put_record(struct buf *b, const char *key, const char *value)
{
        size_t fixed = strlen(key) + strlen(value) + 3, length = fixed + 1;
        char digits[24];

        while (length != fixed + (size_t)snprintf(digits, sizeof digits, "%zu", length))
                length++;
        buf_printf(b, "%zu %s=%s\n", length, key, value);
}

static void pad(struct buf *b, size_t n)
{
        for (size_t left = (size_t)tar_padding(n); left; left--)
                buf_put_char(b, 0);
}

void tar_put_file(struct buf *b, const char *name, uint64_t size)
{
        _cleanup_(buf_fini) struct buf records = BUF_INIT(2 * TAR_NAME_MAX);
        char number[24];

        snprintf(number, sizeof number, "%llu", (unsigned long long)size);
        if (strlen(name) > NAME_BYTES)
                put_record(&records, "path", name);
        if (size > OCTAL_SIZE_MAX)
                put_record(&records, "size", number);
        if (records.n) {
                put_header(b, "PaxHeader", records.n, 'x');
                buf_put(b, buf_slice(&records));
                pad(b, records.n);
        }
        b->failed = b->failed || records.failed;
        put_header(b, name, size, '0');
}
