/* orlop rm. */
#include "cli/store.h"

#include <stdio.h>

static RESULT render(void *arg, const char *kind, const json_t *line, struct err *e)
{
        const char *tag = store_text(line, "tag"), *digest = store_text(line, "digest");
        bool dry = json_is_true(json_object_get(line, "dry_run"));

        (void)arg, (void)e;
        if (strcmp(kind, "removed") == 0)
                printf("%s %s %s%s%s%s%s\n", dry ? "would remove" : "removed", store_text(line, "what"), store_text(line, "repository"),
                       *tag ? ":" : "", tag, *digest ? "@" : "", digest);
        else if (strcmp(kind, "refused") == 0)
                fprintf(stderr, "orlop: %s: %s\n", store_text(line, "word"), store_text(line, "reason"));
        else if (strcmp(kind, "total") == 0 && !dry)
                printf("%llu repositories, %llu tags and %llu manifests are gone; their space comes back after the grace "
                       "(orlop gc --dry-run)\n",
                       (unsigned long long)store_number(line, "repositories"), (unsigned long long)store_number(line, "tags"),
                       (unsigned long long)store_number(line, "manifests"));
        return OK;
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;

        if (!in->argument_count)
                return FAIL(e, ERR_INVALID, 0, "what shall go? The usage is: orlop rm REPOSITORY[:TAG|@DIGEST]...");
        request.name = S("rm");
        request.dry_run = command_option(in, "dry-run");
        TRY(store_words(in, &request, e));
        return store_ask(in, &request, render, NULL, ret_status, e);
}

const struct command command_rm = {
        .name = "rm",
        .arguments = "REPOSITORY[:TAG|@DIGEST]...",
        .sentence = "Remove repositories, tags or manifests, by name or by pattern.",
        .text = "REPOSITORY removes all of it, REPOSITORY:TAG the tag, with its manifest where nothing else leads to that, and "
                "REPOSITORY@DIGEST a manifest with its tags. Repository and tag may be patterns with *, ? and [abc], where * stands for "
                "slashes too; quote them for the shell:\n\n"
                "    orlop rm 'ci/*:pr-*' --dry-run\n\n"
                "The registry may run: a large repository goes in small steps that make nobody wait. What is removed is gone from names at "
                "once; its space comes back as that of any deletion. Exit status 1: a word named nothing, or was refused.",
        .options = {
                { "dry-run", NULL, "Remove nothing, tell what would go." },
                { "json", NULL, "A JSON object on each line, for scripts." },
        },
        .arguments_max = OPERATION_WORDS_MAX,
        .takes_settings = true,
        .run = run,
};
