/* orlop du and orlop ls. */
#include "cli/progress.h"
#include "cli/store.h"

#include <stdio.h>

/* --- du --------------------------------------------------------------------------------------------------------------- */

static void print_row(uint64_t tags, uint64_t manifests, uint64_t bytes, const char *own, const char *name)
{
        printf("%8llu %10llu %12s %12s  %s\n", (unsigned long long)tags, (unsigned long long)manifests, size_text(bytes).s, own, name);
}

static RESULT render_du(void *arg, const char *kind, const json_t *line, struct err *e)
{
        (void)arg, (void)e;
        if (strcmp(kind, "repository") == 0)
                print_row(store_number(line, "tags"), store_number(line, "manifests"), store_number(line, "bytes"),
                          size_text(store_number(line, "own_bytes")).s, store_text(line, "repository"));
        if (strcmp(kind, "total") != 0)
                return OK;
        print_row(store_number(line, "tags"), store_number(line, "manifests"), store_number(line, "bytes"), "", "total, each content once");
        if (store_number(line, "waiting_files") || store_number(line, "waiting_blobs") || store_number(line, "uploads"))
                printf("waiting: %llu blobs for their review, %llu files (%s) for their removal, %llu uploads (%s)\n",
                       (unsigned long long)store_number(line, "waiting_blobs"), (unsigned long long)store_number(line, "waiting_files"),
                       size_text(store_number(line, "waiting_file_bytes")).s, (unsigned long long)store_number(line, "uploads"),
                       size_text(store_number(line, "upload_bytes")).s);
        return OK;
}

static RESULT run_du(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;

        request.name = S("du");
        if (!command_option(in, "json"))
                printf("%8s %10s %12s %12s  %s\n", "TAGS", "MANIFESTS", "SIZE", "ONLY HERE", "REPOSITORY");
        return store_ask(in, &request, render_du, NULL, ret_status, e);
}

const struct command command_du = {
        .name = "du",
        .arguments = "",
        .sentence = "Tell what takes the space: a line for each repository.",
        .text = "For each repository its tags, its manifests, the bytes of all that it holds, and how many of these bytes no other "
                "repository holds: about so much comes back when it is removed.",
        .options = { { "json", NULL, "A JSON object on each line, for scripts." } },
        .takes_settings = true,
        .run = run_du,
};

/* --- ls --------------------------------------------------------------------------------------------------------------- */

static RESULT render_ls(void *arg, const char *kind, const json_t *line, struct err *e)
{
        const char *platforms = store_text(line, "platforms");

        (void)arg, (void)e;
        if (strcmp(kind, "repository") == 0)
                printf("%s\n", store_text(line, "repository"));
        else
                printf("%-24s %s %10s %12s  %s\n", strcmp(kind, "child") == 0 ? "  in the index" : store_text(line, "tag"),
                       store_text(line, "digest"), size_text(store_number(line, "size")).s, store_age(line, "pushed").s,
                       *platforms ? platforms : "-");
        return OK;
}

static RESULT run_ls(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;

        request.name = S("ls");
        TRY(store_words(in, &request, e));
        return store_ask(in, &request, render_ls, NULL, ret_status, e);
}

const struct command command_ls = {
        .name = "ls",
        .arguments = "[REPOSITORY[:TAG]]",
        .sentence = "List repositories, the tags of one, or what stands behind a tag.",
        .text = "Without a word: the repositories. Of a repository: its tags with digest, size, age and platforms. Of a tag: the images "
                "of its index as well.",
        .options = { { "json", NULL, "A JSON object on each line, for scripts." } },
        .arguments_max = 1,
        .takes_settings = true,
        .run = run_ls,
};
