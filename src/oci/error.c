#include "oci/error.h"

struct row {
        int status;
        const char *name;               /* NULL: by the status */
};

/* A full disk is 507, not 500: clients retry 500 at once, and a person who reads 507 knows what to do.
 * Deleting what something else still names is 405, as in other registries: 403 makes clients ask for another login, and those that
 * tidy up (the conformance suite of 1.1, too) take 405 for "this registry does not delete that now" and go on. */
static const struct row table[ERR_CODE_COUNT] = {
        [ERR_NONE] = { 500, NULL },
        [ERR_IO] = { 500, NULL },
        [ERR_NOMEM] = { 503, NULL },
        [ERR_FULL] = { 507, "DENIED" },
        [ERR_CORRUPT] = { 500, NULL },
        [ERR_INTERNAL] = { 500, NULL },
        [ERR_BUSY] = { 409, "BLOB_UPLOAD_INVALID" },
        [ERR_CLOSED] = { 500, NULL },
        [ERR_TIMEOUT] = { 503, NULL },
        [ERR_INVALID] = { 400, NULL },
        [ERR_LIMIT] = { 413, "SIZE_INVALID" },
        [ERR_RANGE] = { 416, "BLOB_UPLOAD_INVALID" },
        [ERR_NOT_FOUND] = { 404, NULL },
        [ERR_EXISTS] = { 409, "DENIED" },
        [ERR_DENIED] = { 405, "DENIED" },
        [ERR_UNSUPPORTED] = { 405, "UNSUPPORTED" },
        [ERR_READ_ONLY] = { 405, "UNSUPPORTED" },
        [ERR_BLOB_UNKNOWN] = { 404, "BLOB_UNKNOWN" },
        [ERR_BLOB_UPLOAD_INVALID] = { 400, "BLOB_UPLOAD_INVALID" },
        [ERR_BLOB_UPLOAD_UNKNOWN] = { 404, "BLOB_UPLOAD_UNKNOWN" },
        [ERR_DIGEST_INVALID] = { 400, "DIGEST_INVALID" },
        [ERR_MANIFEST_BLOB_UNKNOWN] = { 404, "MANIFEST_BLOB_UNKNOWN" },
        [ERR_MANIFEST_INVALID] = { 400, "MANIFEST_INVALID" },
        [ERR_MANIFEST_UNKNOWN] = { 404, "MANIFEST_UNKNOWN" },
        [ERR_NAME_INVALID] = { 400, "NAME_INVALID" },
        [ERR_NAME_UNKNOWN] = { 404, "NAME_UNKNOWN" },
        [ERR_SIZE_INVALID] = { 400, "SIZE_INVALID" },
        [ERR_TAG_INVALID] = { 400, "TAG_INVALID" },
};

int error_status(enum err_code code)
{
        CHECK(code < ERR_CODE_COUNT && table[code].status);
        return table[code].status;
}

/* The specification has no code for a request that is no request; UNSUPPORTED is the nearest. UNKNOWN is what other registries
 * use for a failure of theirs, RANGE_INVALID for a range outside of a blob. */
struct slice error_name(enum err_code code, int status)
{
        if (status == 429 || status == 503)
                return S("TOOMANYREQUESTS");
        if (code < ERR_CODE_COUNT && table[code].name)
                return slice_from(table[code].name);
        if (status == 404)
                return S("NAME_UNKNOWN");
        if (status == 413)
                return S("SIZE_INVALID");
        if (status == 416)
                return S("RANGE_INVALID");
        if (status >= 500 && status != 501 && status != 505)
                return S("UNKNOWN");
        return S("UNSUPPORTED");
}

void error_body(struct buf *b, struct slice name, struct slice message)
{
        buf_put(b, S("{\"errors\":[{\"code\":"));
        buf_put_json_string(b, name);
        buf_put(b, S(",\"message\":"));
        buf_put_json_string(b, message);
        buf_put(b, S("}]}\n"));
}
