/* orlop gc. */
#include "cli/progress.h"
#include "cli/store.h"

#include <stdio.h>

static void print_garbage(const json_t *line)
{
        const char *digest = store_text(line, "digest"), *upload = store_text(line, "upload");
        bool now = json_is_true(json_object_get(line, "now"));

        printf("%-9s %-12s %10s  %s%s%s  %s\n", store_text(line, "what"), now ? "now" : store_age(line, "due").s,
               size_text(store_number(line, "size")).s, store_text(line, "repository"), *store_text(line, "repository") ? " " : "",
               *digest ? digest : upload, store_text(line, "reason"));
}

static void print_survey(const json_t *line)
{
        printf("%llu would go now (%s), %llu later (%s)", (unsigned long long)store_number(line, "now"),
               size_text(store_number(line, "now_bytes")).s, (unsigned long long)store_number(line, "later"),
               size_text(store_number(line, "later_bytes")).s);
        if (store_number(line, "next"))
                printf(", the next %s", store_age(line, "next").s);
        putchar('\n');
}

static void print_collected(const json_t *line)
{
        printf("freed %s: %llu manifests, %llu blobs, %llu files, %llu uploads\n", size_text(store_number(line, "bytes")).s,
               (unsigned long long)store_number(line, "manifests"), (unsigned long long)store_number(line, "blobs"),
               (unsigned long long)store_number(line, "files"), (unsigned long long)store_number(line, "uploads"));
        if (store_number(line, "waiting_blobs") || store_number(line, "waiting_manifests") || store_number(line, "waiting_files"))
                printf("%llu blobs and %llu manifests wait for their review, %llu files (%s) for their removal; orlop gc --dry-run tells "
                       "which, and when\n", (unsigned long long)store_number(line, "waiting_blobs"),
                       (unsigned long long)store_number(line, "waiting_manifests"), (unsigned long long)store_number(line, "waiting_files"),
                       size_text(store_number(line, "waiting_file_bytes")).s);
}

static RESULT render(void *arg, const char *kind, const json_t *line, struct err *e)
{
        bool dry = *(bool *)arg;

        (void)e;
        if (strcmp(kind, "garbage") == 0)
                print_garbage(line);
        else if (strcmp(kind, "total") == 0 && dry)
                print_survey(line);
        else if (strcmp(kind, "total") == 0)
                print_collected(line);
        return OK;
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;
        bool dry = command_option(in, "dry-run");

        if (dry && command_option(in, "now"))
                return FAIL(e, ERR_INVALID, 0, "--now and --dry-run exclude each other");
        request.name = S("gc");
        request.dry_run = dry;
        return store_ask(in, &request, render, &dry, ret_status, e);
}

const struct command command_gc = {
        .name = "gc",
        .arguments = "",
        .sentence = "Give space back now, or tell what would go and why.",
        .text = "The registry collects by itself, every --gc-interval: this is for those who do not want to wait for it. What may go is "
                "what nobody names any more, after a grace (--gc-grace), and its file after a further delay (--gc-trash-delay): a push "
                "that is under way may be about to name it. The two may be given here for this one collection.\n\n"
                "The registry may run. Without one the store is opened for the time.",
        .options = {
                { "now", NULL, "Collect what is due (this is what happens anyway)." },
                { "dry-run", NULL, "Remove nothing; a line for each that would go now or later, with its size and the reason." },
                { "json", NULL, "A JSON object on each line, for scripts." },
        },
        .takes_settings = true,
        .run = run,
};
