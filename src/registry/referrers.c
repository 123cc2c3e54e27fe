/* Referrers: distribution-spec, "Listing Referrers". They come from the index of subjects. Clients that did not find this API in
 * another registry kept them in an index under a tag made from the subject's digest ("Referrers Tag Schema"); images that were
 * copied from there bring it along, so its entries are folded in. Both lists are in digest order, which makes pages of them. */
#include "registry/registry.h"

#include "base/hex.h"
#include "oci/list.h"
#include "oci/manifest.h"
#include "registry/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { FALLBACK_TAG_MAX = 32 + 1 + 64 + 1, PAGE_BYTES_MAX = 4 * 1024 * 1024 };

struct entries {
        struct referrer *items;         /* arena */
        size_t count;
};

/* The digest with "-" for ":", the hexadecimal part cut to 64 characters. */
static void fallback_tag(const struct digest *subject, char ret_tag[static FALLBACK_TAG_MAX])
{
        struct digest_text text = digest_format(subject);

        *strchr(text.s, ':') = '-';
        snprintf(ret_tag, FALLBACK_TAG_MAX, "%.*s", (int)(strcspn(text.s, "-") + 1 + 64), text.s);
}

static bool wanted(const struct registry_referrers_request *request, const struct referrer *entry)
{
        if (request->has_last && digest_compare(&entry->digest, &request->last) <= 0)
                return false;
        for (size_t i = 0; i < request->type_count; i++)
                if (slice_eq(request->types[i], entry->artifact_type))
                        return true;
        return request->type_count == 0;
}

static int by_digest(const void *a, const void *b)
{
        const struct referrer *x = a, *y = b;

        return digest_compare(&x->digest, &y->digest);
}

/* What the fallback tag lists, filtered and in order. No such tag: nothing. */
static RESULT fallback_entries(struct registry *registry, const struct registry_referrers_request *request, struct arena *arena,
                               struct entries *ret_entries, struct err *e)
{
        char tag[FALLBACK_TAG_MAX];
        struct meta_manifest index;
        struct entries all, kept = { 0 };

        *ret_entries = kept;
        fallback_tag(&request->subject, tag);
        if (!meta_manifest_get(registry->meta, request->repository, NULL, slice_from(tag), true, arena, &index, e).ok)
                return e->code == ERR_MANIFEST_UNKNOWN || e->code == ERR_NAME_UNKNOWN ? OK : FAILED;
        if (!index_referrers_parse(index.payload, arena, &all.items, &all.count, e).ok)
                return e->code == ERR_NOMEM ? FAILED : OK;      /* some other manifest under such a name: it lists nobody */
        kept.items = all.items;
        for (size_t i = 0; i < all.count; i++)
                if (wanted(request, &all.items[i]))
                        kept.items[kept.count++] = all.items[i];
        if (kept.count)
                qsort(kept.items, kept.count, sizeof *kept.items, by_digest);
        *ret_entries = kept;
        return OK;
}

static struct referrer referrer_of_row(const struct meta_manifest *row)
{
        return (struct referrer){
                .digest = row->digest,
                .size = row->size,
                .media_type = row->media_type,
                .artifact_type = row->artifact_type,
                .annotations = row->annotations,
        };
}

/* Does an entry of the fallback tag come next? Behind the last row that was looked at stand rows that the next page will have. */
static bool has_entry(const struct entries *fallback, size_t f, const struct meta_referrers *rows)
{
        return f < fallback->count && (!rows->more || digest_compare(&fallback->items[f].digest, &rows->last) <= 0);
}

/* Merges both lists up to n entries or PAGE_BYTES_MAX; of equal digests the row is taken. */
static void merge(const struct meta_referrers *rows, const struct entries *fallback, size_t n, struct registry_referrers_page *page)
{
        size_t r = 0, f = 0, bytes = 0;

        while (page->count < n && bytes < PAGE_BYTES_MAX && (r < rows->count || has_entry(fallback, f, rows))) {
                int order = r == rows->count               ? 1
                            : !has_entry(fallback, f, rows) ? -1
                                                           : digest_compare(&rows->manifests[r].digest, &fallback->items[f].digest);
                struct referrer next = order <= 0 ? referrer_of_row(&rows->manifests[r]) : fallback->items[f];

                r += order <= 0;
                f += order >= 0;
                bytes += next.annotations.n;
                if (page->count == 0 || !digest_eq(&page->referrers[page->count - 1].digest, &next.digest))
                        page->referrers[page->count++] = next;
        }
        page->more = rows->more || r < rows->count || f < fallback->count;
        page->last = rows->last;
        if (page->count && (r < rows->count || has_entry(fallback, f, rows)))
                page->last = page->referrers[page->count - 1].digest;
}

RESULT registry_referrers(struct registry *registry, const struct registry_referrers_request *request, struct arena *arena,
                          struct registry_referrers_page *ret_page, struct err *e)
{
        struct registry_referrers_page page = { 0 };
        struct meta_referrers rows;
        struct entries fallback;
        size_t room;

        TRY(meta_referrers_page(registry->meta, request->repository, &request->subject, request->has_last ? &request->last : NULL,
                                request->n, request->types, request->type_count, arena, &rows, e));
        TRY(fallback_entries(registry, request, arena, &fallback, e));
        room = MIN(request->n, rows.count + fallback.count);
        page.referrers = arena_alloc(arena, (room + 1) * sizeof *page.referrers);
        if (!page.referrers)
                return FAIL(e, ERR_NOMEM, 0, "no memory for a page of %zu referrers", room);
        merge(&rows, &fallback, room, &page);
        *ret_page = page;
        return OK;
}
