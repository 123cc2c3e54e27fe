/* Holding objects in place while somebody reads the store from outside the daemon (a backup).
 *
 * The reader:                                        who removes objects that nobody names (the collector, a backup's own cleaning):
 *      TRY(hold_objects(data_dir, &fd, e));                TRY(hold_begin_removal(data_dir, &fd, e));      ERR_BUSY: another time
 *      ... copy the database, then the files ...           ... remove a batch of files ...
 *      close(fd);                                          close(fd);
 *
 * What the reader's copy of the database names was an object's row after hold_objects() returned, so its file is removed after a
 * hold_begin_removal() that began later, and that fails while the hold lasts. Both are locks (flock(2)) on the folder
 * <data>/blobs: nothing is written, several readers hold at once, and a reader that dies holds nothing.
 *
 * Any process, any thread. ERR_NOT_FOUND: no store there. ERR_IO. */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

/* Waits until a removal that is under way has ended. */
RESULT hold_objects(const char *data_dir, int *ret_fd, struct err *e);
/* ERR_BUSY: somebody holds the objects. */
RESULT hold_begin_removal(const char *data_dir, int *ret_fd, struct err *e);
