#include "registry/remove.h"

#include "registry/internal.h"

RESULT registry_repository_strip(struct registry *registry, struct slice repository, struct meta_stripping *stripping, struct err *e)
{
        return meta_repository_strip(registry->meta, repository, stripping, e);
}

RESULT registry_tag_remove(struct registry *registry, struct slice repository, struct slice tag, bool *ret_manifest_too, struct err *e)
{
        return meta_tag_remove(registry->meta, repository, tag, ret_manifest_too, e);
}

RESULT registry_usage_each(struct registry *registry, meta_usage_fn *fn, void *arg, struct err *e)
{
        return meta_usage_each(registry->meta, fn, arg, e);
}
