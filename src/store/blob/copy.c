#include "store/blob/copy.h"

#include "base/fs.h"
#include "base/hex.h"
#include "store/blob/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { STEP_BYTES = 1024 * 1024, FOLDERS = 256, NAME_BYTES_MAX = 256 };

static const struct algorithm {
        const char *name;
        enum sha_algorithm algorithm;
} algorithms[] = { { "sha256", SHA_256 }, { "sha512", SHA_512 } };

struct copy {
        struct blob_store *from, *to;           /* owned */
        char *bytes;                            /* owned, STEP_BYTES */
        bool cannot_clone, cannot_link;         /* the target's file system said so */
        bool used[ARRAY_LEN(algorithms)][FOLDERS];      /* folders that hold objects of this copy */
};

RESULT copy_open(const char *from_dir, const char *to_dir, struct copy **ret_copy, struct err *e)
{
        _cleanup_(copy_freep) struct copy *copy = calloc(1, sizeof *copy);

        if (copy)
                copy->bytes = malloc(STEP_BYTES);
        if (!copy || !copy->bytes)
                return FAIL(e, ERR_NOMEM, ENOMEM, "copy a store");
        TRY(blob_fs_open(from_dir, &copy->from, e));
        TRY(blob_fs_open(to_dir, &copy->to, e));
        *ret_copy = TAKE_PTR(copy);
        return OK;
}

void copy_free(struct copy *copy)
{
        if (!copy)
                return;
        blob_store_free(copy->from);
        blob_store_free(copy->to);
        free(copy->bytes);
        free(copy);
}

/* --- Reading ---------------------------------------------------------------------------------------------------------- */

static struct result fail_digest(const struct copy_item *item, const char *path, struct err *e)
{
        return FAIL(e, ERR_CORRUPT, 0, "the bytes of %s are not those of its digest %s", path, digest_format(&item->digest).s);
}

/* Reads the file and, where `to_fd` is one, writes it there; its bytes must be those of the digest. */
static RESULT read_through(struct copy *copy, const struct copy_item *item, int fd, int to_fd, const char *path, struct err *e)
{
        struct digest have;
        uint64_t offset = 0;
        struct sha sha;
        size_t n;

        sha_init(&sha, item->digest.algorithm);
        do {
                TRY(fs_read_at(fd, offset, copy->bytes, STEP_BYTES, &n, path, e));
                sha_update(&sha, copy->bytes, n);
                if (to_fd >= 0)
                        TRY(fs_write_at(to_fd, offset, copy->bytes, n, path, e));
                offset += n;
        } while (n == STEP_BYTES);
        digest_of_sha(&sha, &have);
        return digest_eq(&have, &item->digest) ? OK : fail_digest(item, path, e);
}

static RESULT verify_target(struct copy *copy, const struct copy_item *item, const char *path, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "open %s", path);
        return read_through(copy, item, fd, -1, path, e);
}

/* Does the target have it? With `verify` a damaged one is removed. */
static RESULT look_at_target(struct copy *copy, const struct copy_item *item, const char *path, bool verify, bool *ret_there,
                             struct err *e)
{
        struct stat st;

        *ret_there = false;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? OK : FAIL(e, ERR_IO, errno, "look at %s", path);
        if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == item->size) {
                *ret_there = true;
                if (!verify || verify_target(copy, item, path, e).ok)
                        return OK;
                if (e->code != ERR_CORRUPT)
                        return FAILED;
                *ret_there = false;
        }
        return fs_remove(path, e);
}

static RESULT open_source(struct copy *copy, const struct copy_item *item, int *ret_fd, struct err *e)
{
        _cleanup_fd_ int fd = -1;
        uint64_t size;

        if (!blob_open(copy->from, &item->digest, &item->id, &fd, &size, e).ok) {
                if (e->code == ERR_NOT_FOUND)
                        return FAIL(e, ERR_NOT_FOUND, 0, "the file of blob %s is missing from the store",
                                    digest_format(&item->digest).s);
                return FAILED;
        }
        if (size != item->size)
                return FAIL(e, ERR_CORRUPT, 0, "the file of blob %s has %llu bytes instead of %llu", digest_format(&item->digest).s,
                            (unsigned long long)size, (unsigned long long)item->size);
        *ret_fd = TAKE_FD(fd);
        return OK;
}

