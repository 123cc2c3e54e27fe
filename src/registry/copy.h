/* The automatic copy of the database, <data>/orlop.db.copy: what names are brought back from when the database is lost
 * (`orlop check` tells how). It takes the place of the one before whole or not at all. */
#pragma once

#include "registry/registry.h"

#define REGISTRY_COPY "orlop.db.copy"

/* Waits for no writer and makes none wait. ERR_FULL: there is not twice the room that it needs. */
RESULT registry_copy(struct registry *registry, struct err *e);
/* Is there a copy, and was nothing written to the database since? For the first turn after a start. */
bool registry_copy_is_current(struct registry *registry);
uint64_t registry_commits(struct registry *registry);
