/* Memory that was freed stays with the process, for what comes next: after much was needed for a moment it is better given back. */
#pragma once

#include "base/pool.h"

/* Gives free pages of the heap back to the system, soon, on a worker. Any thread. It takes some milliseconds for 50 MB, and whoever
 * needs memory waits for it. */
void heap_trim_soon(struct pool *pool);