/* --- Writing ---------------------------------------------------------------------------------------------------------- */

/* A file under a name for the meanwhile: it takes its own when its bytes are on stable storage. */
struct draft {
        const char *path;               /* borrowed */
        char temporary[PATH_MAX + 8];
        int fd;                         /* owned */
};

static void draft_fini(struct draft *draft)
{
        if (draft->fd < 0)
                return;
        unlink(draft->temporary);
        close(draft->fd);
}

static RESULT draft_begin(struct draft *draft, const char *path, struct err *e)
{
        draft->path = path;
        snprintf(draft->temporary, sizeof draft->temporary, "%s.tmp", path);
        TRY(fs_remove(draft->temporary, e));
        draft->fd = open(draft->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return draft->fd < 0 ? FAIL(e, ERR_IO, errno, "create %s", draft->temporary) : OK;
}

static RESULT draft_finish(struct draft *draft, struct err *e)
{
        if (fchmod(draft->fd, 0444) < 0)
                return FAIL(e, ERR_IO, errno, "set the mode of %s", draft->temporary);
        TRY(fs_sync(draft->fd, draft->temporary, e));
        TRY(fs_rename(draft->temporary, draft->path, e));
        cleanup_fd(&draft->fd);
        draft->fd = -1;
        return OK;
}

/* Another file system, one that cannot do it, or permissions: then there is the next way. */
static bool is_refusal(int error)
{
        return error == EXDEV || error == EOPNOTSUPP || error == ENOTTY || error == EINVAL || error == EPERM || error == EACCES ||
               error == ENOENT || error == ENOSYS;
}

static RESULT clone_file(struct copy *copy, int from_fd, const char *path, bool *ret_done, struct err *e)
{
        _cleanup_(draft_fini) struct draft draft = { .fd = -1 };

        *ret_done = false;
        if (copy->cannot_clone)
                return OK;
        TRY(draft_begin(&draft, path, e));
        if (ioctl(draft.fd, FICLONE, from_fd) < 0) {
                copy->cannot_clone = is_refusal(errno);
                return copy->cannot_clone ? OK : FAIL(e, ERR_IO, errno, "share the bytes of %s", path);
        }
        *ret_done = true;
        return draft_finish(&draft, e);
}

/* The second name of a file that is open, whatever becomes of its first. A file can have too many names (EMLINK); others may
 * still get one. */
static RESULT link_file(struct copy *copy, int from_fd, const char *path, bool *ret_done, struct err *e)
{
        char source[64];

        *ret_done = false;
        if (copy->cannot_link)
                return OK;
        snprintf(source, sizeof source, "/proc/self/fd/%d", from_fd);
        *ret_done = linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0;
        if (*ret_done || errno == EMLINK)
                return OK;
        copy->cannot_link = is_refusal(errno);
        return copy->cannot_link ? OK : FAIL(e, ERR_IO, errno, "link %s", path);
}

static RESULT write_file(struct copy *copy, const struct copy_item *item, int from_fd, const char *path, struct err *e)
{
        _cleanup_(draft_fini) struct draft draft = { .fd = -1 };

        TRY(draft_begin(&draft, path, e));
        TRY(read_through(copy, item, from_fd, draft.fd, "the source", e));
        return draft_finish(&draft, e);
}

static RESULT transfer(struct copy *copy, const struct copy_item *item, int from_fd, const char *path, enum copy_way *ret_way,
                       struct err *e)
{
        bool done;

        *ret_way = COPY_CLONED;
        TRY(clone_file(copy, from_fd, path, &done, e));
        if (done)
                return OK;
        *ret_way = COPY_LINKED;
        TRY(link_file(copy, from_fd, path, &done, e));
        if (done)
                return OK;
        *ret_way = COPY_WRITTEN;
        return write_file(copy, item, from_fd, path, e);
}

/* --- One object ------------------------------------------------------------------------------------------------------- */

/* Marks the folder of the object, and makes it where it is the first in it. */
static RESULT use_folder(struct copy *copy, const struct copy_item *item, const char *path, struct err *e)
{
        char folder[PATH_MAX];
        size_t algorithm = item->digest.algorithm == algorithms[0].algorithm ? 0 : 1;
        bool *used = &copy->used[algorithm][item->digest.hash[0]];

        if (*used)
                return OK;
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        TRY(fs_mkdir_one(folder, 0755, e));
        *used = true;
        return OK;
}

RESULT copy_object(struct copy *copy, const struct copy_item *item, bool verify, enum copy_way *ret_way, struct err *e)
{
        struct path path = object_path(copy->to, &item->digest, &item->id);
        _cleanup_fd_ int fd = -1;
        bool there;

        *ret_way = COPY_KEPT;
        TRY(use_folder(copy, item, path.s, e));
        TRY(look_at_target(copy, item, path.s, verify, &there, e));
        if (there)
                return OK;
        TRY(open_source(copy, item, &fd, e));
        TRY(transfer(copy, item, fd, path.s, ret_way, e));
        return verify && *ret_way != COPY_WRITTEN ? verify_target(copy, item, path.s, e) : OK;
}

RESULT copy_sync(struct copy *copy, struct err *e)
{
        for (size_t a = 0; a < ARRAY_LEN(algorithms); a++) {
                struct path folder = algorithm_folder(copy->to, algorithms[a].name);

                for (unsigned i = 0; i < FOLDERS; i++) {
                        char path[PATH_MAX + 4];

                        snprintf(path, sizeof path, "%s/%02x", folder.s, i);
                        if (copy->used[a][i])
                                TRY(fs_sync_dir(path, e));
                }
                TRY(fs_sync_dir(folder.s, e));
        }
        return OK;
}

/* --- Sweeping --------------------------------------------------------------------------------------------------------- */

struct sweep {
        RESULT_FN(wanted, (void *arg, const struct copy_item *item, bool *ret_wanted, struct err *e));
        void *arg;
        enum sha_algorithm algorithm;
        struct copy_swept swept;
};

/* "<hex>.<id>" */
static bool parse_name(const char *name, enum sha_algorithm algorithm, struct copy_item *ret_item)
{
        struct slice rest = slice_from(name), hex;

        *ret_item = (struct copy_item){ .digest.algorithm = algorithm };
        return slice_cut(&rest, '.', &hex) && hex_decode(hex, ret_item->digest.hash, sha_hash_size(algorithm)) &&
               upload_id_parse(rest, &ret_item->id);
}

static RESULT sweep_file(struct sweep *sweep, const char *folder, const char *name, struct err *e)
{
        char path[PATH_MAX + NAME_BYTES_MAX];
        struct copy_item item;
        bool wanted = false;
        struct stat st;

        if (parse_name(name, sweep->algorithm, &item))
                TRY(sweep->wanted(sweep->arg, &item, &wanted, e));
        if (wanted)
                return OK;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
                return OK;
        sweep->swept.files++;
        sweep->swept.bytes += (uint64_t)st.st_size;
        return fs_remove(path, e);
}

static RESULT sweep_folder(struct sweep *sweep, const char *folder, struct err *e)
{
        DIR *dir = opendir(folder);
        struct result result = OK;
        struct dirent *entry;

        if (!dir)
                return errno == ENOENT ? OK : FAIL(e, ERR_IO, errno, "read folder %s", folder);
        while (result.ok && (entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        result = sweep_file(sweep, folder, entry->d_name, e);
        closedir(dir);
        return result;
}

RESULT copy_sweep(const char *dir, RESULT_FN(wanted, (void *arg, const struct copy_item *item, bool *ret_wanted, struct err *e)),
                  void *arg, struct copy_swept *ret_swept, struct err *e)
{
        struct sweep sweep = { .wanted = wanted, .arg = arg };

        for (size_t a = 0; a < ARRAY_LEN(algorithms); a++) {
                for (unsigned i = 0; i < FOLDERS; i++) {
                        char path[PATH_MAX];

                        if ((size_t)snprintf(path, sizeof path, "%s/blobs/%s/%02x", dir, algorithms[a].name, i) >= sizeof path)
                                return FAIL(e, ERR_INVALID, 0, "path too long: %s", dir);
                        sweep.algorithm = algorithms[a].algorithm;
                        TRY(sweep_folder(&sweep, path, e));
                }
        }
        *ret_swept = sweep.swept;
        return OK;
}
