/* Manifests and tags: asked for, put, deleted, listed. */
#include "race.h"

#include "registry/remove.h"

static bool is_unknown(const struct err *e)
{
        return e->code == ERR_MANIFEST_UNKNOWN || e->code == ERR_NAME_UNKNOWN;
}

static const char *tag_text(int tag)
{
        return tag < 0 ? "" : tag_name(tag).p;
}

static struct slice reference_of(struct racer *racer, int manifest, int tag)
{
        return tag < 0 ? slice_from(racer->race->content.manifests[manifest].name.s) : tag_name(tag);
}

/* --- Asking ----------------------------------------------------------------------------------------------------------- */

struct answer {
        struct slice digest, media_type, bytes;
        struct digest_text name;
        struct registry_object *object; /* owned */
};

static struct result ask(struct racer *racer, int repository, struct slice reference, struct answer *ret_answer)
{
        struct registry *registry = racer->race->registry;
        struct slice name = repository_name(repository);
        struct registry_object *object = registry_manifest_now(registry, name, reference);
        struct meta_manifest row;

        *ret_answer = (struct answer){ .object = object };
        if (object) {
                ret_answer->digest = object->digest;
                ret_answer->media_type = object->media_type;
                ret_answer->bytes = object->bytes;
                return OK;
        }
        TRY(registry_manifest_get(registry, name, reference, &racer->arena, &row, &racer->e));
        ret_answer->name = digest_format(&row.digest);
        ret_answer->digest = slice_from(ret_answer->name.s);
        ret_answer->media_type = row.media_type;
        ret_answer->bytes = row.payload;
        return OK;
}

static int which(struct racer *racer, const struct answer *answer)
{
        for (int i = 0; i < MANIFESTS; i++) {
                const struct image *manifest = &racer->race->content.manifests[i];

                if (slice_eq(answer->digest, slice_from(manifest->name.s)))
                        return slice_eq(answer->bytes, manifest->body) && slice_eq(answer->media_type, manifest->media_type) ? i
                                                                                                                             : NO_MANIFEST;
        }
        return NO_MANIFEST;
}

static void judge_by_digest(const struct window *w, int manifest, bool there)
{
        struct presence *now = &w->now->manifests[manifest];
        bool sure = manifest_is_sure(w, manifest), absent = manifest_is_absent(w, manifest);

        count_answer(w, sure || absent);
        if (there && absent)
                violation(w, THING_MANIFEST, manifest, "it was told to be there, and is not");
        if (!there && sure)
                violation(w, THING_MANIFEST, manifest, "it was told not to be there, and must be");
        if (there)
                note_shown(w, &now->asked);
        else
                note_absent(w, now);
}

static void judge_by_tag(const struct window *w, int tag, int found)
{
        if (!may_point_to(w, tag, found))
                violation(w, THING_TAG, tag, "it was told to be %s %d, which it cannot be",
                          found == NO_MANIFEST ? "none, manifest" : "manifest", found);
        if (found != NO_MANIFEST && manifest_is_absent(w, found))
                violation(w, THING_MANIFEST, found, "tag %s led to it, and it is not there", tag_text(tag));
        note_shown(w, &w->now->tags[tag].shown[found]);
        if (found != NO_MANIFEST)
                note_shown(w, &w->now->manifests[found].kept);
}

int ask_manifest(struct racer *racer, int repository, int manifest, int tag)
{
        static const char *const names[MANIFESTS] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11" };
        struct slice reference = reference_of(racer, manifest, tag);
        enum thing thing = tag < 0 ? THING_MANIFEST : THING_TAG;
        int found = NO_MANIFEST;
        struct answer answer;
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        window_run(&w);
        result = ask(racer, repository, reference, &answer);
        window_close(&w);
        if (result.ok)
                found = which(racer, &answer);
        record(&w, answer.object ? "get, cached" : "get", thing, tag < 0 ? manifest : tag, found == NO_MANIFEST ? "" : names[found],
               outcome(result, &racer->e));
        if (result.ok ? found == NO_MANIFEST || (tag < 0 && found != manifest) : !is_unknown(&racer->e))
                violation(&w, thing, tag < 0 ? manifest : tag, "an answer that nobody expects: %s", outcome(result, &racer->e));
        else if (tag < 0)
                judge_by_digest(&w, manifest, result.ok);
        else
                judge_by_tag(&w, tag, found);
        window_end(&w);
        registry_object_unref(answer.object);
        return found;
}

/* --- Put -------------------------------------------------------------------------------------------------------------- */

