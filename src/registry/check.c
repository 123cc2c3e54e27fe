#include "registry/check.h"

#include "registry/internal.h"
#include "store/blob/survey.h"
#include "store/meta/check.h"

#include <stdio.h>

/* A file that was written less than this ago may be of a push that is under way. */
enum { YOUNG_S = 60, ARENA_BYTES = 96 * 1024 * 1024, PROGRESS_EVERY = 64 };

struct checking {
        struct registry *registry;
        struct check *check;
        struct meta_totals totals;
        struct arena arena;
};

static RESULT tell(struct checking *c, struct check_finding finding, struct err *e)
{
        return c->check->found(c->check->arg, &finding, e);
}

/* --- Blobs ------------------------------------------------------------------------------------------------------------ */

static void look_at_file(struct registry *registry, const struct meta_blob *blob, char ret_what[static 120])
{
        _cleanup_fd_ int fd = -1;
        struct err e;
        uint64_t size;

        *ret_what = 0;
        if (!blob_open(registry->blobs, &blob->digest, &blob->id, &fd, &size, &e).ok)
                snprintf(ret_what, 120, "%.119s", e.code == ERR_NOT_FOUND ? "its file is missing" : e.message);
        else if (size != blob->size)
                snprintf(ret_what, 120, "its file has %llu bytes instead of %llu", (unsigned long long)size,
                         (unsigned long long)blob->size);
}

/* It may have been removed or mended since its row was read. */
static RESULT is_still(struct checking *c, const struct meta_stored *stored, bool *ret_still, struct err *e)
{
        struct meta_stored now;

        *ret_still = false;
        if (!meta_stored_next(c->registry->meta, stored->id - 1, &c->arena, &now, e).ok)
                return e->code == ERR_NOT_FOUND ? OK : FAILED;
        *ret_still = now.id == stored->id && digest_eq(&now.blob.digest, &stored->blob.digest) &&
                     now.blob.in_database == stored->blob.in_database && memcmp(&now.blob.id, &stored->blob.id, sizeof now.blob.id) == 0;
        return OK;
}

static RESULT tell_blob(struct checking *c, const struct meta_stored *stored, const char *what, struct err *e)
{
        struct digest_text text = digest_format(&stored->blob.digest);
        bool still, marked = false;

        TRY(is_still(c, stored, &still, e));
        if (!still)
                return OK;
        if (c->check->repair && !stored->blob.damaged)
                TRY(meta_blob_set_damaged(c->registry->meta, &stored->blob.digest, stored->blob.in_database ? NULL : &stored->blob.id,
                                          slice_from(what), &marked, e));
        return tell(c, (struct check_finding){ .kind = CHECK_BLOB, .name = slice_from(text.s), .what = what,
                                               .mend = stored->blob.damaged || marked
                                                               ? "it is told to be absent and not served: push it again"
                                                               : "--repair marks it; then the next push mends it" },
                    e);
}

/* It was marked, and its bytes are what they must be: somebody brought the file back, or the disk. */
static RESULT take_mark_away(struct checking *c, const struct meta_stored *stored, struct err *e)
{
        struct digest_text text = digest_format(&stored->blob.digest);

        if (c->check->repair)
                TRY(meta_blob_set_whole(c->registry->meta, &stored->blob.digest, stored->blob.in_database ? NULL : &stored->blob.id, e));
        return tell(c, (struct check_finding){ .kind = CHECK_BLOB, .name = slice_from(text.s), .what = "it was found damaged before",
                                               .mended = c->check->repair,
                                               .mend = c->check->repair ? "its bytes are good again" :
                                                                          "--repair serves it again: its bytes are good" }, e);
}

static RESULT check_blob(struct checking *c, const struct meta_stored *stored, struct err *e)
{
        bool read = c->check->bytes || stored->blob.in_database || (stored->blob.damaged && c->check->repair);
        struct scrub_found found;
        char what[120] = "";

        if (!stored->blob.in_database)
                look_at_file(c->registry, &stored->blob, what);
        if (!*what && read) {
                TRY(registry_blob_read(c->registry, &stored->blob, &c->check->pace, &found, e));
                snprintf(what, sizeof what, "%.119s", found.verdict == SCRUB_DAMAGED ? found.what : "");
        }
        if (!*what && stored->blob.damaged && read)
                return take_mark_away(c, stored, e);
        if (!*what && stored->blob.damaged)
                snprintf(what, sizeof what, "it was found damaged before");
        return *what ? tell_blob(c, stored, what, e) : OK;
}

