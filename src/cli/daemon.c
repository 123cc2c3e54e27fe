/* Start, run, reload, stop.
 *
 * The main thread waits for a signal, for the time to look at the certificate, for the clock being set (a certificate that was
 * good may have ended then), and for somebody at the control socket. Now and then it sees whether nobody asks for anything, and
 * gives memory back. Everything else happens on the server's threads and that of the jobs. */
#include "cli/daemon.h"

#include "api/api.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/announce.h"
#include "cli/control.h"
#include "cli/job_settings.h"
#include "cli/process.h"
#include "cli/running.h"
#include "cli/service.h"
#include "cli/setting_value.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* Descriptors that are no connections': the database, locks, loops, a listener or two. */
enum { DESCRIPTORS_RESERVED = 256, DESCRIPTORS_PER_CONNECTION = 2 };
enum { QUIET_MS = 5000 };

struct daemon {
        const struct settings_input *input;     /* borrowed */
        struct settings *first;                 /* of the start: what only a restart changes counts from here */
        struct settings *settings;              /* the current ones */
        uint64_t descriptors_max;
        int lock_fd, signal_fd, timer_fd;
        uint64_t requests_seen, requests_given_back;    /* the server's count when we last looked, and when memory was given back */
        struct certificates *certificates;      /* owned, like all below; made in this order, freed in the other */
        struct registry *registry;
        struct pool *pool;
        struct api *api;
        struct jobs *jobs;
        struct http_server *server;
        struct control *control;
        int64_t started_ms;
};

/* --- What of the settings goes where ---------------------------------------------------------------------------------- */

