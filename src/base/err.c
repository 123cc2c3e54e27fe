#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static enum err_code code_of_errno(enum err_code code, int sys_errno)
{
        if (code != ERR_IO)
                return code;
        if (sys_errno == ENOSPC || sys_errno == EDQUOT)
                return ERR_FULL;
        if (sys_errno == ENOMEM)
                return ERR_NOMEM;
        return ERR_IO;
}

void err_set(struct err *e, enum err_code code, int sys_errno, const char *fmt, ...)
{
        va_list ap;

        e->code = code_of_errno(code, sys_errno);
        e->sys_errno = sys_errno;
        va_start(ap, fmt);
        vsnprintf(e->message, sizeof e->message, fmt, ap);
        va_end(ap);
        if (sys_errno) {
                char text[128];
                size_t n = strlen(e->message);

                snprintf(e->message + n, sizeof e->message - n, ": %s", strerror_r(sys_errno, text, sizeof text));
        }
}

void err_add_context(struct err *e, const char *fmt, ...)
{
        char old[sizeof e->message];
        va_list ap;
        size_t n;

        memcpy(old, e->message, sizeof old);
        va_start(ap, fmt);
        vsnprintf(e->message, sizeof e->message, fmt, ap);
        va_end(ap);
        n = strlen(e->message);
        snprintf(e->message + n, sizeof e->message - n, ": %s", old);
}
