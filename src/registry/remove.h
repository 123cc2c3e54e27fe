/* Removing much, and seeing what takes the space: for a person (store/meta/remove.h). */
#pragma once

#include "registry/registry.h"
#include "store/meta/remove.h"

RESULT registry_repository_strip(struct registry *registry, struct slice repository, struct meta_stripping *stripping, struct err *e);
RESULT registry_tag_remove(struct registry *registry, struct slice repository, struct slice tag, bool *ret_manifest_too, struct err *e);
RESULT registry_usage_each(struct registry *registry, meta_usage_fn *fn, void *arg, struct err *e);
