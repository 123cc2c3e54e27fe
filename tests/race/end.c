/* After the race: everything that may go is collected, and what remains is exactly what tags lead to, in the database and on the
 * disk. */
#include "race.h"

#include "registry/check.h"
#include "registry/push.h"

#include <ftw.h>
#include <stdio.h>

#define DUE_US (-1000000)

static void wrong(struct racer *racer, int repository, enum thing thing, int number, const char *what)
{
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        w.ended_us = w.began_us;
        violation(&w, thing, number, "at the end: %s", what);
        window_end(&w);
}

/* Idle uploads, and objects in the trash. */
static void collect_rest(struct racer *racer)
{
        struct collect_rules rules = racer->race->rules;
        struct collected collected;
        bool more = true;

        rules.upload_expiry_us = rules.trash_delay_us = DUE_US;
        while (more) {
                if (!registry_collect(racer->race->registry, &rules, &collected, &racer->e).ok) {
                        wrong(racer, 0, THING_NONE, 0, racer->e.message);
                        return;
                }
                more = collected.more || collected.uploads || collected.objects;
        }
}

/* --- What is there, and what is led to --------------------------------------------------------------------------------- */

struct kept {
        unsigned blobs, manifests, led_to;      /* bits */
};

static void ask_all(struct racer *racer, int repository, struct kept *ret_kept)
{
        struct kept kept = { 0 };

        for (int tag = 0; tag < TAGS; tag++) {
                int manifest = ask_manifest(racer, repository, 0, tag);

                if (manifest != NO_MANIFEST)
                        kept.led_to |= 1u << manifest;
        }
        for (int i = 0; i < MANIFESTS; i++) {
                if (ask_manifest(racer, repository, i, -1) != NO_MANIFEST)
                        kept.manifests |= 1u << i;
        }
        for (int i = 0; i < BLOBS; i++) {
                if (ask_blob(racer, repository, i, true))
                        kept.blobs |= 1u << i;
        }
        *ret_kept = kept;
}

/* What is led to leads on: an index to its children, a subject to those that name it where they are there. */
static void follow(const struct content *content, struct kept *kept)
{
        unsigned before;

        do {
                before = kept->led_to;
                for (int i = 0; i < MANIFESTS; i++) {
                        int subject = content->manifests[i].subject;

                        if (kept->led_to & 1u << i)
                                kept->led_to |= content->manifests[i].children;
                        if (subject >= 0 && kept->led_to & 1u << subject)
                                kept->led_to |= kept->manifests & 1u << i;
                }
        } while (kept->led_to != before);
}

static void compare(struct racer *racer, int repository, const struct kept *kept)
{
        unsigned named = 0;

        for (int i = 0; i < MANIFESTS; i++) {
                bool there = kept->manifests & 1u << i, led_to = kept->led_to & 1u << i;

                if (there != led_to)
                        wrong(racer, repository, THING_MANIFEST, i, there ? "nothing leads to it, and it is there" : "it is gone");
                if (there)
                        named |= racer->race->content.manifests[i].blobs;
        }
        for (int i = 0; i < BLOBS; i++) {
                bool there = kept->blobs & 1u << i;

                if (there != (bool)(named & 1u << i))
                        wrong(racer, repository, THING_BLOB, i, there ? "no manifest names it, and it is there" : "it is gone");
        }
}

/* --- The disk --------------------------------------------------------------------------------------------------------- */

static struct {
        uint64_t files, bytes;
} seen;

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)path, (void)ftw;
        if (type == FTW_F) {
                seen.files++;
                seen.bytes += (uint64_t)st->st_size;
        }
        return 0;
}

static void check_disk(struct racer *racer, unsigned blobs)
{
        uint64_t files = 0, bytes = 0;
        char text[160];

        for (int i = 0; i < BLOBS; i++) {
                size_t n = racer->race->content.blobs[i].bytes.n;

                if (blobs & 1u << i && n > PUSH_SMALL_MAX) {
                        files++;
                        bytes += n;
                }
        }
        seen.files = seen.bytes = 0;
        snprintf(text, sizeof text, "%s/blobs", racer->race->folder);
        nftw(text, count_entry, 16, FTW_PHYS);
        snprintf(text, sizeof text, "%s/uploads", racer->race->folder);
        nftw(text, count_entry, 16, FTW_PHYS);
        if (seen.files == files && seen.bytes == bytes)
                return;
        snprintf(text, sizeof text, "there are %llu files of %llu bytes instead of %llu of %llu", (unsigned long long)seen.files,
                 (unsigned long long)seen.bytes, (unsigned long long)files, (unsigned long long)bytes);
        wrong(racer, 0, THING_NONE, 0, text);
}

static void check_waiting(struct racer *racer)
{
        struct meta_waiting waiting;

        if (!registry_waiting(racer->race->registry, &waiting, &racer->e).ok)
                wrong(racer, 0, THING_NONE, 0, racer->e.message);
        else if (waiting.blobs.count || waiting.orphans.count || waiting.untagged.count || waiting.objects.count || waiting.uploads.count)
                wrong(racer, 0, THING_NONE, 0, "something waits to be collected");
}

/* --- Rows and files tell the same ------------------------------------------------------------------------------------- */

static RESULT note_finding(void *arg, const struct check_finding *finding, struct err *e)
{
        char text[400];

        (void)e;
        snprintf(text, sizeof text, "the check finds %.*s: %s", SLICE_ARG(slice_head(finding->name, 160)), finding->what);
        wrong(arg, 0, THING_NONE, 0, text);
        return OK;
}

static RESULT no_progress(void *arg, const char *what, uint64_t done, uint64_t total, struct err *e)
{
        (void)arg, (void)what, (void)done, (void)total, (void)e;
        return OK;
}

static bool keep_reading(void *arg, uint64_t bytes)
{
        (void)arg, (void)bytes;
        return true;
}

static void check_store(struct racer *racer)
{
        struct check check = { .bytes = true, .found = note_finding, .progress = no_progress, .pace = { keep_reading, NULL }, .arg = racer };

        if (!registry_check(racer->race->registry, &check, &racer->e).ok)
                wrong(racer, 0, THING_NONE, 0, racer->e.message);
}

void check_end(struct racer *racer)
{
        struct race *race = racer->race;
        unsigned blobs = 0;

        sweep(racer);
        collect_rest(racer);
        for (int i = 0; i < REPOSITORIES; i++) {
                struct kept kept;

                ask_all(racer, i, &kept);
                follow(&race->content, &kept);
                compare(racer, i, &kept);
                blobs |= kept.blobs;
                race->kept_manifests += (unsigned)__builtin_popcount(kept.manifests);
        }
        race->kept_blobs = (unsigned)__builtin_popcount(blobs);
        check_waiting(racer);
        check_disk(racer, blobs);
        check_store(racer);
}