static RESULT check_blobs(struct checking *c, struct err *e)
{
        struct meta_stored stored = { 0 };

        for (;;) {
                arena_reset(&c->arena);
                if (!meta_stored_next(c->registry->meta, stored.id, &c->arena, &stored, e).ok)
                        return e->code == ERR_NOT_FOUND ? OK : FAILED;
                TRY(check_blob(c, &stored, e));
                if (c->check->blobs++ % PROGRESS_EVERY == 0)
                        TRY(c->check->progress(c->check->arg, "blobs", c->check->blobs, c->totals.blobs, e));
        }
}

/* --- Files ------------------------------------------------------------------------------------------------------------ */

static RESULT is_known(struct checking *c, const struct survey_file *file, bool *ret_known, struct err *e)
{
        struct digest ignored;

        *ret_known = false;
        if (file->is_object)
                return meta_object_known(c->registry->meta, &file->digest, &file->id, ret_known, e);
        if (!file->is_upload)
                return OK;
        TRY(meta_upload_exists(c->registry->meta, &file->id, ret_known, e));
        if (*ret_known)
                return OK;
        *ret_known = meta_blob_of_upload(c->registry->meta, &file->id, &ignored, e).ok;        /* the rename comes with the next start */
        return *ret_known || e->code == ERR_NOT_FOUND ? OK : FAILED;
}

static RESULT check_file(void *arg, const struct survey_file *file, struct err *e)
{
        struct checking *c = arg;
        const char *mend = "--repair moves it to lost+found/";
        bool known, aside = false;
        struct err cause;

        if (c->check->files++ % PROGRESS_EVERY == 0)
                TRY(c->check->progress(c->check->arg, "files", c->check->files, 0, e));
        TRY(is_known(c, file, &known, e));
        if (known || (!c->registry->inspected && file->age_s < YOUNG_S))
                return OK;
        if (c->check->repair && !c->check->keep_files) {
                aside = survey_set_aside(c->registry->blobs, file->path, &cause).ok;
                if (!aside && cause.code == ERR_NOT_FOUND)
                        return OK;              /* it went by itself */
                if (!aside && cause.code != ERR_DENIED)
                        return *e = cause, FAILED;
                mend = aside ? "it was moved to lost+found/" : cause.message;
        }
        return tell(c, (struct check_finding){ .kind = CHECK_FILE, .name = file->path, .what = "nothing in the database names this file",
                                               .mended = aside, .mend = mend }, e);
}

/* --- Manifests -------------------------------------------------------------------------------------------------------- */

static RESULT tell_manifest(struct checking *c, const struct meta_manifest *manifest, struct slice repository, const char *what,
                            bool mended, const char *mend, struct err *e)
{
        struct digest_text text = digest_format(&manifest->digest);

        return tell(c, (struct check_finding){ .kind = CHECK_MANIFEST, .name = slice_from(text.s), .repository = repository, .what = what,
                                               .mended = mended, .mend = mend }, e);
}

static const char *words_of(enum meta_part_state state)
{
        switch (state) {
        case META_PART_GOOD:
                break;
        case META_PART_UNLINKED:
                return "is not linked to it";
        case META_PART_MISSING:
                return "is not stored";
        case META_PART_SIZE:
                return "has another size";
        case META_PART_DAMAGED:
                return "is missing or damaged";
        }
        return "";
}