static bool all_parts_are_sure(const struct window *w, const struct image *manifest)
{
        for (int i = 0; i < BLOBS; i++) {
                if (manifest->blobs & 1u << i && !blob_is_sure(w, i))
                        return false;
        }
        for (int i = 0; i < MANIFESTS; i++) {
                if (manifest->children & 1u << i && !manifest_is_sure(w, i))
                        return false;
        }
        return true;
}

static void judge_parts(const struct window *w, const struct image *manifest)
{
        for (int i = 0; i < BLOBS; i++) {
                if (manifest->blobs & 1u << i && blob_is_absent(w, i))
                        violation(w, THING_BLOB, i, "a manifest that names it was accepted, and it is not there");
        }
        for (int i = 0; i < MANIFESTS; i++) {
                if (manifest->children & 1u << i && manifest_is_absent(w, i))
                        violation(w, THING_MANIFEST, i, "an index that names it was accepted, and it is not there");
        }
}

static void note_put(const struct window *w, int manifest, int tag)
{
        struct presence *now = &w->now->manifests[manifest];

        judge_parts(w, &w->model->content->manifests[manifest]);
        note_shown(w, &now->kept);
        now->added_us = w->ended_us;
        if (tag < 0)
                return;
        note_shown(w, &w->now->tags[tag].shown[manifest]);
        w->now->tags[tag].written_us[manifest] = w->ended_us;
}

static struct result put(struct racer *racer, int repository, int manifest, int tag)
{
        const struct image *image = &racer->race->content.manifests[manifest];
        struct slice name = tag < 0 ? S("") : tag_name(tag);
        bool beside = tag >= 0 && chance(racer, 30);
        struct registry_manifest_request request = {
                .repository = repository_name(repository),
                .reference = reference_of(racer, manifest, beside ? -1 : tag),
                .tags = &name,
                .tag_count = beside,
                .content_type = image->media_type,
                .body = image->body,
        };
        struct registry_manifest_result ignored;

        return registry_manifest_put(racer->race->registry, &request, &racer->arena, &ignored, &racer->e);
}

bool put_manifest(struct racer *racer, int repository, int manifest, int tag)
{
        const struct image *image = &racer->race->content.manifests[manifest];
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        w.now->manifests[manifest].adding++;
        if (tag >= 0)
                w.now->tags[tag].writing[manifest]++;
        window_run(&w);
        result = put(racer, repository, manifest, tag);
        window_close(&w);
        w.now->manifests[manifest].adding--;
        if (tag >= 0)
                w.now->tags[tag].writing[manifest]--;
        record(&w, "put", THING_MANIFEST, manifest, tag_text(tag), outcome(result, &racer->e));
        if (result.ok)
                note_put(&w, manifest, tag);
        else if (racer->e.code != ERR_MANIFEST_BLOB_UNKNOWN)
                violation(&w, THING_MANIFEST, manifest, "an answer that nobody expects: %s", racer->e.message);
        else if (all_parts_are_sure(&w, image))
                violation(&w, THING_MANIFEST, manifest, "it was refused, and all that it names must be there: %s", racer->e.message);
        window_end(&w);
        return result.ok;
}

/* --- Delete ----------------------------------------------------------------------------------------------------------- */

static void judge_deletion(const struct window *w, int manifest, struct result result, const struct err *e)
{
        if (result.ok && manifest_is_absent(w, manifest))
                violation(w, THING_MANIFEST, manifest, "it was deleted, and was not there");
        if (result.ok && manifest_is_named(w, manifest))
                violation(w, THING_MANIFEST, manifest, "it was deleted, although an index names it");
        if (!result.ok && e->code == ERR_DENIED && !manifest_may_be_named(w, manifest))
                violation(w, THING_MANIFEST, manifest, "its deletion was denied, and no index names it");
        if (!result.ok && is_unknown(e) && manifest_is_sure(w, manifest))
                violation(w, THING_MANIFEST, manifest, "its deletion did not find it, and it must be there");
        if (!result.ok && !is_unknown(e) && e->code != ERR_DENIED)
                violation(w, THING_MANIFEST, manifest, "an answer that nobody expects: %s", e->message);
        if (result.ok)
                note_removed(w, manifest);
        else if (is_unknown(e))
                note_absent(w, &w->now->manifests[manifest]);
}

void delete_manifest(struct racer *racer, int repository, int manifest)
{
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        w.now->manifests[manifest].removing++;
        window_run(&w);
        result = registry_manifest_delete(racer->race->registry, repository_name(repository), reference_of(racer, manifest, -1), &racer->e);
        window_close(&w);
        w.now->manifests[manifest].removing--;
        record(&w, "delete", THING_MANIFEST, manifest, "", outcome(result, &racer->e));
        judge_deletion(&w, manifest, result, &racer->e);
        window_end(&w);
}

