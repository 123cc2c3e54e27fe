#include "cli/announce.h"

#include "base/log.h"
#include "cli/running.h"
#include "cli/service.h"
#include "net/names.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

enum { TEXT_MAX = 16 * 1024, LINE_MAX_BYTES = 400 };

/* --- Addresses -------------------------------------------------------------------------------------------------------- */

struct addresses {
        const char *items[RUNNING_ADDRESSES_MAX];
        size_t count;
        struct arena arena;
};

static void addresses_fini(struct addresses *addresses)
{
        arena_fini(&addresses->arena);
}

/* "https://127.0.0.1:5000", "unix:/path" (which speaks plain HTTP in any case). */
static void collect_addresses(const struct announcement *a, struct addresses *ret_addresses)
{
        const char *scheme = a->settings->tls == TLS_SOURCE_OFF ? "http" : "https", *address;

        for (size_t i = 0; ret_addresses->count < RUNNING_ADDRESSES_MAX && (address = http_server_address(a->server, i)); i++) {
                bool local = slice_starts(slice_from(address), S("unix:"));
                struct slice text = arena_printf(&ret_addresses->arena, "%s%s%s", local ? "" : scheme, local ? "" : "://", address);

                CHECK(text.p);
                ret_addresses->items[ret_addresses->count++] = text.p;
        }
}

static bool is_reached_as_localhost(struct slice host)
{
        return slice_starts(host, S("127.")) || slice_eq(host, S("0.0.0.0")) || slice_eq(host, S("[::]")) || slice_eq(host, S("[::1]"));
}

/* How a client on this machine writes the registry's address; false where there is only a unix socket. */
static bool client_address(struct http_server *server, char ret_text[static LINE_MAX_BYTES])
{
        const char *address;

        for (size_t i = 0; (address = http_server_address(server, i)); i++) {
                struct slice host = slice_from(address);
                const char *colon = strrchr(address, ':');

                if (slice_starts(host, S("unix")) || !colon)
                        continue;
                host.n = (size_t)(colon - address);
                if (is_reached_as_localhost(host))
                        snprintf(ret_text, LINE_MAX_BYTES, "localhost%s", colon);
                else
                        snprintf(ret_text, LINE_MAX_BYTES, "%s", address);
                return true;
        }
        return false;
}

/* --- For a person ----------------------------------------------------------------------------------------------------- */

static void put_lines_to_copy(struct buf *b, const char *address)
{
        buf_printf(b, "\nTo push an image and pull it again, on this machine:\n\n"
                      "  docker tag IMAGE %s/IMAGE\n  docker push %s/IMAGE\n  docker pull %s/IMAGE\n\n"
                      "  podman push --tls-verify=false IMAGE %s/IMAGE\n  podman pull --tls-verify=false %s/IMAGE\n",
                   address, address, address, address, address);
}

static void put_trust(struct buf *b, const struct settings *settings)
{
        bool elsewhere = settings->sources[SETTING_ID_data] != SOURCE_DEFAULT;

        buf_printf(b, "\nOther machines have to trust the authority. For the commands that they need:\n\n  %s trust%s%s\n",
                   program_invocation_name, elsewhere ? " --data " : "", elsewhere ? settings->data : "");
}

static void put_greeting(const struct announcement *a, const struct addresses *addresses, struct buf *b)
{
        char address[LINE_MAX_BYTES];

        buf_printf(b, "Orlop %s serves the registry in %s\n\n", ORLOP_VERSION, a->settings->data);
        for (size_t i = 0; i < addresses->count; i++)
                buf_printf(b, "  address      %s\n", addresses->items[i]);
        if (*a->identity->fingerprint)
                buf_printf(b, "  certificate  SHA-256 %s\n", a->identity->fingerprint);
        if (*a->identity->ca_fingerprint)
                buf_printf(b, "  authority    SHA-256 %s\n", a->identity->ca_fingerprint);
        if (client_address(a->server, address))
                put_lines_to_copy(b, address);
        if (*a->identity->ca_fingerprint)
                put_trust(b, a->settings);
        if (isatty(STDIN_FILENO))
                buf_put(b, S("\nCtrl-C stops it.\n"));
}

/* Nobody who reads it is a reason to stop serving. */
static void greet(const struct announcement *a, const struct addresses *addresses)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(TEXT_MAX);

        if (a->settings->log_format == LOG_JSON || service_is_journal(STDOUT_FILENO))
                return;
        put_greeting(a, addresses, &b);
        if (buf_ok(&b)) {
                fwrite(b.p, 1, b.n, stdout);
                fflush(stdout);
        }
}

RESULT announce_ready(const struct announcement *a, struct err *e)
{
        _cleanup_(addresses_fini) struct addresses addresses = { .arena = ARENA_INIT(TEXT_MAX) };
        _cleanup_(buf_fini) struct buf list = BUF_INIT(TEXT_MAX);

        collect_addresses(a, &addresses);
        TRY(running_announce(a->lock_fd, addresses.items, addresses.count, e));
        for (size_t i = 0; i < addresses.count; i++)
                buf_printf(&list, "%s%s", i ? " " : "", addresses.items[i]);
        log_event(LOG_INFO, "ready", LOG_C("version", ORLOP_VERSION), LOG_C("data", a->settings->data),
                  LOG_C("addresses", buf_cstr(&list)), LOG_C("fingerprint", a->identity->fingerprint));
        greet(a, &addresses);
        service_notify("READY=1");
        return OK;
}
