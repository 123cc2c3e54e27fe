/* orlop status. */
#include "cli/progress.h"
#include "cli/store.h"

#include <stdio.h>

static void row(const char *name, const char *text)
{
        printf("%-22s%s\n", name, text);
}

static void row_queue(const char *name, const json_t *line, const char *member, bool bytes)
{
        const json_t *queue = json_object_get(line, member);
        char text[160];

        if (!store_number(queue, "count"))
                snprintf(text, sizeof text, "none");
        else if (bytes)
                snprintf(text, sizeof text, "%llu (%s), the oldest from %s", (unsigned long long)store_number(queue, "count"),
                         size_text(store_number(queue, "bytes")).s, store_age(queue, "since").s);
        else
                snprintf(text, sizeof text, "%llu, the oldest from %s", (unsigned long long)store_number(queue, "count"),
                         store_age(queue, "since").s);
        row(name, text);
}

static void print_daemon(const json_t *line)
{
        char text[200];

        if (!json_is_true(json_object_get(line, "running"))) {
                row("registry", "does not run");
                return;
        }
        snprintf(text, sizeof text, "%s, process %llu, up for %s", store_text(line, "version"),
                 (unsigned long long)store_number(line, "pid"), store_duration(store_number(line, "uptime_s")).s);
        row("registry", text);
        snprintf(text, sizeof text, "%llu, %llu of them run", (unsigned long long)store_number(line, "requests"),
                 (unsigned long long)store_number(line, "requests_running"));
        row("requests", text);
        snprintf(text, sizeof text, "%llu open, %llu in all", (unsigned long long)store_number(line, "connections"),
                 (unsigned long long)store_number(line, "connections_total"));
        row("connections", text);
        snprintf(text, sizeof text, "%s in, %s out", size_text(store_number(line, "bytes_in")).s,
                 size_text(store_number(line, "bytes_out")).s);
        row("transferred", text);
        row("memory", size_text(store_number(line, "memory")).s);
}

static void print_freed(const char *name, const json_t *freed, const char *when)
{
        char text[240];

        snprintf(text, sizeof text, "%s: %llu manifests, %llu blobs, %llu files, %llu uploads%s%s",
                 size_text(store_number(freed, "bytes")).s,
                 (unsigned long long)store_number(freed, "manifests"), (unsigned long long)store_number(freed, "blobs"),
                 (unsigned long long)store_number(freed, "files"), (unsigned long long)store_number(freed, "uploads"),
                 *when ? ", " : "", when);
        row(name, text);
}

static void print_jobs(const json_t *line)
{
        char text[400];

        if (!json_object_get(line, "freed"))
                return;
        row("collected", store_age(line, "gc_ended").s);
        if (store_number(line, "freed_last_at"))
                print_freed("freed last", json_object_get(line, "freed_last"), store_age(line, "freed_last_at").s);
        print_freed("freed since start", json_object_get(line, "freed"), "");
        row("database copied", store_age(line, "database_copied").s);
        if (*store_text(line, "failure")) {
                snprintf(text, sizeof text, "%s (%s)", store_text(line, "failure"), store_age(line, "failure_at").s);
                row("FAILED", text);
        }
}

static void print_store(const json_t *line)
{
        char text[200];

        snprintf(text, sizeof text, "%s of %s free, %s kept in reserve%s", size_text(store_number(line, "disk_free")).s,
                 size_text(store_number(line, "disk_total")).s, size_text(store_number(line, "disk_reserve")).s,
                 json_is_true(json_object_get(line, "pushes_refused")) ? ": PUSHES ARE REFUSED" : "");
        row("disk", text);
        row_queue("blobs to review", line, "waiting_blobs", false);
        row_queue("manifests to review", line, "waiting_manifests", false);
        row_queue("untagged or unsure", line, "untagged_manifests", false);
        row_queue("files to remove", line, "waiting_files", true);
        row_queue("uploads", line, "uploads", true);
        snprintf(text, sizeof text, "%s read in this round, the one before ended %s", size_text(store_number(line, "scrub_bytes")).s,
                 store_age(line, "scrub_ended").s);
        row("scrub", text);
}

static RESULT render(void *arg, const char *kind, const json_t *line, struct err *e)
{
        (void)arg, (void)e;
        if (strcmp(kind, "daemon") == 0)
                print_daemon(line);
        else if (strcmp(kind, "jobs") == 0)
                print_jobs(line);
        else if (strcmp(kind, "store") == 0)
                print_store(line);
        else if (strcmp(kind, "damaged") == 0)
                printf("DAMAGED               %s in %s: %s (seen %s)\n", store_text(line, "digest"),
                       *store_text(line, "repository") ? store_text(line, "repository") : "no repository", store_text(line, "damage"),
                       store_age(line, "since").s);
        else if (strcmp(kind, "total") == 0 && store_number(line, "damaged"))
                printf("%llu %s damaged; push %s again to mend\n", (unsigned long long)store_number(line, "damaged"),
                       store_number(line, "damaged") == 1 ? "blob is" : "blobs are", store_number(line, "damaged") == 1 ? "it" : "them");
        return OK;
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;

        request.name = S("status");
        return store_ask(in, &request, render, NULL, ret_status, e);
}

const struct command command_status = {
        .name = "status",
        .arguments = "",
        .sentence = "Tell how the registry is: load, memory, what waits, what was freed, what is damaged.",
        .text = "Asks the running registry; of a stopped one it tells what the store says. Exit status 1: blobs are known to be "
                "damaged, or "
                "one of the registry's own jobs failed.",
        .options = { { "json", NULL, "A JSON object on each line, for scripts." } },
        .takes_settings = true,
        .run = run,
};