static RESULT tell_part(struct checking *c, const struct meta_manifest *manifest, struct slice repository, enum meta_part_state state,
                        const struct meta_part *parts, size_t count, size_t at, struct err *e)
{
        bool links = c->check->repair && (state == META_PART_UNLINKED || state == META_PART_MISSING), mended = false;
        char what[DIGEST_TEXT_MAX + 100];
        size_t absent;

        if (links) {
                TRY(meta_parts_link(c->registry->meta, repository, &manifest->digest, parts, count, &absent, e));
                mended = absent == 0;
        }
        snprintf(what, sizeof what, "%s %s, which it names, %s", parts[at].is_manifest ? "manifest" : "blob",
                 digest_format(&parts[at].digest).s, words_of(state));
        return tell_manifest(c, manifest, repository, what, mended,
                             mended                                 ? "the link was made"
                             : state == META_PART_UNLINKED && !links ? "--repair links it"
                                                                     : "push the image again", e);
}

/* Its bytes are those that were pushed, so it is what the row says of them. */
static RESULT tell_unreadable(struct checking *c, const struct meta_manifest *manifest, struct slice repository, struct err *e)
{
        char what[160];

        snprintf(what, sizeof what, "it cannot be read: %.130s", e->message);
        return tell_manifest(c, manifest, repository, what, false, "push it again", e);
}

static RESULT check_manifest(struct checking *c, const struct meta_manifest *manifest, struct slice repository, struct err *e)
{
        enum meta_part_state state;
        struct meta_part *parts;
        struct digest have;
        size_t count, at = 0;

        digest_of_bytes(manifest->digest.algorithm, manifest->payload, &have);
        if (!digest_eq(&have, &manifest->digest))
                return tell_manifest(c, manifest, repository, "its bytes are not those of its digest", false,
                                     "it is not served: push it again", e);
        if (!registry_parts_of(manifest, &c->arena, &parts, &count, e).ok)
                return e->code == ERR_MANIFEST_INVALID ? tell_unreadable(c, manifest, repository, e) : FAILED;
        if (!meta_parts_check(c->registry->meta, repository, &manifest->digest, parts, count, &state, &at, e).ok)
                return e->code == ERR_MANIFEST_UNKNOWN || e->code == ERR_NAME_UNKNOWN ? OK : FAILED;
        if (state == META_PART_GOOD || (state == META_PART_DAMAGED && !c->check->images))
                return OK;
        return tell_part(c, manifest, repository, state, parts, count, at, e);
}

static RESULT check_manifests(struct checking *c, struct err *e)
{
        struct meta_manifest manifest;
        struct slice repository;
        int64_t last = 0;

        for (;;) {
                arena_reset(&c->arena);
                if (!meta_manifest_next(c->registry->meta, last, &c->arena, &last, &repository, &manifest, e).ok)
                        return e->code == ERR_NOT_FOUND ? OK : FAILED;
                TRY(check_manifest(c, &manifest, repository, e));
                if (c->check->manifests++ % PROGRESS_EVERY == 0)
                        TRY(c->check->progress(c->check->arg, "manifests", c->check->manifests, c->totals.manifests, e));
        }
}

/* --- All -------------------------------------------------------------------------------------------------------------- */

static RESULT check_all(struct checking *c, struct err *e)
{
        TRY(c->check->progress(c->check->arg, "database", 0, 0, e));
        if (!meta_check(c->registry->meta, e).ok) {
                if (e->code != ERR_CORRUPT)
                        return FAILED;
                TRY(tell(c, (struct check_finding){ .kind = CHECK_DATABASE, .name = S("orlop.db"), .what = e->message,
                                                    .mend = "stop the registry, then: orlop rebuild" }, e));
        }
        TRY(meta_totals(c->registry->meta, &c->totals, e));
        TRY(check_blobs(c, e));
        TRY(survey_each(c->registry->blobs, check_file, c, e));
        return check_manifests(c, e);
}

bool registry_blob_has_file(struct registry *registry, const struct meta_blob *blob)
{
        char what[120] = "";

        if (!blob->in_database)
                look_at_file(registry, blob, what);
        return !*what;
}

RESULT registry_check(struct registry *registry, struct check *check, struct err *e)
{
        struct checking c = { .registry = registry, .check = check, .arena = ARENA_INIT(ARENA_BYTES) };
        struct result result = check_all(&c, e);

        arena_fini(&c.arena);
        return result;
}
