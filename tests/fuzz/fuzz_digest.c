/* oci/digest.h: a digest is written as it was read, in both forms, and nothing else is one. */
#include "fuzz.h"
#include "oci/digest.h"
#include "oci/upload_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice input = fuzz_input(bytes, n);
        unsigned char code[DIGEST_CODE_MAX];
        struct err e = ERR_INIT;
        struct digest d, back;
        struct upload_id id;

        if (digest_parse(input, &d, &e).ok) {
                CHECK(slice_eq(slice_from(digest_format(&d).s), input));
                CHECK(digest_decode((struct slice){ (char *)code, digest_encode(&d, code) }, &back));
                CHECK(digest_eq(&d, &back) && digest_compare(&d, &back) == 0);
        } else {
                CHECK(e.code == ERR_DIGEST_INVALID && e.message[0]);
        }
        if (digest_decode(input, &d)) {
                CHECK(digest_encode(&d, code) == n && memcmp(code, bytes, n) == 0);
                CHECK(digest_parse(slice_from(digest_format(&d).s), &back, &e).ok && digest_eq(&d, &back));
        }
        if (upload_id_parse(input, &id))
                CHECK(slice_eq(slice_from(id.s), input) && n == UPLOAD_ID_LENGTH);
        return 0;
}
