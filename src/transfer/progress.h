/* What a long job tells while it runs, to whoever started it. Called on the job's thread, often: be quick. */
#pragma once

#include "base/err.h"

struct progress {
        /* `what` is being done, `done` of `total` bytes of it; a total of 0 is not known. NULL: nobody wants to know. */
        void (*tell)(void *arg, const char *what, uint64_t done, uint64_t total);
        /* Something is wrong that does not end the job. */
        void (*complain)(void *arg, const char *message);
        void *arg;
};

static inline void progress_tell(const struct progress *p, const char *what, uint64_t done, uint64_t total)
{
        if (p->tell)
                p->tell(p->arg, what, done, total);
}

static inline void progress_complain(const struct progress *p, const char *message)
{
        if (p->complain)
                p->complain(p->arg, message);
}
