#include "base/hex.h"

void hex_encode(const void *bytes, size_t n, char *ret_hex)
{
        const unsigned char *p = bytes;

        for (size_t i = 0; i < n; i++) {
                ret_hex[2 * i] = "0123456789abcdef"[p[i] >> 4];
                ret_hex[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
        }
}

static int nibble(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

bool hex_decode(struct slice hex, void *ret_bytes, size_t n)
{
        unsigned char *out = ret_bytes;

        if (hex.n != 2 * n)
                return false;
        for (size_t i = 0; i < n; i++) {
                int high = nibble(hex.p[2 * i]), low = nibble(hex.p[2 * i + 1]);

                if (high < 0 || low < 0)
                        return false;
                out[i] = (unsigned char)(high << 4 | low);
        }
        return true;
}
