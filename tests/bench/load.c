/* bench-load: options, threads, the result. Scenarios are in scenario_*.c. */
#include "load.h"

#include "base/clock.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>

static const struct scenario *const scenarios[] = { &scenario_get, &scenario_push, &scenario_image, &scenario_seed, &scenario_idle };
static atomic_bool *stop_flag;

/* --- For scenarios ---------------------------------------------------------------------------------------------------- */

static void next_operation(struct load_client *c)
{
        struct load *l = c->worker->load;
        int64_t now = clock_mono_us();

        c->operation = atomic_fetch_add(&l->next, 1);
        bool last = (l->options.count && c->operation >= l->options.count) || (l->options.seconds > 0 && now >= l->deadline_us);
        if (last || atomic_load_explicit(&l->stop, memory_order_relaxed)) {
                c->worker->resting++;
                atomic_fetch_add(&l->resting, 1);
                return;
        }
        c->began_us = now;
        l->scenario->begin(c);
}

void load_sample(struct load_client *c)
{
        int64_t now = clock_mono_us();

        histogram_add(&c->worker->times, (uint64_t)(now - c->began_us));
        c->began_us = now;
}

void load_restart(struct load_client *c)
{
        c->began_us = clock_mono_us();
}

void load_done(struct load_client *c, uint64_t body_bytes)
{
        atomic_fetch_add_explicit(&c->worker->load->bytes, body_bytes, memory_order_relaxed);
        next_operation(c);
}

void load_failed(struct load_client *c, const char *fmt, ...)
{
        struct load *l = c->worker->load;
        va_list ap;

        if (atomic_load(&l->stop))
                return;
        pthread_mutex_lock(&l->lock);
        if (atomic_fetch_add(&l->errors, 1) == 0) {
                va_start(ap, fmt);
                vsnprintf(l->first_error, sizeof(l->first_error), fmt, ap);
                va_end(ap);
        }
        pthread_mutex_unlock(&l->lock);
        atomic_store(&l->stop, true);
}

bool load_expect(struct load_client *c, const char *what, const struct wire_response *rs, int status)
{
        if (rs->status == status)
                return true;
        load_failed(c, "%s: status %d instead of %d", what, rs->status, status);
        return false;
}

uint64_t load_random(struct load_worker *w)
{
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return w->random;
}

/* --- Threads ---------------------------------------------------------------------------------------------------------- */

static void on_ready(struct wire_conn *conn)
{
        load_client_of(conn)->worker->connected++;
}

static void on_answered(struct wire_conn *conn, const struct wire_response *rs)
{
        struct load_client *c = load_client_of(conn);
        c->worker->load->scenario->answered(c, rs);
}

static void on_failed(struct wire_conn *conn, const char *why)
{
        load_failed(load_client_of(conn), "%s", why);
}

static bool on_tick(struct wire_loop *loop)
{
        struct load_worker *w = loop->arg;

        if (atomic_load_explicit(&w->load->stop, memory_order_relaxed))
                return false;
        if (!w->running)
                return w->connected < w->client_count;
        return w->load->scenario->holds || w->resting < w->client_count;
}

static RESULT worker_connect(struct load_worker *w, struct err *e)
{
        for (unsigned i = 0; i < w->client_count; i++)
                TRY(wire_connect(&w->loop, &w->clients[i].conn, e));
        return wire_loop_run(&w->loop, e);
}

static void *worker_main(void *arg)
{
        struct load_worker *w = arg;
        struct load *l = w->load;

        if (!worker_connect(w, &w->err).ok)
                load_failed(&w->clients[0], "%s", w->err.message);
        pthread_barrier_wait(&l->connected);
        if (w == &l->workers[0]) {
                l->start_us = clock_mono_us();
                l->deadline_us = l->start_us + (int64_t)(l->options.seconds * 1e6);
        }
        pthread_barrier_wait(&l->connected);
        w->running = true;
        for (unsigned i = 0; i < w->client_count && !atomic_load(&l->stop); i++)
                next_operation(&w->clients[i]);
        if (!wire_loop_run(&w->loop, &w->err).ok)
                load_failed(&w->clients[0], "%s", w->err.message);
        return NULL;
}

