/* rm: repositories, tags and manifests by name or pattern. A repository goes in steps of some 100 manifests; between two steps
 * everybody else has a turn. */
#include "jobs/operation.h"

#include "base/clock.h"
#include "oci/reference.h"
#include "registry/remove.h"

#include <fnmatch.h>

enum { PAGE = 100, ARENA_BYTES = 1024 * 1024 };

/* REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST; a colon before a slash belongs to no tag. */
struct target {
        struct slice repository;        /* a name or a pattern; NUL-terminated */
        struct slice tag;               /* .p NULL: none */
        bool has_digest;
        struct digest digest;
};

struct removal {
        struct operation *op;
        struct target target;
        uint64_t found;                 /* of this word */
        uint64_t tags, manifests, repositories;
};

static bool is_pattern(struct slice text)
{
        return memchr(text.p, '*', text.n) || memchr(text.p, '?', text.n) || memchr(text.p, '[', text.n);
}

static RESULT parse_target(struct slice word, struct arena *arena, struct target *ret_target, struct err *e)
{
        struct target target = { .tag = SLICE_NONE };
        struct slice rest = word, name;
        const char *slash = memrchr(word.p, '/', word.n), *colon;

        if (slice_cut(&rest, '@', &name)) {
                TRY(digest_parse(rest, &target.digest, e));
                target.has_digest = true;
                word = name;
        } else {
                colon = memrchr(word.p, ':', word.n);
                if (colon && (!slash || colon > slash)) {
                        target.tag = arena_copy(arena, slice_skip(word, (size_t)(colon - word.p) + 1));
                        word = slice_head(word, (size_t)(colon - word.p));
                        if (!target.tag.n)
                                return FAIL(e, ERR_INVALID, 0, "there is no tag behind the colon of \"%.*s:\"", SLICE_ARG(word));
                }
        }
        target.repository = arena_copy(arena, word);
        if (!target.repository.n)
                return FAIL(e, ERR_INVALID, 0, "a repository's name is needed: REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST");
        *ret_target = target;
        return OK;
}

static bool matches(struct slice pattern, struct slice name)
{
        return slice_eq(pattern, name) || fnmatch(pattern.p, name.p, 0) == 0;
}

static RESULT tell(struct removal *removal, struct slice repository, struct slice tag, const struct digest *digest, const char *what,
                   struct err *e)
{
        removal->found++;
        line_begin(removal->op, "removed");
        line_text(removal->op, "what", slice_from(what));
        line_text(removal->op, "repository", repository);
        line_text(removal->op, "tag", tag);
        if (digest)
                line_digest(removal->op, "digest", digest);
        line_bool(removal->op, "dry_run", removal->op->request->dry_run);
        return line_end(removal->op, e);
}

/* Between two steps: as long as the last one took, and longer while requests wait. */
static bool go_on(struct operation *op, int64_t step_began_us)
{
        return !op->jobs || jobs_pause_for(op->jobs, clock_mono_us() - step_began_us);
}

/* --- A repository ----------------------------------------------------------------------------------------------------- */

static RESULT remove_repository(struct removal *removal, struct slice repository, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_stripping stripping = { 0 };
        struct meta_names none;

        TRY(registry_tags(removal->op->registry, repository, S(""), 0, &arena, &none, e));     /* is it there? */
        TRY(tell(removal, repository, SLICE_NONE, NULL, "repository", e));
        removal->repositories++;
        while (!removal->op->request->dry_run && !stripping.ended) {
                int64_t began_us = clock_mono_us();

                TRY(registry_repository_strip(removal->op->registry, repository, &stripping, e));
                TRY(line_progress(removal->op, "manifests", stripping.manifests, 0, false, e));
                if (!go_on(removal->op, began_us))
                        return FAIL(e, ERR_CLOSED, 0, "the registry ends");
        }
        removal->manifests += stripping.manifests;
        return OK;
}

/* --- Tags ------------------------------------------------------------------------------------------------------------- */

static RESULT check_there(struct removal *removal, struct slice repository, struct slice reference, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(16 * ARENA_BYTES);
        struct meta_manifest manifest;

        return registry_manifest_get(removal->op->registry, repository, reference, &arena, &manifest, e);
}

static RESULT remove_tag(struct removal *removal, struct slice repository, struct slice tag, struct err *e)
{
        bool manifest_too = false;

        if (removal->op->request->dry_run)
                TRY(check_there(removal, repository, tag, e));
        else
                TRY(registry_tag_remove(removal->op->registry, repository, tag, &manifest_too, e));
        removal->tags++;
        removal->manifests += manifest_too;
        return tell(removal, repository, tag, NULL, "tag", e);
}

