/* Blobs as files. Each path is made in one place. See blob.h for the order of the durable steps. */
#include "base/fs.h"
#include "base/rand.h"
#include "base/rules.h"
#include "store/blob/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

enum {
        RENAME_TRIES = 5,                       /* when others remove the folder as empty before the file moves into it */
        WRITE_OUT_BYTES = 8 * 1024 * 1024,
};

struct blob_upload {
        struct blob_store *store;       /* borrowed, outlives its uploads */
        struct upload_id id;
        int fd;                         /* owned */
        uint64_t size;
        uint64_t written_out;           /* up to here the disk has begun to write */
};

/* --- Paths ------------------------------------------------------------------------------------------------------------ */

static struct path uploads_folder(const struct blob_store *store)
{
        struct path path;

        CHECK(snprintf(path.s, sizeof path.s, "%s/uploads", store->data_dir) < (int)sizeof path.s);
        return path;
}

static struct path upload_path(const struct blob_store *store, const struct upload_id *id)
{
        struct path path;

        CHECK(snprintf(path.s, sizeof path.s, "%s/uploads/%s", store->data_dir, id->s) < (int)sizeof path.s);
        return path;
}

struct path algorithm_folder(const struct blob_store *store, const char *algorithm)
{
        struct path path;

        CHECK(snprintf(path.s, sizeof path.s, "%s/blobs/%s", store->data_dir, algorithm) < (int)sizeof path.s);
        return path;
}

struct path object_path(const struct blob_store *store, const struct digest *digest, const struct upload_id *id)
{
        struct digest_text text = digest_format(digest);
        char *hex = strchr(text.s, ':');
        struct path path;

        *hex++ = 0;
        CHECK(snprintf(path.s, sizeof path.s, "%s/blobs/%s/%.2s/%s.%s", store->data_dir, text.s, hex, hex,
                       rule_holds(RULE_UNIQUE_OBJECTS) ? id->s : "0") <
              (int)sizeof path.s);
        return path;
}

/* --- Store ------------------------------------------------------------------------------------------------------------ */

static RESULT open_store(struct blob_store *store, struct err *e)
{
        char folder[PATH_MAX];

        TRY(fs_mkdir(uploads_folder(store).s, 0755, e));
        TRY(fs_mkdir(algorithm_folder(store, "sha256").s, 0755, e));
        TRY(fs_mkdir(algorithm_folder(store, "sha512").s, 0755, e));
        snprintf(folder, sizeof folder, "%s/blobs", store->data_dir);
        TRY(fs_sync_dir(folder, e));
        return fs_sync_dir(store->data_dir, e);
}

RESULT blob_fs_open(const char *data_dir, struct blob_store **ret_store, struct err *e)
{
        _cleanup_(blob_store_freep) struct blob_store *store = calloc(1, sizeof *store);

        if (strlen(data_dir) > PATH_MAX - 256)
                return FAIL(e, ERR_INVALID, 0, "the path of the data folder is too long");
        if (store)
                store->data_dir = strdup(data_dir);
        if (!store || !store->data_dir)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open the blob store");
        TRY(open_store(store, e));
        *ret_store = TAKE_PTR(store);
        return OK;
}

void blob_store_free(struct blob_store *store)
{
        if (!store)
                return;
        free(store->data_dir);
        free(store);
}

static RESULT write_probe(const char *path, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        static const char page[4096];

        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "create %s", path);
        return fs_write_at(fd, 0, page, sizeof page, path, e);
}

RESULT blob_store_probe(struct blob_store *store, struct err *e)
{
        char path[PATH_MAX], name[17];
        struct result result;
        struct err ignored;

        rand_hex(name, 8);
        snprintf(path, sizeof path, "%s/.probe-%s", store->data_dir, name);
        result = write_probe(path, e);
        IGNORE(fs_remove(path, &ignored));      /* the probe's result is what counts */
        return result;
}

