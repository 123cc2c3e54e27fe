/* orlop serve. */
#include "cli/daemon.h"

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(daemon_freep) struct daemon *daemon = NULL;

        TRY(daemon_start(in, &daemon, e));
        daemon_run(daemon);
        *ret_status = 0;
        return OK;
}

const struct command command_serve = {
        .name = "serve",
        .arguments = "",
        .sentence = "Serve the registry: this is the daemon.",
        .text = "Serves a registry over TLS on port 5000 of this machine, until SIGTERM or Ctrl-C. All that it keeps is in one "
                "folder, ./data if nothing else is said; the first start makes it, with an authority and a certificate for this "
                "machine's names and addresses.\n\n"
                "Standard output gets its address, the certificate's fingerprint and lines to copy when it is ready; standard error "
                "gets the log. To be reached from other machines it has to listen there: --listen :5000. What they have to do to "
                "trust it tells orlop trust.",
        .takes_settings = true,
        .lists_settings = true,
        .run = run,
};
