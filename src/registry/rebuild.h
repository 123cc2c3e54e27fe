/* A store whose database is damaged or lost: everything comes back that can be.
 *
 *      struct rebuild rebuild = { .check = { callbacks, .arg = arg }, .lost = tell_lost };
 *      TRY(registry_rebuild(data_dir, &rebuild, e));           the caller holds the data folder's lock
 *
 *   0. lost+found/ can be written, or nothing begins (ERR_DENIED). What an interrupted run has left goes, or is ended (5).
 *   1. A new database beside the old one: what can still be read of the old one, then what the automatic copy has
 *      (store/meta/salvage.h). A database that is whole stays as it is.
 *   2. What names what, from the manifests' bytes. A blob that a manifest names and that is not stored gets a row that says so, as
 *      the scrub's marks do: it is told to be absent, and the next push of it mends the image.
 *   3. Every file that no row knows is read. What has the bytes of its name becomes a blob again: of the manifests that name it, or
 *      of nobody; then it waits for its review like any blob that no manifest names. A row without a file that nobody names goes.
 *   4. A check (registry/check.h) of the result. Files that are still unknown move to lost+found/.
 *   5. The new database is synced and checked; orlop.db, its log and the copy move to lost+found/ with the time in their names; the
 *      new one takes its place.
 *
 *      <data>/orlop.db.rebuilding      steps 1 to 4
 *      <data>/orlop.db.rebuilt         it is complete; while it is there nobody opens the store (store/meta/meta_sqlite.c)
 *
 * Nothing is deleted. Killed at any moment, the next run begins anew; or ends step 5, if orlop.db has gone by then. One thread.
 * ERR_NOT_FOUND: there is no store. ERR_UNSUPPORTED: written by a newer program. ERR_FULL and others travel up. */
#pragma once

#include "registry/check.h"
#include "store/meta/salvage.h"

struct rebuild {
        bool dry_run;                   /* tells what would come back, and changes nothing */
        struct check check;             /* callbacks, and whether all bytes are read; what it finds is told to them */
        RESULT_FN(lost, (void *arg, const struct salvage_lost *lost, struct err *e));   /* with check.arg */

        /* result */
        bool was_whole;
        char damage[200];               /* of the database as it was found */
        struct salvage_source sources[SALVAGE_ORIGINS];         /* of a database that was not whole */
        int64_t copied_us;              /* when the copy was made; 0: there is none */
        uint64_t mended;                /* blobs whose bytes were found in a file that no row knew */
        uint64_t unnamed, unnamed_bytes;/* blobs of files that no row knew and no manifest names */
        char set_aside[64];             /* the old database's name below the data folder; empty: it is where it was */
        struct meta_totals totals;
};
RESULT registry_rebuild(const char *data_dir, struct rebuild *rebuild, struct err *e);
