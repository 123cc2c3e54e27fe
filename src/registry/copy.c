#include "registry/copy.h"

#include "base/fs.h"
#include "registry/internal.h"
#include "store/meta/snapshot.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

struct file {
        char path[PATH_MAX];
};

static struct file file_of(struct registry *registry, const char *name)
{
        struct file file;

        CHECK(snprintf(file.path, sizeof file.path, "%s/%s", registry->data_dir, name) < (int)sizeof file.path);
        return file;
}

static void no_progress(void *arg, uint64_t done, uint64_t total)
{
        (void)arg, (void)done, (void)total;
}

/* A copy must not be what fills the disk. */
static RESULT check_room(struct registry *registry, const struct file *database, struct err *e)
{
        uint64_t free_bytes, total_bytes;
        struct stat st;

        if (stat(database->path, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", database->path);
        TRY(blob_store_space(registry->blobs, &free_bytes, &total_bytes, e));
        if (free_bytes / 2 < (uint64_t)st.st_size)
                return FAIL(e, ERR_FULL, 0, "too little space for a copy of the database: it has %llu bytes, %llu are free",
                            (unsigned long long)st.st_size, (unsigned long long)free_bytes);
        return OK;
}

RESULT registry_copy(struct registry *registry, struct err *e)
{
        struct file database = file_of(registry, "orlop.db"), copy = file_of(registry, REGISTRY_COPY);
        struct file partial = file_of(registry, REGISTRY_COPY ".partial");
        struct err ignored;

        TRY(check_room(registry, &database, e));
        if (!snapshot_take(database.path, partial.path, no_progress, NULL, e).ok || !fs_rename(partial.path, copy.path, e).ok) {
                IGNORE(fs_remove(partial.path, &ignored));      /* the first failure is the one to tell */
                return FAILED;
        }
        return fs_sync_dir(registry->data_dir, e);
}

static bool is_newer(const struct file *file, const struct stat *than)
{
        struct stat st;

        return stat(file->path, &st) == 0 && st.st_size > 0 &&
               (st.st_mtim.tv_sec > than->st_mtim.tv_sec ||
                (st.st_mtim.tv_sec == than->st_mtim.tv_sec && st.st_mtim.tv_nsec > than->st_mtim.tv_nsec));
}

bool registry_copy_is_current(struct registry *registry)
{
        struct file copy = file_of(registry, REGISTRY_COPY), database = file_of(registry, "orlop.db");
        struct file log = file_of(registry, "orlop.db-wal");
        struct stat st;

        return stat(copy.path, &st) == 0 && !is_newer(&database, &st) && !is_newer(&log, &st);
}

uint64_t registry_commits(struct registry *registry)
{
        return meta_commits(registry->meta);
}
