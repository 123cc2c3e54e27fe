/* orlop trust: what to type on another machine. */
#include "base/fs.h"
#include "cli/command.h"
#include "cli/running.h"
#include "cli/settings_check.h"
#include "net/authority.h"
#include "net/certificate.h"

#include <limits.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

enum { TEXT_MAX = 256 * 1024, STRINGS_MAX = 64 * 1024, ADDRESS_MAX = 300 };

/* --- The address that clients use ------------------------------------------------------------------------------------- */

/* "5000" of "https://127.0.0.1:5000" or "[::]:5000"; empty of a unix socket. */
static struct slice port_of(const char *address)
{
        const char *colon = strrchr(address, ':');

        if (slice_starts(slice_from(address), S("unix:")) || !colon)
                return SLICE_NONE;
        return slice_from(colon + 1);
}

/* Where the registry listens: as the running one says, else as the settings say. */
struct places {
        const char *const *items;
        size_t count;
};

static struct places places_of(const struct settings *settings, struct running *running, struct arena *arena)
{
        struct err unused;

        if (running_read(settings->data, arena, running, &unused).ok && running->count)
                return (struct places){ running->addresses, running->count };
        return (struct places){ settings->listen.items, settings->listen.count };
}

static struct slice registry_port(struct places places)
{
        struct slice port = SLICE_NONE;

        for (size_t i = 0; i < places.count && !port.p; i++)
                port = port_of(places.items[i]);
        return port.p ? port : S("5000");
}

static void default_host(const struct settings *settings, char ret_host[static ADDRESS_MAX])
{
        if (settings->name.count)
                snprintf(ret_host, ADDRESS_MAX, "%s", settings->name.items[0]);
        else if (gethostname(ret_host, HOST_NAME_MAX + 1) < 0)
                snprintf(ret_host, ADDRESS_MAX, "localhost");
}

struct target {
        char host[ADDRESS_MAX];         /* as a certificate holds it */
        char address[ADDRESS_MAX];      /* as a client writes it: host and port */
};

/* HOST, HOST:PORT, IPV6, [IPV6] or [IPV6]:PORT; `port` where the text has none. What passes is safe within a shell's quotes. */
static RESULT parse_target(struct slice text, struct slice port, struct target *ret_target, struct err *e)
{
        bool v6 = names_is_ip(AF_INET6, text), bracket = slice_starts(text, S("["));
        bool has_port = !v6 && (bracket ? !slice_ends(text, S("]")) : text.n && memchr(text.p, ':', text.n));
        struct slice rest = slice_skip(text, bracket), host = text;

        if ((size_t)snprintf(ret_target->address, ADDRESS_MAX, "%s%.*s%s%s%.*s", v6 ? "[" : "", SLICE_ARG(text), v6 ? "]" : "",
                             has_port ? "" : ":", SLICE_ARG(has_port ? SLICE_NONE : port)) >= ADDRESS_MAX)
                return FAIL(e, ERR_INVALID, 0, "the address is longer than %d bytes", ADDRESS_MAX - 1);
        if (text.n == 0 || slice_starts(text, S(":")) || slice_starts(text, S("unix:")))
                return FAIL(e, ERR_INVALID, 0, "\"%.*s\" is not an address that a client could use: write HOST or HOST:PORT",
                            SLICE_ARG(text));
        TRY(check_address(slice_from(ret_target->address), e));
        if (has_port || bracket)
                slice_cut(&rest, bracket ? ']' : ':', &host);
        snprintf(ret_target->host, ADDRESS_MAX, "%.*s", SLICE_ARG(host));
        return OK;
}

/* --- What is printed -------------------------------------------------------------------------------------------------- */

static void put_docker(struct buf *b, const char *a)
{
        buf_printf(b, "# Docker; it counts at once.\n"
                      "mkdir -p '/etc/docker/certs.d/%s'\n"
                      "printf '%%s\\n' \"$ca\" >'/etc/docker/certs.d/%s/ca.crt'\n\n", a, a);
}

static void put_podman(struct buf *b, const char *a)
{
        buf_printf(b, "# Podman, Buildah, Skopeo, and Kubernetes nodes with CRI-O; it counts at once.\n"
                      "mkdir -p '/etc/containers/certs.d/%s'\n"
                      "printf '%%s\\n' \"$ca\" >'/etc/containers/certs.d/%s/ca.crt'\n\n", a, a);
}

/* `ca` belongs to the server: containerd asks it in any case, and a [host] beside it would be asked first and then again. */
static void put_containerd(struct buf *b, const char *a)
{
        buf_printf(b, "# containerd: nerdctl, `ctr images pull --hosts-dir /etc/containerd/certs.d`, and Kubernetes nodes.\n"
                      "mkdir -p '/etc/containerd/certs.d/%s'\n"
                      "printf '%%s\\n' \"$ca\" >'/etc/containerd/certs.d/%s/ca.crt'\n"
                      "cat >'/etc/containerd/certs.d/%s/hosts.toml' <<'END'\n"
                      "server = \"https://%s\"\n"
                      "ca = \"/etc/containerd/certs.d/%s/ca.crt\"\n"
                      "END\n", a, a, a, a, a);
        buf_put(b, S("# Kubernetes nodes read it if /etc/containerd/config.toml says so; restart containerd after this change.\n"
                     "#   containerd 1.x:  [plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
                     "#   containerd 2.x:  [plugins.\"io.containerd.cri.v1.images\".registry]\n"
                     "#                      config_path = \"/etc/containerd/certs.d\"\n\n"));
}

