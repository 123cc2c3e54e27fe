/* oci/reference.h against the specification's own regular expressions (distribution-spec, "Pulling manifests"). */
#include "fuzz.h"
#include "oci/reference.h"

#include <regex.h>

#define COMPONENT "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*"
#define REPOSITORY "^" COMPONENT "(/" COMPONENT ")*$"
#define TAG "^([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})$"

static bool fits(regex_t *compiled, const char *expression, size_t max, struct slice text)
{
        char copy[512];

        if (text.n > max || !slice_to_cstr(text, copy, sizeof copy))
                return false;
        if (!compiled->re_nsub)
                CHECK(regcomp(compiled, expression, REG_EXTENDED) == 0);
        return regexec(compiled, copy, 0, NULL, 0) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice input = fuzz_input(bytes, n);
        struct err e = ERR_INIT;
        struct reference r;
        struct digest d;
        static regex_t repository, tag;

        CHECK(reference_check_repository(input, &e).ok == fits(&repository, REPOSITORY, REPOSITORY_NAME_MAX, input));
        CHECK(reference_check_tag(input, &e).ok == fits(&tag, TAG, TAG_MAX, input));
        if (!reference_parse(input, &r, &e).ok)
                CHECK((e.code == ERR_TAG_INVALID || e.code == ERR_DIGEST_INVALID) && e.message[0]);
        else if (r.is_digest)
                CHECK(digest_parse(input, &d, &e).ok && digest_eq(&d, &r.digest));
        else
                CHECK(slice_eq(r.tag, input) && reference_check_tag(input, &e).ok);
        return 0;
}
