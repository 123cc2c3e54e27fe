/* A new database made of what is left of damaged ones: the original first, then its automatic copy, which is older.
 *
 *      struct salvage salvage = { .from = { "<data>/orlop.db", "<data>/orlop.db.copy" }, .to = "<data>/orlop.db.rebuilding",
 *                                 .mending = { "<data>/orlop.db.mending", "<data>/orlop.db.copy.mending" },
 *                                 .lost = tell_lost, .progress = tell, .arg = arg };
 *      TRY(salvage_run(&salvage, e));
 *
 * Rows of the two are matched by what they name (repository, digest, tag), never by their numbers. Of each the original's counts
 * where it can be read. Where all the original's manifests (or tags) can be read, one that only the copy has was deleted since, and
 * stays so. A manifest is taken if its bytes are those of its digest, a tag if its manifest was.
 *
 * An original whose log was lost (original_is_stale) may be older than the copy: then nothing was deleted since, and of two tags of
 * one name the younger counts.
 *
 * What names what is not taken over: it is made anew from the manifests' bytes (registry/rebuild.h). Until then the new database is
 * good, but lacks it.
 *
 * The sources are only read. The target is replaced; it is synced by whoever settles it (snapshot_settle()). One thread.
 * ERR_UNSUPPORTED: a newer program wrote a source. ERR_FULL and others of the target travel up. */
#pragma once

#include "oci/digest.h"
#include "store/meta/snapshot.h"

enum salvage_origin { SALVAGE_ORIGINAL, SALVAGE_COPY, SALVAGE_ORIGINS };

struct salvage_lost {
        struct slice repository;        /* valid during the call */
        struct slice tag;               /* empty: a manifest */
        struct digest digest;           /* of the manifest; algorithm 0: not known */
        bool is_served;                 /* a tag: it came back with an image that may be older */
};

struct salvage_source {
        bool found, readable;
        bool whole;                     /* every row could be read and was good */
        char why[160];                  /* it is not readable */
        uint64_t repositories, tags, manifests, blobs;          /* that came from it */
};

struct salvage {
        const char *from[SALVAGE_ORIGINS], *mending[SALVAGE_ORIGINS];
        const char *to;
        bool original_is_stale;         /* its log cannot be read: what it lacks may be younger than it */
        /* For what is known to have been there and is in neither; by name. */
        RESULT_FN(lost, (void *arg, const struct salvage_lost *lost, struct err *e));
        snapshot_progress_fn *progress; /* rows that were read; a total of 0 */
        void *arg;
        struct salvage_source sources[SALVAGE_ORIGINS];         /* result */
};
RESULT salvage_run(struct salvage *salvage, struct err *e);