static void put_machine(struct buf *b)
{
        buf_put(b, S("# Everything else on a Debian or Ubuntu machine: helm, oras, curl; restart daemons after it.\n"
                     "if [ -d /usr/local/share/ca-certificates ]; then\n"
                     "        printf '%s\\n' \"$ca\" >/usr/local/share/ca-certificates/orlop-registry.crt\n"
                     "        update-ca-certificates\n"
                     "fi\n"));
}

static void put_commands(struct buf *b, const struct target *target, struct slice ca_pem, const char *fingerprint)
{
        buf_printf(b, "# Commands that make a client trust the registry %s; run the ones it needs as root on its machine.\n"
                      "# The authority's SHA-256 fingerprint is\n#   %s\n\nca='%.*s'\n\n",
                   target->address, fingerprint, SLICE_ARG(slice_head(ca_pem, ca_pem.n ? ca_pem.n - 1 : 0)));
        put_docker(b, target->address);
        put_podman(b, target->address);
        put_containerd(b, target->address);
        put_machine(b);
}

/* --- Notes that keep a reader from a dead end -------------------------------------------------------------------------- */

static bool are_loopback_only(struct places places)
{
        for (size_t i = 0; i < places.count; i++) {
                const char *scheme = strstr(places.items[i], "://");
                struct slice address = slice_from(scheme ? scheme + 3 : places.items[i]);

                if (!slice_starts(address, S("127.")) && !slice_starts(address, S("[::1]:")) && !slice_starts(address, S("localhost:")))
                        return false;
        }
        return true;
}

static bool holds_name(const char *path, const char *host)
{
        _cleanup_(buf_fini) struct buf pem = BUF_INIT(AUTHORITY_PEM_MAX);
        _cleanup_(X509_freep) X509 *server = NULL;
        struct err unused;

        if (!fs_read_file(path, &pem, &unused).ok || !certificate_read(buf_slice(&pem), &server, &unused).ok)
                return true;            /* nothing to compare with yet */
        return X509_check_host(server, host, 0, 0, NULL) == 1 || X509_check_ip_asc(server, host, 0) == 1;
}

static void put_notes(struct buf *b, struct places places, const struct target *target, const char *server_path)
{
        if (!holds_name(server_path, target->host))
                buf_printf(b, "\n# Note: the certificate does not hold the name %s yet; start the registry with --name %s.\n",
                           target->host, target->host);
        if (are_loopback_only(places))
                buf_put(b, S("\n# Note: the registry listens on its own machine only; orlop serve --listen :5000 lets others in.\n"));
}

/* --- Command ---------------------------------------------------------------------------------------------------------- */

static RESULT read_authority(const struct settings *settings, struct buf *ca_pem, struct err *e)
{
        char path[PATH_MAX];

        if (settings->tls == TLS_SOURCE_OFF)
                return FAIL(e, ERR_UNSUPPORTED, 0, "the registry has no TLS (--tls off), so there is nothing to trust");
        if (settings->tls == TLS_SOURCE_FILES)
                return FAIL(e, ERR_UNSUPPORTED, 0, "the registry's certificate is %s: clients have to trust whoever signed it",
                            settings->tls_cert);
        snprintf(path, sizeof path, "%s/tls/ca.crt", settings->data);
        if (fs_read_file(path, ca_pem, e).ok)
                return OK;
        if (e->code == ERR_NOT_FOUND)
                return FAIL(e, ERR_NOT_FOUND, 0, "%s is not there: the first start of orlop serve makes it", path);
        return FAILED;
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        _cleanup_(settings_freep) struct settings *settings = NULL;
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(STRINGS_MAX);
        _cleanup_(buf_fini) struct buf ca_pem = BUF_INIT(AUTHORITY_PEM_MAX), text = BUF_INIT(TEXT_MAX);
        char host[ADDRESS_MAX], fingerprint[FINGERPRINT_TEXT_MAX], server_path[PATH_MAX];
        struct running running = { .count = 0 };
        struct places places;
        struct target target;

        TRY(settings_load(&in->settings, &settings, e));
        TRY(read_authority(settings, &ca_pem, e));
        TRY(authority_fingerprint(buf_slice(&ca_pem), fingerprint, e));
        places = places_of(settings, &running, &arena);
        default_host(settings, host);
        TRY(parse_target(slice_from(in->argument_count ? in->arguments[0] : host), registry_port(places), &target, e));
        snprintf(server_path, sizeof server_path, "%s/tls/server.crt", settings->data);
        put_commands(&text, &target, buf_slice(&ca_pem), fingerprint);
        put_notes(&text, places, &target, server_path);
        *ret_status = 0;
        return command_print(&text, e);
}

const struct command command_trust = {
        .name = "trust",
        .arguments = "[HOST[:PORT]]",
        .sentence = "Print what makes a client trust this registry's certificate.",
        .text = "Prints, for docker, podman, containerd and Kubernetes nodes, the commands that make them trust the authority that this "
                "registry has made for itself. HOST[:PORT] is the registry's address as the clients write it; if it is not given, "
                "the first --name or the machine's name.\n\n"
                "The output is a shell script with the authority's certificate in it, so that nothing has to be fetched unseen:\n\n"
                "  orlop trust registry.example.org:5000 | ssh root@client sh",
        .arguments_max = 1,
        .takes_settings = true,
        .run = run,
};