RESULT blob_store_space(struct blob_store *store, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, struct err *e)
{
        struct statvfs st;

        if (statvfs(store->data_dir, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at the file system of %s", store->data_dir);
        *ret_free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
        *ret_total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
        return OK;
}

/* The folder of the digest's first byte is made when an object is the first in it. Neither it nor the rename is synced: what a
 * power cut forgets of the two is found under the upload's name again. ERR_NOT_FOUND: no such upload. */
static RESULT move_to_place(const struct path *from, const struct path *to, struct err *e)
{
        struct path folder = *to;

        *strrchr(folder.s, '/') = 0;
        for (int i = 0; i < RENAME_TRIES; i++) {        /* an empty folder may be removed meanwhile */
                if (fs_rename(from->s, to->s, e).ok)
                        return OK;
                if (e->code != ERR_NOT_FOUND)
                        return FAILED;
                TRY(fs_mkdir_one(folder.s, 0755, e));
        }
        return fs_rename(from->s, to->s, e);
}

/* --- Uploads ---------------------------------------------------------------------------------------------------------- */

/* Whoever was killed between the sync of a whole upload and its commit has left it read-only. */
static int open_again(const char *path)
{
        return chmod(path, 0600) == 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
}

static RESULT open_upload(struct blob_store *store, const struct upload_id *id, int flags, struct blob_upload **ret_upload,
                          struct err *e)
{
        _cleanup_(blob_upload_freep) struct blob_upload *upload = calloc(1, sizeof *upload);
        struct path path = upload_path(store, id);
        struct stat st;

        if (!upload)
                return FAIL(e, ERR_NOMEM, ENOMEM, "open upload %s", id->s);
        upload->store = store;
        upload->id = *id;
        upload->fd = open(path.s, O_RDWR | O_CLOEXEC | flags, 0600);
        if (upload->fd < 0 && errno == EACCES)
                upload->fd = open_again(path.s);
        if (upload->fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path.s);
        if (fstat(upload->fd, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", path.s);
        upload->size = upload->written_out = (uint64_t)st.st_size;
        *ret_upload = TAKE_PTR(upload);
        return OK;
}

RESULT blob_upload_create(struct blob_store *store, const struct upload_id *id, struct blob_upload **ret_upload, struct err *e)
{
        return open_upload(store, id, O_CREAT | O_EXCL, ret_upload, e);
}

RESULT blob_upload_open(struct blob_store *store, const struct upload_id *id, struct blob_upload **ret_upload, struct err *e)
{
        return open_upload(store, id, 0, ret_upload, e);
}

void blob_upload_free(struct blob_upload *upload)
{
        if (!upload)
                return;
        if (upload->fd >= 0)
                close(upload->fd);
        free(upload);
}

uint64_t blob_upload_size(const struct blob_upload *upload)
{
        return upload->size;
}

RESULT blob_upload_read(struct blob_upload *upload, uint64_t offset, void *ret_bytes, size_t n, size_t *ret_n, struct err *e)
{
        return fs_read_at(upload->fd, offset, ret_bytes, n, ret_n, upload_path(upload->store, &upload->id).s, e);
}

/* The disk writes while more comes, so that the sync at the end finds little to do. That sync tells of errors, this does not. */
static void write_out(struct blob_upload *upload)
{
        if (upload->size < upload->written_out + WRITE_OUT_BYTES)
                return;
        (void)sync_file_range(upload->fd, (off_t)upload->written_out, (off_t)(upload->size - upload->written_out),
                              SYNC_FILE_RANGE_WRITE);
        upload->written_out = upload->size;
}

RESULT blob_upload_write(struct blob_upload *upload, uint64_t offset, const void *bytes, size_t n, struct err *e)
{
        TRY(fs_write_at(upload->fd, offset, bytes, n, upload_path(upload->store, &upload->id).s, e));
        upload->size = MAX(upload->size, offset + n);
        write_out(upload);
        return OK;
}

RESULT blob_upload_truncate(struct blob_upload *upload, uint64_t size, struct err *e)
{
        if (ftruncate(upload->fd, (off_t)size) < 0)
                return FAIL(e, ERR_IO, errno, "shorten %s", upload_path(upload->store, &upload->id).s);
        upload->size = size;
        return OK;
}

/* The mode goes with the same sync: a published file is read-only. */
RESULT blob_upload_sync(struct blob_upload *upload, struct err *e)
{
        struct path path = upload_path(upload->store, &upload->id);

        if (fchmod(upload->fd, 0444) < 0)
                return FAIL(e, ERR_IO, errno, "set the mode of %s", path.s);
        TRY(fs_sync(upload->fd, path.s, e));
        return fs_sync_dir(uploads_folder(upload->store).s, e);
}

RESULT blob_upload_publish(struct blob_upload *upload, const struct digest *digest, struct err *e)
{
        struct path from = upload_path(upload->store, &upload->id), to = object_path(upload->store, digest, &upload->id);

        return move_to_place(&from, &to, e);
}

RESULT blob_upload_remove(struct blob_store *store, const struct upload_id *id, struct err *e)
{
        return fs_remove(upload_path(store, id).s, e);
}

RESULT blob_upload_list(struct blob_store *store, RESULT_FN(fn, (void *arg, const struct upload_id *id, struct err *e)), void *arg,
                        struct err *e)
{
        struct path path = uploads_folder(store);
        DIR *folder = opendir(path.s);
        struct result result = OK;
        struct dirent *entry;

        if (!folder)
                return FAIL(e, ERR_IO, errno, "read folder %s", path.s);
        while (result.ok && (entry = readdir(folder))) {
                struct upload_id id;

                if (upload_id_parse(slice_from(entry->d_name), &id))
                        result = fn(arg, &id, e);
        }
        closedir(folder);
        return result;
}

/* --- Objects ---------------------------------------------------------------------------------------------------------- */

/* A crash between commit and rename left the object under its upload's name. Two may come here at once: then one of them finds
 * the rename done. */
static RESULT finish_rename(struct blob_store *store, const struct digest *digest, const struct upload_id *id, struct err *e)
{
        struct path from = upload_path(store, id), to = object_path(store, digest, id);

        if (!move_to_place(&from, &to, e).ok && e->code != ERR_NOT_FOUND)
                return FAILED;
        return OK;
}

bool blob_open_now(struct blob_store *store, const struct digest *digest, const struct upload_id *id, int *ret_fd, uint64_t *ret_size)
{
        struct path path = object_path(store, digest, id);
        struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_CACHED };
        _cleanup_fd_ int fd = (int)syscall(SYS_openat2, AT_FDCWD, path.s, &how, sizeof how);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return false;
        *ret_fd = TAKE_FD(fd);
        *ret_size = (uint64_t)st.st_size;
        return true;
}

static RESULT open_object(const char *path, int *ret_fd, uint64_t *ret_size, struct err *e)
{
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return FAIL(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open %s", path);
        if (fstat(fd, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", path);
        *ret_fd = TAKE_FD(fd);
        *ret_size = (uint64_t)st.st_size;
        return OK;
}

RESULT blob_open(struct blob_store *store, const struct digest *digest, const struct upload_id *id, int *ret_fd,
                 uint64_t *ret_size, struct err *e)
{
        struct path path = object_path(store, digest, id);

        if (open_object(path.s, ret_fd, ret_size, e).ok)
                return OK;
        if (e->code != ERR_NOT_FOUND)
                return FAILED;
        TRY(finish_rename(store, digest, id, e));
        return open_object(path.s, ret_fd, ret_size, e);
}

RESULT blob_remove(struct blob_store *store, const struct digest *digest, const struct upload_id *id, struct err *e)
{
        struct path object = object_path(store, digest, id), folder = object;

        TRY(fs_remove(upload_path(store, id).s, e));
        TRY(fs_remove(object.s, e));
        *strrchr(folder.s, '/') = 0;
        if (rmdir(folder.s) == 0 || errno == ENOENT)
                *strrchr(folder.s, '/') = 0;
        return fs_sync_dir(folder.s, e);
}