static RESULT worker_init(struct load *l, unsigned number, struct err *e)
{
        struct load_worker *w = &l->workers[number];
        unsigned threads = l->options.threads;

        w->load = l;
        w->random = 0x9E3779B97F4A7C15u * (number + 1);
        w->client_count = l->options.clients / threads + (number < l->options.clients % threads);
        w->clients = calloc(w->client_count, sizeof(*w->clients));
        if (!w->clients)
                return FAIL(e, ERR_NOMEM, 0, "clients");
        for (unsigned i = 0; i < w->client_count; i++) {
                struct load_client *c = &w->clients[i];
                c->worker = w;
                c->number = i * threads + number;
                c->state = calloc(1, MAX(l->scenario->client_bytes, (size_t)1));
                if (!c->state)
                        return FAIL(e, ERR_NOMEM, 0, "client");
        }
        TRY(wire_loop_init(&w->loop, &l->target, e));
        w->loop.arg = w;
        w->loop.ready = on_ready;
        w->loop.answered = on_answered;
        w->loop.failed = on_failed;
        w->loop.tick = on_tick;
        return OK;
}

static void worker_fini(struct load_worker *w)
{
        for (unsigned i = 0; i < w->client_count; i++) {
                wire_close(&w->clients[i].conn);
                free(w->clients[i].state);
        }
        wire_loop_fini(&w->loop);
        free(w->clients);
}

