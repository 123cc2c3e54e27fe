/* A race over one store: several racers do what clients do, with the same few digests in several repositories, while the collector
 * takes what it may with times of fractions of a second. Each answer is held against the model (model.h).
 *
 *      race_run(&race, seconds)        false: it found a violation, race.model.story tells
 */
#pragma once

#include "model.h"

#include "registry/collect.h"

struct race {
        struct content content;
        struct model model;
        struct registry *registry;
        struct collect_rules rules;
        uint64_t seed;
        char folder[64];
        _Atomic uint64_t steps, sweeps;
        uint64_t kept_blobs, kept_manifests;    /* at the end */
};

struct racer {
        struct race *race;
        int number;
        uint64_t random;
        struct arena arena;
        struct err e;
        char *bytes;                    /* owned; room for the largest blob */
};

enum racer_number { RACERS = 8, COLLECTOR = RACERS, SCRUBBER, ENDER };

void racer_init(struct racer *racer, struct race *race, int number);
void racer_fini(struct racer *racer);
uint64_t pick(struct racer *racer, uint64_t n);                 /* below n */
bool chance(struct racer *racer, unsigned percent);
void pause_up_to(struct racer *racer, int64_t us);

/* blobs.c, manifests.c: one call of the registry each, judged */
bool ask_blob(struct racer *racer, int repository, int blob, bool whole);
void open_late(struct racer *racer, int repository, int blob, int64_t in_time_us);
void upload_blob(struct racer *racer, int repository, int blob);
void spoil_upload(struct racer *racer, int repository, int blob);
bool mount_blob(struct racer *racer, int from, int to, int blob);       /* from -1: from any */
void delete_blob(struct racer *racer, int repository, int blob);

int ask_manifest(struct racer *racer, int repository, int manifest, int tag);   /* tag -1: by digest. Which it is, or NO_MANIFEST */
bool put_manifest(struct racer *racer, int repository, int manifest, int tag);  /* tag -1: by digest */
void delete_manifest(struct racer *racer, int repository, int manifest);
void delete_tag(struct racer *racer, int repository, int tag, bool manifest_too);
void ask_tags(struct racer *racer, int repository);
void ask_referrers(struct racer *racer, int repository, int subject);

/* steps.c: what clients do with them */
void step(struct racer *racer);

/* house.c: what the daemon does by itself */
void *collect_until_end(void *racer);
void *scrub_until_end(void *racer);
void sweep(struct racer *racer);

/* end.c: exactly what is led to remains, in the database and on the disk */
void check_end(struct racer *racer);

/* What the registry said, for the record. */
static inline const char *outcome(struct result result, const struct err *e)
{
        return result.ok ? "ok" : e->message;
}
