/* The lines of an answer on their way to a client that reads as slowly as it likes: what makes the lines never waits for it. (An
 * operation may hold one of the few readers of the database; a pager at the other end must not hold it as well.) What the socket
 * does not take at once waits in a file without a name in the data folder.
 *
 *      struct answer answer = ANSWER_INIT(socket_fd, data_dir);
 *      answer_put(&answer, line, e)...                 ERR_CLOSED: the client has gone
 *      TRY(answer_end(&answer, e));                    waits, as long as the socket's time-out allows without progress
 *      answer_fini(&answer);
 *
 * One thread. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct answer {
        int fd;                         /* borrowed */
        const char *data_dir;           /* borrowed */
        int spool_fd;                   /* owned; -1: nothing ever had to wait */
        uint64_t spooled, sent;         /* bytes written to the file, and sent from it */
        uint64_t tried;                 /* how many were spooled when the socket was last tried */
};
#define ANSWER_INIT(socket_fd, dir) ((struct answer){ .fd = (socket_fd), .data_dir = (dir), .spool_fd = -1 })

/* Is the client behind? Then what may be left out should be. */
bool answer_is_behind(const struct answer *answer);
/* A line without its end. */
RESULT answer_put(struct answer *answer, struct slice line, struct err *e);
/* Sends of what waits as much as the socket takes. */
RESULT answer_catch_up(struct answer *answer, struct err *e);
RESULT answer_end(struct answer *answer, struct err *e);
void answer_fini(struct answer *answer);