static double cpu_seconds(void)
{
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_result(struct load *l, const struct histogram *h, double seconds, double cpu)
{
        _cleanup_(buf_fini) struct buf error = BUF_INIT(4096);

        buf_put_json_string(&error, slice_from(l->first_error));
        printf("{\"scenario\":\"%s\",\"count\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"rate\":%.3f,\"bytes_per_second\":%.0f,"
               "\"p50_us\":%llu,\"p99_us\":%llu,\"max_us\":%llu,\"cpu_seconds\":%.3f,\"errors\":%u,\"first_error\":%s}\n",
               l->scenario->name, (unsigned long long)h->count, (unsigned long long)l->bytes, seconds, (double)h->count / seconds,
               (double)l->bytes / seconds, (unsigned long long)histogram_quantile(h, 0.5),
               (unsigned long long)histogram_quantile(h, 0.99), (unsigned long long)h->max, cpu, l->errors, buf_cstr(&error));
}

/* Says "ready" when every client of a holding scenario is where it stays. */
static void announce_when_resting(struct load *l)
{
        while (!atomic_load(&l->stop) && atomic_load(&l->resting) < l->options.clients)
                usleep(5000);
        if (!atomic_load(&l->stop)) {
                puts("ready");
                fflush(stdout);
        }
}

static RESULT run(struct load *l, struct err *e)
{
        struct histogram *all = calloc(1, sizeof(*all));

        l->workers = calloc(l->options.threads, sizeof(*l->workers));
        if (!l->workers || !all)
                return FAIL(e, ERR_NOMEM, 0, "workers");
        TRY(wire_target_parse(l->options.url, &l->target, e));
        if (l->scenario->prepare)
                TRY(l->scenario->prepare(l, e));
        if (l->options.seconds <= 0 && l->options.count == 0)
                l->options.seconds = 5;
        for (unsigned i = 0; i < l->options.threads; i++)
                TRY(worker_init(l, i, e));
        double cpu = cpu_seconds();
        pthread_barrier_init(&l->connected, NULL, l->options.threads);
        for (unsigned i = 0; i < l->options.threads; i++)
                CHECK(pthread_create(&l->workers[i].thread, NULL, worker_main, &l->workers[i]) == 0);
        if (l->scenario->holds)
                announce_when_resting(l);
        for (unsigned i = 0; i < l->options.threads; i++)
                pthread_join(l->workers[i].thread, NULL);
        double seconds = (double)(clock_mono_us() - l->start_us) / 1e6;
        cpu = cpu_seconds() - cpu;
        for (unsigned i = 0; i < l->options.threads; i++) {
                histogram_merge(all, &l->workers[i].times);
                worker_fini(&l->workers[i]);
        }
        print_result(l, all, seconds, cpu);
        free(all);
        free(l->workers);
        wire_target_fini(&l->target);
        return l->errors ? FAIL(e, ERR_IO, 0, "%s", l->first_error) : OK;
}

/* --- Options ---------------------------------------------------------------------------------------------------------- */

static void usage(void)
{
        puts("usage: bench-load SCENARIO URL [OPTION...]\n\nScenarios:");
        for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
                printf("  %-6s %s\n", scenarios[i]->name, scenarios[i]->sentence);
        puts("  slow   uploads and downloads (--path) at --rate bytes a second, half of the clients each\n\n"
             "  --clients N  --threads N  --seconds S  --count N\n"
             "  get:   --path P... | --paths FILE  --method GET|HEAD  --header 'Name: value'...  --status N  --body-bytes N\n"
             "  push:  --bytes N  --streamed  --repository NAME\n"
             "  image: --repository NAME  --repositories N\n"
             "  seed:  --repository NAME  --repositories N  --tags N (of each)  --first N  --subject DIGEST");
}

enum option_name { O_CLIENTS = 1, O_THREADS, O_SECONDS, O_COUNT, O_PATH, O_PATHS, O_METHOD, O_HEADER, O_STATUS, O_BODY_BYTES, O_BYTES,
                   O_STREAMED, O_REPOSITORY, O_REPOSITORIES, O_TAGS, O_FIRST, O_SUBJECT, O_RATE, O_HELP };

static const struct option option_table[] = {
        { "clients", required_argument, NULL, O_CLIENTS },
        { "threads", required_argument, NULL, O_THREADS },
        { "seconds", required_argument, NULL, O_SECONDS },
        { "count", required_argument, NULL, O_COUNT },
        { "path", required_argument, NULL, O_PATH },
        { "paths", required_argument, NULL, O_PATHS },
        { "method", required_argument, NULL, O_METHOD },
        { "header", required_argument, NULL, O_HEADER },
        { "status", required_argument, NULL, O_STATUS },
        { "body-bytes", required_argument, NULL, O_BODY_BYTES },
        { "bytes", required_argument, NULL, O_BYTES },
        { "streamed", no_argument, NULL, O_STREAMED },
        { "repository", required_argument, NULL, O_REPOSITORY },
        { "repositories", required_argument, NULL, O_REPOSITORIES },
        { "tags", required_argument, NULL, O_TAGS },
        { "first", required_argument, NULL, O_FIRST },
        { "subject", required_argument, NULL, O_SUBJECT },
        { "rate", required_argument, NULL, O_RATE },
        { "help", no_argument, NULL, O_HELP },
        { 0 },
};

static RESULT number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number, struct err *e)
{
        if (!slice_to_u64(slice_from(text), ret_number) || *ret_number < min || *ret_number > max)
                return FAIL(e, ERR_INVALID, 0, "%s: not a number from %llu to %llu", text, (unsigned long long)min, (unsigned long long)max);
        return OK;
}

static RESULT seconds(const char *text, double *ret_seconds, struct err *e)
{
        char *end;

        *ret_seconds = strtod(text, &end);
        return *end || !(*ret_seconds > 0 && *ret_seconds < 1e6) ? FAIL(e, ERR_INVALID, 0, "%s: not a number of seconds", text) : OK;
}