/* A connection may need a file beside its socket. What the system does not allow cannot be promised. */
static uint64_t connections_max(const struct daemon *d)
{
        uint64_t possible = d->descriptors_max > 2 * DESCRIPTORS_RESERVED
                                    ? (d->descriptors_max - DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION
                                    : d->descriptors_max / (2 * DESCRIPTORS_PER_CONNECTION);

        if (d->settings->max_connections <= possible)
                return d->settings->max_connections;
        log_event(LOG_WARN, "fewer connections than --max-connections: the system's limit on open files (ulimit -n, LimitNOFILE=) "
                            "is too low", LOG_U("connections", possible), LOG_U("files", d->descriptors_max));
        return MAX(possible, (uint64_t)1);
}

static struct http_limits limits_of(const struct daemon *d)
{
        const struct settings *s = d->settings;

        return (struct http_limits){
                .request_line_bytes_max = s->max_request_line_bytes,
                .head_bytes_max = s->max_head_bytes,
                .head_fields_max = s->max_head_fields,
                .connections_max = connections_max(d),
                .head_timeout_ms = s->head_timeout_ms,
                .idle_timeout_ms = s->idle_timeout_ms,
                .body_rate_bytes = s->body_rate_bytes,
                .body_rate_window_ms = s->body_rate_window_ms,
                .ranges_max = s->max_ranges,
        };
}

static struct api_policy policy_of(const struct settings *s)
{
        return (struct api_policy){ s->read_only, s->no_delete, s->max_manifest_bytes, s->max_page };
}

static bool requests_wait(void *arg)
{
        struct daemon *d = arg;

        return pool_queued(d->pool) > 0;
}

static RESULT publish_identity(struct daemon *d, struct err *e)
{
        const struct authority_identity *identity = certificates_identity(d->certificates);

        return api_set_identity(d->api, &(struct api_identity){ buf_slice(&identity->ca_pem), slice_from(identity->fingerprint) }, e);
}

/* --- Start ------------------------------------------------------------------------------------------------------------ */

static RESULT take_folder(struct daemon *d, struct err *e)
{
        bool changed;

        TRY(fs_mkdir(d->settings->data, 0700, e));
        if (!process_become_owner_of(d->settings->data, &changed, e).ok)
                log_event(LOG_WARN, "running as root on another user's folder: that user may be unable to use it later",
                          LOG_C("error", e->message));
        else if (changed)
                log_event(LOG_INFO, "running as the owner of the data folder", LOG_U("uid", geteuid()));
        return running_lock(d->settings->data, &d->lock_fd, e);
}

static RESULT open_rooms(struct daemon *d, struct err *e)
{
        const struct settings *s = d->first;            /* outlives the rooms, which borrow its paths; d->settings does not */
        struct registry_config registry = { .data_dir = s->data, .upload_bytes_max = s->max_upload_bytes,
                                            .cache_bytes = (size_t)s->cache_bytes };
        struct api_config api = { .version = ORLOP_VERSION, .cors_origin = *s->cors_origin ? s->cors_origin : NULL,
                                  .policy = policy_of(s) };

        TRY(certificates_new(d->first, &d->certificates, e));
        TRY(registry_open(&registry, &d->registry, e));
        registry_set_disk_reserve(d->registry, s->disk_reserve_bytes);
        TRY(pool_new((unsigned)s->workers, &d->pool, e));
        api.registry = d->registry;
        TRY(api_new(&api, &d->api, e));
        return publish_identity(d, e);
}

/* Of the addresses that nobody chose, those count that the machine has: many have no IPv6. */
static bool is_absent_here(const struct daemon *d, const struct err *e)
{
        return d->settings->sources[SETTING_ID_listen] == SOURCE_DEFAULT &&
               (e->sys_errno == EADDRNOTAVAIL || e->sys_errno == EAFNOSUPPORT);
}

static RESULT listen_on_addresses(struct daemon *d, struct err *e)
{
        const struct settings_list *list = &d->settings->listen;

        for (size_t i = 0; i < list->count; i++)
                if (!http_server_listen(d->server, slice_from(list->items[i]), e).ok && !is_absent_here(d, e))
                        return FAILED;
        return http_server_address(d->server, 0) ? OK : FAILED;        /* all were absent: e tells of the last */
}

static RESULT listen_everywhere(struct daemon *d, struct err *e)
{
        int fds[SERVICE_SOCKETS_MAX];
        size_t count;

        TRY(service_take_sockets(fds, &count, e));
        for (size_t i = 0; i < count; i++)
                TRY(http_server_adopt(d->server, fds[i], e));
        return count ? OK : listen_on_addresses(d, e);
}

/* Pages of memory that are in use; 0 where the system does not tell. */
static uint64_t resident_bytes(void)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(256);
        struct slice rest, all, resident;
        uint64_t pages = 0;
        struct err ignored;

        if (!fs_read_file("/proc/self/statm", &text, &ignored).ok)
                return 0;
        rest = buf_slice(&text);
        if (slice_next(&rest, ' ', &all) && slice_next(&rest, ' ', &resident))
                slice_to_u64(resident, &pages);
        return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The daemon's part of orlop status. */
static void describe(void *arg, struct buf *members)
{
        struct daemon *d = arg;
        struct http_server_stats stats;

        http_server_stats(d->server, &stats);
        buf_printf(members, ",\"version\":\"%s\",\"pid\":%ld,\"uptime_s\":%lld,\"memory\":%llu", ORLOP_VERSION, (long)getpid(),
                   (long long)(clock_mono_ms() - d->started_ms) / 1000, (unsigned long long)resident_bytes());
        buf_printf(members, ",\"connections\":%llu,\"connections_total\":%llu,\"requests\":%llu,\"requests_running\":%llu",
                   (unsigned long long)stats.connections, (unsigned long long)stats.connections_total,
                   (unsigned long long)stats.requests_total, (unsigned long long)stats.requests_running);
        buf_printf(members, ",\"bytes_in\":%llu,\"bytes_out\":%llu,\"tasks_waiting\":%u", (unsigned long long)stats.bytes_in_total,
                   (unsigned long long)stats.bytes_out_total, pool_queued(d->pool));
}

static RESULT open_control(struct daemon *d, struct err *e)
{
        struct control_config config = { .data_dir = d->first->data, .registry = d->registry, .jobs = d->jobs, .describe = describe,
                                         .describe_arg = d };

        TRY(control_open(&config, &d->control, e));
        control_set_reserve(d->control, d->settings->disk_reserve_bytes);
        return OK;
}

static RESULT serve(struct daemon *d, struct err *e)
{
        struct http_server_config config = { .loops = (unsigned)d->settings->loops, .pool = d->pool, .app = api_http_app(d->api),
                                             .limits = limits_of(d), .tls = certificates_tls(d->certificates) };
        struct announcement announcement = { .settings = d->settings, .identity = certificates_identity(d->certificates),
                                             .lock_fd = d->lock_fd };
        struct jobs_config jobs = { .registry = d->registry, .is_busy = requests_wait, .busy_arg = d };
        struct jobs_settings settings = job_settings(d->settings);

        TRY(http_server_new(&config, &d->server, e));
        TRY(listen_everywhere(d, e));
        TRY(http_server_start(d->server, e));
        TRY(jobs_new(&jobs, &settings, &d->jobs, e));
        TRY(open_control(d, e));
        announcement.server = d->server;
        TRY(announce_ready(&announcement, e));
        process_give_back();
        return OK;
}

/* The clock being set ends the waiting too. */
static void wind_timer(struct daemon *d)
{
        struct itimerspec at = { 0 };
        uint64_t ms = certificates_interval_ms(d->certificates);

        clock_gettime(CLOCK_REALTIME, &at.it_value);
        at.it_value.tv_sec += (time_t)(ms / 1000);
        timerfd_settime(d->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

static RESULT start(struct daemon *d, struct err *e)
{
        TRY(settings_load(d->input, &d->settings, e));
        TRY(settings_load(d->input, &d->first, e));
        log_configure((enum log_level)d->settings->log_level, (enum log_format)d->settings->log_format);
        process_prepare();
        d->descriptors_max = process_raise_descriptors();
        TRY(process_take_signals(&d->signal_fd, e));
        d->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (d->timer_fd < 0)
                return FAIL(e, ERR_IO, errno, "make a timer");
        TRY(take_folder(d, e));
        TRY(open_rooms(d, e));
        wind_timer(d);
        return serve(d, e);
}

RESULT daemon_start(const struct invocation *in, struct daemon **ret_daemon, struct err *e)
{
        _cleanup_(daemon_freep) struct daemon *d = calloc(1, sizeof *d);

        if (!d)
                return FAIL(e, ERR_NOMEM, 0, "too little memory to start");
        d->input = &in->settings;
        d->started_ms = clock_mono_ms();
        d->lock_fd = d->signal_fd = d->timer_fd = -1;
        TRY(start(d, e));
        *ret_daemon = TAKE_PTR(d);
        return OK;
}

void daemon_free(struct daemon *d)
{
        if (!d)
                return;
        control_free(d->control);
        jobs_free(d->jobs);
        /* Whoever answered the last request, a worker or a thread of the registry's, may still be at the loop's door. */
        pool_free(d->pool);
        registry_free(d->registry);
        http_server_free(d->server);
        api_free(d->api);
        certificates_free(d->certificates);
        cleanup_fd(&d->timer_fd);
        cleanup_fd(&d->signal_fd);
        cleanup_fd(&d->lock_fd);
        settings_free(d->first);
        settings_free(d->settings);
        free(d);
}

/* --- Reload ----------------------------------------------------------------------------------------------------------- */

static void look_at_certificate(struct daemon *d)
{
        struct err e = ERR_INIT;
        bool changed;

        if (!certificates_refresh(d->certificates, &d->settings->name, &changed, &e).ok || (changed && !publish_identity(d, &e).ok))
                log_event(LOG_ERROR, "the certificate cannot be renewed; the one before stays in use", LOG_C("error", e.message));
        else if (changed)
                log_event(LOG_INFO, "another certificate is in use",
                          LOG_C("fingerprint", certificates_identity(d->certificates)->fingerprint));
}

/* The names of the rows that differ, with commas. */
static void list_changes(const struct settings *a, const struct settings *b, bool live, struct buf *names)
{
        for (size_t i = 0; i < SETTING_COUNT; i++)
                if (settings_table[i].live == live && !setting_value_equal(a, b, &settings_table[i]))
                        buf_printf(names, "%s%s", names->n ? "," : "", settings_table[i].name);
}

static void log_reload(const struct daemon *d, const struct settings *now)
{
        _cleanup_(buf_fini) struct buf changed = BUF_INIT(4096);
        _cleanup_(buf_fini) struct buf later = BUF_INIT(4096);

        list_changes(d->settings, now, true, &changed);
        list_changes(d->first, now, false, &later);
        log_event(LOG_INFO, "settings read again", LOG_C("changed", buf_cstr(&changed)));
        if (later.n)
                log_event(LOG_WARN, "these settings have changed and need a restart", LOG_C("settings", buf_cstr(&later)));
}

static void apply_settings(struct daemon *d)
{
        struct api_policy policy = policy_of(d->settings);
        struct http_limits limits = limits_of(d);
        struct jobs_settings jobs = job_settings(d->settings);

        log_configure((enum log_level)d->settings->log_level, (enum log_format)d->settings->log_format);
        api_set_policy(d->api, &policy);
        registry_set_upload_bytes_max(d->registry, d->settings->max_upload_bytes);
        http_server_set_limits(d->server, &limits);
        jobs_set(d->jobs, &jobs);
        control_set_reserve(d->control, d->settings->disk_reserve_bytes);
        registry_set_disk_reserve(d->registry, d->settings->disk_reserve_bytes);
}

static void reload(struct daemon *d)
{
        struct settings *now = NULL;
        struct err e = ERR_INIT;

        service_notify_reloading();
        if (settings_load(d->input, &now, &e).ok) {
                log_reload(d, now);
                settings_free(d->settings);
                d->settings = now;
                apply_settings(d);
        } else {
                log_event(LOG_ERROR, "the settings cannot be read again; those before stay in use", LOG_C("error", e.message));
        }
        look_at_certificate(d);
        service_notify("READY=1");
}

/* --- Run and stop ----------------------------------------------------------------------------------------------------- */

static void stop(struct daemon *d)
{
        struct http_server_stats stats;

        service_notify("STOPPING=1");
        http_server_stats(d->server, &stats);
        log_event(LOG_INFO, "stopping", LOG_U("running", stats.requests_running), LOG_U("wait_ms", d->settings->stop_timeout_ms));
        process_release_signals();
        http_server_stop(d->server, d->settings->stop_timeout_ms);
        log_event(LOG_INFO, "stopped");
}

/* False: told to stop. */
static bool take_signal(struct daemon *d)
{
        struct signalfd_siginfo info;

        while (read(d->signal_fd, &info, sizeof info) == sizeof info) {
                if (info.ssi_signo != SIGHUP)
                        return false;
                reload(d);
        }
        return true;
}

static void take_time(struct daemon *d)
{
        uint64_t ticks;

        if (read(d->timer_fd, &ticks, sizeof ticks) < 0 && errno == EAGAIN)
                return;
        look_at_certificate(d);
        wind_timer(d);
}

/* Once after each time of work: no request came since the last look, and none runs. */
static void take_quiet(struct daemon *d)
{
        struct http_server_stats stats;

        http_server_stats(d->server, &stats);
        if (stats.requests_total == d->requests_seen && stats.requests_running == 0 &&
            stats.requests_total != d->requests_given_back) {
                process_give_back();
                d->requests_given_back = stats.requests_total;
        }
        d->requests_seen = stats.requests_total;
}

void daemon_run(struct daemon *d)
{
        for (;;) {
                struct pollfd fds[] = { { d->signal_fd, POLLIN, 0 }, { d->timer_fd, POLLIN, 0 },
                                        { control_fd(d->control), POLLIN, 0 } };
                int ready = poll(fds, ARRAY_LEN(fds), QUIET_MS);

                if (ready == 0)
                        take_quiet(d);
                if (ready <= 0)
                        continue;       /* or EINTR: a debugger, a stop and continue */
                if (fds[0].revents && !take_signal(d))
                        break;
                if (fds[1].revents)
                        take_time(d);
                if (fds[2].revents)
                        control_accept(d->control);
        }
        stop(d);
}
