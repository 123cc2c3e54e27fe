/* orlop health: for container health checks and scripts. */
#include "cli/command.h"
#include "cli/probe.h"
#include "cli/running.h"

#include <stdio.h>

enum { STRINGS_MAX = 64 * 1024, BODY_MAX = 1024 };
#define TIMEOUT_MS 5000ull

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(STRINGS_MAX);
        _cleanup_(buf_fini) struct buf body = BUF_INIT(BODY_MAX);
        struct running running;
        int status;

        TRY(settings_load(&in->settings, &settings, e));
        if (!running_read(settings->data, &arena, &running, e).ok || running.count == 0)
                return FAIL(e, ERR_CLOSED, 0, "no registry serves the folder %s", settings->data);
        TRY(probe_get(running.addresses[0], "/readyz", TIMEOUT_MS, &status, &body, e));
        printf("%s: %d %.*s", running.addresses[0], status, SLICE_ARG(buf_slice(&body)));
        *ret_status = status == 200 ? 0 : 1;
        return OK;
}

const struct command command_health = {
        .name = "health",
        .arguments = "",
        .sentence = "Ask the running registry whether it is ready.",
        .text = "Asks the registry that runs on this data folder, on its first address, whether it can store what is pushed "
                "(/readyz). Exit status 0: it can. 1: it cannot, or it does not run. For health checks of containers.",
        .takes_settings = true,
        .run = run,
};