static RESULT option_apply(struct load_options *o, enum option_name name, const char *value, struct err *e)
{
        uint64_t n = 0;

        switch (name) {
        case O_CLIENTS:
                TRY(number(value, 1, LOAD_CLIENTS_MAX, &n, e));
                o->clients = (unsigned)n;
                return OK;
        case O_THREADS:
                TRY(number(value, 1, LOAD_THREADS_MAX, &n, e));
                o->threads = (unsigned)n;
                return OK;
        case O_SECONDS:
                return seconds(value, &o->seconds, e);
        case O_COUNT:
                return number(value, 1, UINT64_MAX / 2, &o->count, e);
        case O_PATH:
                if (o->path_count == LOAD_HEADERS_MAX)
                        return FAIL(e, ERR_LIMIT, 0, "too many --path; use --paths");
                o->paths[o->path_count++] = slice_from(value);
                return OK;
        case O_PATHS:
                o->paths_file = value;
                return OK;
        case O_METHOD:
                o->method = value;
                return OK;
        case O_HEADER:
                if (o->header_count == LOAD_HEADERS_MAX)
                        return FAIL(e, ERR_LIMIT, 0, "too many --header");
                o->headers[o->header_count++] = value;
                return OK;
        case O_STATUS:
                TRY(number(value, 200, 599, &n, e));
                o->status = (int)n;
                return OK;
        case O_BODY_BYTES:
                TRY(number(value, 0, INT64_MAX, &n, e));
                o->body_bytes = (int64_t)n;
                return OK;
        case O_BYTES:
                return number(value, 1024, 1ull << 40, &o->bytes, e);
        case O_STREAMED:
                o->streamed = true;
                return OK;
        case O_REPOSITORY:
                o->repository = value;
                return OK;
        case O_REPOSITORIES:
                TRY(number(value, 1, 1000000, &n, e));
                o->repositories = (unsigned)n;
                return OK;
        case O_TAGS:
                TRY(number(value, 1, 10000000, &n, e));
                o->tags = (unsigned)n;
                return OK;
        case O_FIRST:
                return number(value, 0, UINT64_MAX / 2, &o->first, e);
        case O_SUBJECT:
                o->subject = value;
                return OK;
        case O_RATE:
                return number(value, 10, 1 << 30, &o->rate, e);
        case O_HELP:
                usage();
                exit(0);
        }
        return FAIL(e, ERR_INVALID, 0, "unknown option; see --help");
}

static RESULT options_parse(int argc, char **argv, struct load_options *ret_options, struct err *e)
{
        struct load_options o = { .clients = 16, .threads = 2, .method = "GET", .status = 200, .body_bytes = -1, .bytes = 4096,
                                  .repository = "bench/load", .repositories = 1, .tags = 100, .rate = 16384 };
        int name;

        while ((name = getopt_long(argc, argv, "", option_table, NULL)) != -1)
                TRY(option_apply(&o, (enum option_name)name, optarg, e));
        if (argc - optind != 2)
                return FAIL(e, ERR_INVALID, 0, "a scenario and an address are needed; see --help");
        o.scenario = argv[optind];
        o.url = argv[optind + 1];
        o.threads = MIN(o.threads, o.clients);
        *ret_options = o;
        return OK;
}

static void on_signal(int number)
{
        (void)number;
        atomic_store(stop_flag, true);
}

static RESULT load_main(struct load *l, int argc, char **argv, struct err *e)
{
        TRY(options_parse(argc, argv, &l->options, e));
        stop_flag = &l->stop;
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        if (strcmp(l->options.scenario, "slow") == 0)
                return slow_run(&l->options, &l->stop, e);
        for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
                if (strcmp(scenarios[i]->name, l->options.scenario) == 0)
                        l->scenario = scenarios[i];
        }
        if (!l->scenario)
                return FAIL(e, ERR_INVALID, 0, "%s: no such scenario; see --help", l->options.scenario);
        return run(l, e);
}

int main(int argc, char **argv)
{
        static struct load load = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct err e = ERR_INIT;

        if (load_main(&load, argc, argv, &e).ok)
                return 0;
        fprintf(stderr, "bench-load: %s\n", e.message);
        return 1;
}
