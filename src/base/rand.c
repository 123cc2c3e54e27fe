#include "base/rand.h"

#include "base/check.h"
#include "base/hex.h"

#include <errno.h>
#include <sys/random.h>

void rand_bytes(void *ret_bytes, size_t n)
{
        char *at = ret_bytes;

        while (n) {
                ssize_t got = getrandom(at, n, 0);

                if (got < 0 && errno == EINTR)
                        continue;
                CHECK(got > 0);         /* cannot fail once the kernel's pool is ready, which getrandom waits for */
                at += got;
                n -= (size_t)got;
        }
}

void rand_hex(char *ret_hex, size_t bytes)
{
        unsigned char raw[64];

        CHECK(bytes <= sizeof raw);
        rand_bytes(raw, bytes);
        hex_encode(raw, bytes, ret_hex);
        ret_hex[2 * bytes] = 0;
}
