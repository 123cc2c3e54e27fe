/* Errors: a must-use result and one struct err per request or job.
 *
 *      RESULT thing_open(const char *path, int *ret_fd, struct err *e)
 *      {
 *              ...
 *              return FAIL(e, ERR_IO, errno, "open %s", path);
 *      }
 *      TRY(thing_open(path, &fd, e));
 *
 * The cause writes the error once, where it is known; everybody above only hands it on (TRY) or branches on the codes that the
 * callee's header names. Whoever owns the request or the job logs it once. `e` may not be NULL. A message tells a person what
 * is wrong and, where that is known, what to do; with an errno its text is appended. */
#pragma once

#include "base/check.h"

#include "base/slice.h"

#include <stdbool.h>

enum err_code {
        ERR_NONE,
        /* the machine's side */
        ERR_IO,          /* a system call failed */
        ERR_NOMEM,       /* memory, or a bound of ours on it */
        ERR_FULL,        /* no space on the disk */
        ERR_CORRUPT,     /* stored data is not what it must be */
        ERR_INTERNAL,    /* a bug of ours that is not worth dying for */
        ERR_BUSY,        /* locked by somebody else, try later */
        ERR_CLOSED,      /* the peer or the component has gone */
        ERR_TIMEOUT,
        /* what was asked for */
        ERR_INVALID,     /* malformed input */
        ERR_LIMIT,       /* above a limit */
        ERR_RANGE,       /* an offset or a range that does not fit */
        ERR_NOT_FOUND,
        ERR_EXISTS,
        ERR_DENIED,
        ERR_UNSUPPORTED,
        ERR_READ_ONLY,
        /* distribution-spec, "Error Codes" */
        ERR_BLOB_UNKNOWN,
        ERR_BLOB_UPLOAD_INVALID,
        ERR_BLOB_UPLOAD_UNKNOWN,
        ERR_DIGEST_INVALID,
        ERR_MANIFEST_BLOB_UNKNOWN,
        ERR_MANIFEST_INVALID,
        ERR_MANIFEST_UNKNOWN,
        ERR_NAME_INVALID,
        ERR_NAME_UNKNOWN,
        ERR_SIZE_INVALID,
        ERR_TAG_INVALID,
        ERR_CODE_COUNT
};

struct err {
        enum err_code code;
        int sys_errno;          /* 0: no system call was involved */
        char message[512];
};

struct result {
        bool ok;
};
#define RESULT __attribute__((warn_unused_result)) struct result
#define RESULT_FN(name, args) struct result (*name) args       /* a parameter or member that returns one */
#define OK ((struct result){ .ok = true })
#define FAILED ((struct result){ .ok = false })

/* Writes the error and is the failed result. ENOSPC and EDQUOT turn ERR_IO into ERR_FULL, ENOMEM into ERR_NOMEM. */
#define FAIL(e, code, sys_errno, ...) (err_set((e), (code), (sys_errno), __VA_ARGS__), FAILED)
void err_set(struct err *e, enum err_code code, int sys_errno, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Puts "context: " before the message; for crossing a room's border. */
#define err_context(e, ...) (err_add_context((e), __VA_ARGS__), FAILED)
void err_add_context(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define TRY(expr) \
        do { \
                if (!(expr).ok) \
                        return FAILED; \
        } while (0)

/* Says that a failure is deliberately passed over, with the reason in a comment beside it. */
#define IGNORE(expr) ((void)(expr).ok)

#define ERR_INIT ((struct err){ .code = ERR_NONE })
