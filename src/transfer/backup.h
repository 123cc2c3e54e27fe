/* A store copied as of one moment: backups, and what is restored from them.
 *
 *      struct backup backup = { .from = "<data>", .to = "/backup/orlop", .progress = … };
 *      TRY(backup_run(&backup, &report, e));
 *
 * The registry on `from` may run; nothing waits for the backup, except that bytes which the collector would remove stay until it
 * has ended (store/blob/hold.h). The target is a store like any other: `orlop serve --data` works on it.
 *
 *      <to>/lock               held while it is written
 *      <to>/orlop.db.partial   the copy of the database, until all that it names is there
 *      <to>/blobs/…            objects of the older state and the new one
 *      <to>/tls/               the authority and the certificate
 *      <to>/orlop.db           the rename to this name ends the old state and begins the new one
 *      <to>/backup             says that the folder is a backup, so that the next run may replace what is in it
 *
 * Whenever it is interrupted, the target is the older state, whole, or no store that anybody would open (orlop.db.partial alone).
 * The next run goes on where it was. What the new state does not name is removed when the new state is on stable storage.
 *
 * One thread; no other job on the same target (ERR_BUSY). ERR_NOT_FOUND: no store in `from`. ERR_EXISTS: the target holds something
 * that must not be replaced. Others travel up. */
#pragma once

#include "store/blob/copy.h"
#include "store/meta/snapshot.h"
#include "transfer/progress.h"

enum backup_kind {
        BACKUP_TAKE,            /* the target is new, or a backup */
        BACKUP_RESTORE,         /* the target is new, and becomes a store of its own */
};

struct backup {
        enum backup_kind kind;
        const char *from, *to;
        bool verify;            /* read all bytes of the target and hold them against their digests */
        bool force;             /* replace a backup that somebody has pushed to */
        struct progress progress;
};

struct backup_report {
        struct snapshot_totals totals;
        struct backup_count {
                uint64_t files, bytes;
        } ways[COPY_WAYS];
        struct copy_swept swept;
        uint64_t damaged;       /* objects that the source lacks or that are damaged there: told by progress.complain() */
};
RESULT backup_run(const struct backup *backup, struct backup_report *ret_report, struct err *e);
