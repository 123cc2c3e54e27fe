/* What clients do, as chance will have it. */
#include "race.h"

#include "base/clock.h"

#include <poll.h>

enum { HASTE_MS = 300, HASTE_ONE_IN = 5 };

/* --- Chance ----------------------------------------------------------------------------------------------------------- */

void racer_init(struct racer *racer, struct race *race, int number)
{
        *racer = (struct racer){ .race = race, .number = number, .arena = ARENA_INIT(16 * 1024 * 1024),
                                 .random = (race->seed + (uint64_t)number) * 0x9e3779b97f4a7c15ull | 1 };
        racer->bytes = malloc(BLOB_BYTES_MAX + 1);
        CHECK(racer->bytes);
}

void racer_fini(struct racer *racer)
{
        arena_fini(&racer->arena);
        free(racer->bytes);
}

/* xorshift64*: the seed repeats what each racer does, though not when. */
uint64_t pick(struct racer *racer, uint64_t n)
{
        uint64_t x = racer->random;

        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        racer->random = x;
        return (x * 0x2545f4914f6cdd1dull >> 32) % n;
}

bool chance(struct racer *racer, unsigned percent)
{
        return pick(racer, 100) < percent;
}

/* Now and then nobody pauses: much happens at once. The rest of the time leaves things alone for long enough that promises count. */
static bool in_haste(void)
{
        return clock_mono_ms() / HASTE_MS % HASTE_ONE_IN == 0;
}

void pause_up_to(struct racer *racer, int64_t us)
{
        if (!racer->race->model.ended && !in_haste())
                poll(NULL, 0, (int)pick(racer, (uint64_t)us / 1000 + 1));
}

/* --- What takes several calls ----------------------------------------------------------------------------------------- */

/* As clients do before a manifest: what is there, or can be mounted, is not sent. */
static void bring_blob(struct racer *racer, int repository, int blob)
{
        if (chance(racer, 80) && ask_blob(racer, repository, blob, false))
                return;
        if (chance(racer, 50) && mount_blob(racer, (int)pick(racer, REPOSITORIES + 1) - 1, repository, blob))
                return;
        upload_blob(racer, repository, blob);
}

/* What was told to be there is still there some time later. */
/* NOLINTNEXTLINE(misc-no-recursion): an index's children */
static void push(struct racer *racer, int repository, int manifest, int tag)
{
        const struct image *image = &racer->race->content.manifests[manifest];

        for (int i = 0; i < MANIFESTS; i++) {
                if (image->children & 1u << i && (chance(racer, 30) || ask_manifest(racer, repository, i, -1) == NO_MANIFEST))
                        push(racer, repository, i, -1);
        }
        for (int i = 0; i < BLOBS; i++) {
                if (image->blobs & 1u << i)
                        bring_blob(racer, repository, i);
        }
        if (chance(racer, 30))
                pause_up_to(racer, racer->race->model.times.grace_us * 45 / 100);
        put_manifest(racer, repository, manifest, tag);
}

/* NOLINTNEXTLINE(misc-no-recursion): an index's children */
static void pull(struct racer *racer, int repository, int manifest, int tag)
{
        const struct image *image;

        manifest = ask_manifest(racer, repository, manifest, tag);
        if (manifest == NO_MANIFEST)
                return;
        image = &racer->race->content.manifests[manifest];
        for (int i = 0; i < MANIFESTS; i++) {
                if (image->children & 1u << i)
                        pull(racer, repository, i, -1);
        }
        for (int i = 0; i < BLOBS; i++) {
                if (image->blobs & 1u << i)
                        ask_blob(racer, repository, i, true);
        }
}

/* Of a file; more often of one that is about to go, because no manifest names it. */
static void look_and_open(struct racer *racer, int repository)
{
        int first = chance(racer, 50) ? FIRST_FILE : FIRST_UNNAMED, blob = first + (int)pick(racer, (uint64_t)(BLOBS - first));

        if (!ask_blob(racer, repository, blob, false))
                upload_blob(racer, repository, blob);
        if (!in_haste())
                open_late(racer, repository, blob, racer->race->model.times.trash_us);
}

static void upload_and_read(struct racer *racer, int repository, int blob)
{
        upload_blob(racer, repository, blob);
        pause_up_to(racer, racer->race->model.times.trash_us);
        ask_blob(racer, repository, blob, true);
}

/* --- One of them ------------------------------------------------------------------------------------------------------ */

static int any_tag(struct racer *racer, unsigned percent)
{
        return chance(racer, percent) ? (int)pick(racer, TAGS) : -1;
}

enum kind { PUSH, PULL, HEAD, GET, OPEN_LATE, UPLOAD, SPOIL, MOUNT, DELETE_BLOB, DELETE_MANIFEST, DELETE_TAG, ASK_TAGS, ASK_REFERRERS, KINDS };
static const unsigned char shares[KINDS] = { [PUSH] = 14, [PULL] = 17, [HEAD] = 22, [GET] = 8, [OPEN_LATE] = 8, [UPLOAD] = 4, [SPOIL] = 2,
                                             [MOUNT] = 4, [DELETE_BLOB] = 5, [DELETE_MANIFEST] = 7, [DELETE_TAG] = 3, [ASK_TAGS] = 3,
                                             [ASK_REFERRERS] = 3 };
_Static_assert(14 + 17 + 22 + 8 + 8 + 4 + 2 + 4 + 5 + 7 + 3 + 3 + 3 == 100, "shares of a hundred");

static enum kind any_kind(struct racer *racer)
{
        unsigned at = (unsigned)pick(racer, 100);
        int kind = 0;

        while (at >= shares[kind])
                at -= shares[kind++];
        return (enum kind)kind;
}

void step(struct racer *racer)
{
        int repository = (int)pick(racer, REPOSITORIES), blob = (int)pick(racer, BLOBS), manifest = (int)pick(racer, MANIFESTS);

        switch (any_kind(racer)) {
        case PUSH:
                push(racer, repository, manifest, any_tag(racer, 60));
                break;
        case PULL:
                pull(racer, repository, manifest, any_tag(racer, 50));
                break;
        case HEAD:
                ask_blob(racer, repository, blob, false);
                break;
        case GET:
                ask_blob(racer, repository, blob, true);
                break;
        case OPEN_LATE:
                look_and_open(racer, repository);
                break;
        case UPLOAD:
                upload_and_read(racer, repository, blob);
                break;
        case SPOIL:
                spoil_upload(racer, repository, blob);
                break;
        case MOUNT:
                mount_blob(racer, (int)pick(racer, REPOSITORIES + 1) - 1, repository, blob);
                break;
        case DELETE_BLOB:
                delete_blob(racer, repository, blob);
                break;
        case DELETE_MANIFEST:
                delete_manifest(racer, repository, manifest);
                break;
        case DELETE_TAG:
                delete_tag(racer, repository, (int)pick(racer, TAGS), chance(racer, 30));
                break;
        case ASK_TAGS:
                ask_tags(racer, repository);
                break;
        case ASK_REFERRERS:
                ask_referrers(racer, repository, manifest);
                break;
        case KINDS:
                break;
        }
        arena_reset(&racer->arena);
        racer->race->steps++;
}