/* With the tag its manifest may go, whichever it was. */
static void mark_removing(const struct window *w, int change)
{
        for (int i = 0; i < MANIFESTS; i++)
                w->now->manifests[i].removing += change;
}

static void judge_untagging(const struct window *w, int tag, struct result result, const struct err *e)
{
        struct pointer *now = &w->now->tags[tag];
        bool may_be = false;

        for (int i = 0; i < MANIFESTS; i++)
                may_be |= may_point_to(w, tag, i);
        if (result.ok && !may_be)
                violation(w, THING_TAG, tag, "it was deleted, and was not there");
        if (!result.ok && is_unknown(e) && !may_point_to(w, tag, NO_MANIFEST))
                violation(w, THING_TAG, tag, "its deletion did not find it, and it must be there");
        if (!result.ok && !is_unknown(e))
                violation(w, THING_TAG, tag, "an answer that nobody expects: %s", e->message);
        note_shown(w, &now->shown[NO_MANIFEST]);
        if (result.ok)
                now->written_us[NO_MANIFEST] = w->ended_us;
}

void delete_tag(struct racer *racer, int repository, int tag, bool manifest_too)
{
        struct registry *registry = racer->race->registry;
        struct slice name = repository_name(repository);
        bool removed = false;
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        w.now->tags[tag].writing[NO_MANIFEST]++;
        if (manifest_too)
                mark_removing(&w, 1);
        window_run(&w);
        if (manifest_too)
                result = registry_tag_remove(registry, name, tag_name(tag), &removed, &racer->e);
        else
                result = registry_manifest_delete(registry, name, tag_name(tag), &racer->e);
        window_close(&w);
        w.now->tags[tag].writing[NO_MANIFEST]--;
        if (manifest_too)
                mark_removing(&w, -1);
        record(&w, removed ? "remove with tag" : "delete", THING_TAG, tag, "", outcome(result, &racer->e));
        for (int i = 0; removed && i < MANIFESTS; i++) {
                if (may_point_to(&w, tag, i))
                        note_maybe_removed(&w, i);
        }
        judge_untagging(&w, tag, result, &racer->e);
        window_end(&w);
}

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

static bool lists(const struct meta_names *page, struct slice name)
{
        for (size_t i = 0; i < page->count; i++) {
                if (slice_eq(page->names[i], name))
                        return true;
        }
        return false;
}

static void judge_listed(const struct window *w, int tag, bool listed)
{
        bool may_be = false;

        for (int i = 0; i < MANIFESTS; i++)
                may_be |= may_point_to(w, tag, i);
        if (listed ? !may_be : !may_point_to(w, tag, NO_MANIFEST))
                violation(w, THING_TAG, tag, "the list %s", listed ? "has it, and there is none" : "does not have it, and it is there");
}

void ask_tags(struct racer *racer, int repository)
{
        struct meta_names page = { 0 };
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        window_run(&w);
        result = registry_tags(racer->race->registry, repository_name(repository), S(""), 100, &racer->arena, &page, &racer->e);
        window_close(&w);
        if (!result.ok && racer->e.code != ERR_NAME_UNKNOWN)
                violation(&w, THING_NONE, 0, "list the tags: %s", racer->e.message);
        for (int tag = 0; tag < TAGS; tag++)
                judge_listed(&w, tag, lists(&page, tag_name(tag)));
        window_end(&w);
}

static bool refers(const struct registry_referrers_page *page, const struct digest *digest)
{
        for (size_t i = 0; i < page->count; i++) {
                if (digest_eq(&page->referrers[i].digest, digest))
                        return true;
        }
        return false;
}

void ask_referrers(struct racer *racer, int repository, int subject)
{
        const struct content *content = &racer->race->content;
        struct registry_referrers_request request = { .repository = repository_name(repository), .subject = content->manifests[subject].digest,
                                                      .n = 100 };
        struct registry_referrers_page page = { 0 };
        struct result result;
        struct window w;

        window_open(&w, &racer->race->model, repository, racer->number);
        window_run(&w);
        result = registry_referrers(racer->race->registry, &request, &racer->arena, &page, &racer->e);
        window_close(&w);
        if (!result.ok)
                violation(&w, THING_MANIFEST, subject, "list the referrers: %s", racer->e.message);
        for (int i = FIRST_REFERRER; i < MANIFESTS; i++) {
                bool listed = refers(&page, &content->manifests[i].digest);

                if (listed ? content->manifests[i].subject != subject || manifest_is_absent(&w, i)
                           : content->manifests[i].subject == subject && manifest_is_sure(&w, i))
                        violation(&w, THING_MANIFEST, i, "the list of referrers %s", listed ? "has it" : "does not have it");
        }
        window_end(&w);
}
