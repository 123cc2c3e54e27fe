/* orlop rebuild. */
#include "cli/progress.h"
#include "cli/store.h"

#include <stdio.h>

static void print_lost(const json_t *line)
{
        const char *tag = store_text(line, "tag"), *digest = store_text(line, "digest");
        bool served = json_is_true(json_object_get(line, "served"));

        if (*tag)
                printf("lost     %s:%s%s%s%s\n", store_text(line, "repository"), tag, *digest ? " was " : "", digest,
                       served ? "; the image that is served may be older" : "");
        else
                printf("lost     %s manifest %s\n", store_text(line, "repository"), digest);
}

static void print_finding(const json_t *line)
{
        const char *repository = store_text(line, "repository");
        bool mended = json_is_true(json_object_get(line, "mended")), file = strcmp(store_text(line, "what"), "file") == 0;

        printf("%s %s %s%s%s: %s: %s\n", mended || file ? "note    " : "missing ", store_text(line, "what"), repository,
               *repository ? " " : "", store_text(line, "name"), store_text(line, "wrong"),
               file && !mended ? "it would move to lost+found/" : store_text(line, "mend"));
}

static void print_database(const json_t *line)
{
        const char *aside = store_text(line, "set_aside");

        if (json_is_true(json_object_get(line, "whole")))
                puts("the database is whole and stays as it is");
        else if (*store_text(line, "damage"))
                printf("the database as it was found: %s\n", store_text(line, "damage"));
        if (json_integer_value(json_object_get(line, "copied")))
                printf("its automatic copy was made %s\n", store_age(line, "copied").s);
        if (*aside)
                printf("the old database is kept as %s\n", aside);
}

static void print_source(const json_t *line)
{
        bool copy = strcmp(store_text(line, "what"), "copy") == 0;
        const char *from = copy ? "from the automatic copy" : "from the original database";

        if (!json_is_true(json_object_get(line, "found")))
                printf("%s: there is none\n", from);
        else if (!json_is_true(json_object_get(line, "readable")))
                printf("%s: nothing can be read (%s)\n", from, store_text(line, "why"));
        else
                printf("%s%s: %llu repositories, %llu tags, %llu manifests, %llu blobs\n", from,
                       json_is_true(json_object_get(line, "whole")) ? "" : ", which can be read in part",
                       (unsigned long long)store_number(line, "repositories"), (unsigned long long)store_number(line, "tags"),
                       (unsigned long long)store_number(line, "manifests"), (unsigned long long)store_number(line, "blobs"));
}

static void print_total(const json_t *line)
{
        unsigned long long missing = store_number(line, "missing"), unnamed = store_number(line, "blobs_unnamed");
        bool dry = json_is_true(json_object_get(line, "dry_run"));

        if (store_number(line, "blobs_mended"))
                printf("from files that the database did not know: the bytes of %llu blobs that images need\n",
                       (unsigned long long)store_number(line, "blobs_mended"));
        if (unnamed)
                printf("from files that the database did not know: %llu blobs (%s) that no manifest names; they go with the next "
                       "collections, as other garbage does\n", unnamed, size_text(store_number(line, "blobs_unnamed_bytes")).s);
        printf("%s: %llu repositories, %llu tags, %llu manifests, %llu blobs (%s)\n", dry ? "there would be" : "there are",
               (unsigned long long)store_number(line, "repositories"), (unsigned long long)store_number(line, "tags"),
               (unsigned long long)store_number(line, "manifests"), (unsigned long long)store_number(line, "blobs"),
               size_text(store_number(line, "blob_bytes")).s);
        if (missing)
                printf("%llu %s missing; a push of the same image mends it\n", missing, missing == 1 ? "thing is" : "things are");
        if (json_is_true(json_object_get(line, "names_lost")))
                puts("what was pushed last may have lost its names; push it again");
        else if (!missing)
                puts("nothing is known to be missing");
}

static RESULT render(void *arg, const char *kind, const json_t *line, struct err *e)
{
        (void)arg, (void)e;
        if (strcmp(kind, "lost") == 0)
                print_lost(line);
        else if (strcmp(kind, "finding") == 0)
                print_finding(line);
        else if (strcmp(kind, "database") == 0)
                print_database(line);
        else if (strcmp(kind, "source") == 0)
                print_source(line);
        else if (strcmp(kind, "total") == 0)
                print_total(line);
        return OK;
}

static RESULT run(const struct invocation *in, int *ret_status, struct err *e)
{
        struct operation_request request = OPERATION_REQUEST_INIT;

        request.name = S("rebuild");
        request.dry_run = command_option(in, "dry-run");
        request.bytes = command_option(in, "bytes");
        return store_rebuild(in, &request, render, NULL, ret_status, e);
}

const struct command command_rebuild = {
        .name = "rebuild",
        .arguments = "",
        .sentence = "Bring back what can be of a store whose database is damaged or lost.",
        .text = "For a registry that is stopped. A new database is made of what can still be read of the damaged one, of its automatic "
                "copy (orlop.db.copy, see --copy-interval), and of the files that are stored: each file that the database does not know "
                "is read and held against the digest in its name. The new one takes its place when it is complete. What is missing is "
                "told; it is not served, and the next push of the same image mends it.\n\n"
                "Nothing is deleted: the old database and files of no use move to lost+found/ in the data folder. It may be interrupted "
                "at any time and run again. A database that is whole stays as it is; then only rows and files are brought together.\n\n"
                "Exit status 0: all is there, as far as can be known. 1: something is missing. docs/recovery.md tells the steps.",
        .options = {
                { "dry-run", NULL, "Change nothing; tell what would come back. Needs space for a second database." },
                { "bytes", NULL, "Read all that is stored, and compare it with its digest." },
                { "json", NULL, "A JSON object on each line, for scripts." },
        },
        .takes_settings = true,
        .run = run,
};