static RESULT remove_tags(struct removal *removal, struct slice repository, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_names page = { .more = true };
        char last[TAG_MAX + 1] = "";

        while (page.more) {
                int64_t began_us = clock_mono_us();

                arena_reset(&arena);
                TRY(registry_tags(removal->op->registry, repository, slice_from(last), PAGE, &arena, &page, e));
                for (size_t i = 0; i < page.count; i++) {
                        if (matches(removal->target.tag, page.names[i]))
                                TRY(remove_tag(removal, repository, page.names[i], e));
                        if (!slice_to_cstr(page.names[i], last, sizeof last))
                                return FAIL(e, ERR_CORRUPT, 0, "a tag is too long");
                }
                if (!go_on(removal->op, began_us))
                        return FAIL(e, ERR_CLOSED, 0, "the registry ends");
        }
        return OK;
}

/* --- By name, by pattern ---------------------------------------------------------------------------------------------- */

static RESULT remove_in(struct removal *removal, struct slice repository, struct err *e)
{
        const struct target *target = &removal->target;
        struct digest_text text;

        if (target->has_digest) {
                text = digest_format(&target->digest);
                if (removal->op->request->dry_run)
                        TRY(check_there(removal, repository, slice_from(text.s), e));
                else
                        TRY(registry_manifest_delete(removal->op->registry, repository, slice_from(text.s), e));
                removal->manifests++;
                return tell(removal, repository, SLICE_NONE, &target->digest, "manifest", e);
        }
        if (!target->tag.p)
                return remove_repository(removal, repository, e);
        if (!is_pattern(target->tag))
                return remove_tag(removal, repository, target->tag, e);
        return remove_tags(removal, repository, e);
}

/* With a pattern a repository or tag that has just gone is no failure. */
static RESULT remove_matching(struct removal *removal, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct meta_names page = { .more = true };
        char last[REPOSITORY_NAME_MAX + 1] = "";

        while (page.more) {
                arena_reset(&arena);
                TRY(registry_catalog(removal->op->registry, slice_from(last), PAGE, &arena, &page, e));
                for (size_t i = 0; i < page.count; i++) {
                        if (matches(removal->target.repository, page.names[i]) && !remove_in(removal, page.names[i], e).ok &&
                            e->code != ERR_NAME_UNKNOWN && e->code != ERR_MANIFEST_UNKNOWN)
                                return FAILED;
                        if (!slice_to_cstr(page.names[i], last, sizeof last))
                                return FAIL(e, ERR_CORRUPT, 0, "a repository's name is too long");
                }
        }
        return OK;
}

/* A word that names nothing is told, and the others go on. */
static RESULT remove_word(struct removal *removal, struct slice word, struct err *e)
{
        _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
        struct result result;

        TRY(parse_target(word, &arena, &removal->target, e));
        removal->found = 0;
        err_set(e, ERR_NONE, 0, "it matches nothing");
        if (is_pattern(removal->target.repository))
                result = remove_matching(removal, e);
        else
                result = remove_in(removal, removal->target.repository, e);
        if (!result.ok && e->code != ERR_NAME_UNKNOWN && e->code != ERR_MANIFEST_UNKNOWN && e->code != ERR_DENIED)
                return FAILED;
        if (result.ok && removal->found)
                return OK;
        removal->op->status = 1;
        line_begin(removal->op, "refused");
        line_text(removal->op, "word", word);
        line_text(removal->op, "reason", slice_from(e->message));
        return line_end(removal->op, e);
}

/* Before anything goes: whoever mistypes a word may have meant something else by the others, too. */
static RESULT check_words(const struct operation_request *request, struct err *e)
{
        for (size_t i = 0; i < request->word_count; i++) {
                _cleanup_(arena_fini) struct arena arena = ARENA_INIT(ARENA_BYTES);
                struct target target;
                struct err cause;

                if (!parse_target(request->words[i], &arena, &target, &cause).ok)
                        return FAIL(e, ERR_INVALID, 0, "%.*s: %s", SLICE_ARG(request->words[i]), cause.message);
        }
        return OK;
}

RESULT operation_rm(struct operation *op, struct err *e)
{
        struct removal removal = { .op = op };

        if (!op->request->word_count)
                return FAIL(e, ERR_INVALID, 0, "what shall go? REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST");
        TRY(check_words(op->request, e));
        for (size_t i = 0; i < op->request->word_count; i++)
                TRY(remove_word(&removal, op->request->words[i], e));
        line_begin(op, "total");
        line_number(op, "repositories", removal.repositories);
        line_number(op, "tags", removal.tags);
        line_number(op, "manifests", removal.manifests);
        line_bool(op, "dry_run", op->request->dry_run);
        return line_end(op, e);
}
