#include "cli/running.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { LOCK_FILE_MAX = 64 * 1024, TRIES = 5, WAIT_MS = 20 };

static RESULT lock_path(const char *data_dir, char ret_path[static PATH_MAX], struct err *e)
{
        if ((size_t)snprintf(ret_path, PATH_MAX, "%s/lock", data_dir) >= PATH_MAX)
                return FAIL(e, ERR_INVALID, 0, "path too long: %s/lock", data_dir);
        return OK;
}

/* Some tries, because `orlop check` holds the lock for a moment. */
RESULT running_lock(const char *data_dir, int *ret_fd, struct err *e)
{
        char path[PATH_MAX];

        TRY(lock_path(data_dir, path, e));
        for (int i = 0; i < TRIES; i++) {
                if (fs_lock(path, ret_fd, e).ok)
                        return OK;
                if (e->code != ERR_BUSY)
                        return FAILED;
                poll(NULL, 0, WAIT_MS);
        }
        return err_context(e, "another orlop uses the folder %s", data_dir);
}

RESULT running_announce(int lock_fd, const char *const *addresses, size_t count, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(LOCK_FILE_MAX);

        buf_printf(&text, "%ld\n", (long)getpid());
        for (size_t i = 0; i < MIN(count, (size_t)RUNNING_ADDRESSES_MAX); i++)
                buf_printf(&text, "%s\n", addresses[i]);
        return fs_write_at(lock_fd, 0, text.p, text.n, "the lock file", e);
}

RESULT running_read(const char *data_dir, struct arena *arena, struct running *ret_running, struct err *e)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(LOCK_FILE_MAX);
        struct running running = { .pid = 0 };
        char path[PATH_MAX];
        struct slice rest, line;

        TRY(lock_path(data_dir, path, e));
        TRY(fs_read_file(path, &text, e));
        rest = buf_slice(&text);
        if (!slice_cut(&rest, '\n', &line) || !slice_to_u64(line, &running.pid))
                return FAIL(e, ERR_NOT_FOUND, 0, "%s does not tell who holds it", path);
        while (slice_cut(&rest, '\n', &line) && running.count < RUNNING_ADDRESSES_MAX) {
                struct slice copy = arena_copy(arena, line);

                if (!copy.p)
                        return FAIL(e, ERR_NOMEM, 0, "%s is too long", path);
                running.addresses[running.count++] = copy.p;
        }
        *ret_running = running;
        return OK;
}
