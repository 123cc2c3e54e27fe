/* base/sha.h: a saved state from a damaged database is refused or loaded, and what is loaded is saved as it was and can go on. */
#include "base/sha.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        unsigned char saved[SHA_STATE_MAX], hash[SHA_HASH_MAX];
        struct slice input = fuzz_input(bytes, n);
        struct sha h, again;
        size_t saved_n;

        if (!sha_load(&h, input))
                return 0;
        saved_n = sha_save(&h, saved);
        CHECK(saved_n == n);
        CHECK(sha_load(&again, (struct slice){ (char *)saved, saved_n }) && sha_length(&again) == sha_length(&h));
        sha_update(&again, bytes, n);
        sha_final(&again, hash);
        return 0;
}
