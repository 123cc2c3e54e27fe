#include "store/blob/survey.h"

#include "base/fs.h"
#include "base/hex.h"
#include "store/blob/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { SAME_NAMES_MAX = 10000 };

struct walk {
        struct blob_store *store;
        survey_fn *fn;
        void *arg;
        char below[64];                 /* the folder, below the data folder */
        enum sha_algorithm algorithm;   /* of objects in it; 0: uploads */
};

/* "<hex>.<id>", in the folder of its first byte. */
static bool parse_object(const struct walk *walk, const char *name, struct survey_file *file)
{
        struct slice rest = slice_from(name), hex;

        file->digest.algorithm = walk->algorithm;
        return slice_cut(&rest, '.', &hex) && hex_decode(hex, file->digest.hash, sha_hash_size(walk->algorithm)) &&
               upload_id_parse(rest, &file->id) && slice_ends(slice_from(walk->below), slice_head(hex, 2));
}

static RESULT walk_file(const struct walk *walk, const char *name, struct err *e)
{
        struct survey_file file = { .age_s = 0 };
        char path[PATH_MAX], whole[2 * PATH_MAX];
        struct stat st;

        if ((size_t)snprintf(path, sizeof path, "%s/%s", walk->below, name) >= sizeof path)
                return OK;
        snprintf(whole, sizeof whole, "%s/%s", walk->store->data_dir, path);
        if (lstat(whole, &st) < 0 || !S_ISREG(st.st_mode))
                return OK;
        file.path = slice_from(path);
        file.size = (uint64_t)st.st_size;
        file.age_s = (int64_t)time(NULL) - st.st_mtim.tv_sec;
        if (walk->algorithm)
                file.is_object = parse_object(walk, name, &file);
        else
                file.is_upload = upload_id_parse(slice_from(name), &file.id);
        return walk->fn(walk->arg, &file, e);
}

static RESULT walk_folder(const struct walk *walk, struct err *e)
{
        char path[2 * PATH_MAX];
        struct result result = OK;
        struct dirent *entry;
        DIR *dir;

        snprintf(path, sizeof path, "%s/%s", walk->store->data_dir, walk->below);
        dir = opendir(path);
        if (!dir)
                return errno == ENOENT ? OK : FAIL(e, ERR_IO, errno, "read folder %s", path);
        while (result.ok && (entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        result = walk_file(walk, entry->d_name, e);
        closedir(dir);
        return result;
}

static RESULT walk_objects(struct walk *walk, const char *algorithm_name, enum sha_algorithm algorithm, struct err *e)
{
        walk->algorithm = algorithm;
        for (unsigned i = 0; i < 256; i++) {
                snprintf(walk->below, sizeof walk->below, "blobs/%s/%02x", algorithm_name, i);
                TRY(walk_folder(walk, e));
        }
        snprintf(walk->below, sizeof walk->below, "blobs/%s", algorithm_name);
        return walk_folder(walk, e);
}

RESULT survey_each(struct blob_store *store, survey_fn *fn, void *arg, struct err *e)
{
        struct walk walk = { .store = store, .fn = fn, .arg = arg };

        TRY(walk_objects(&walk, "sha256", SHA_256, e));
        TRY(walk_objects(&walk, "sha512", SHA_512, e));
        snprintf(walk.below, sizeof walk.below, "uploads");
        walk.algorithm = 0;
        return walk_folder(&walk, e);
}

/* A name that is free in lost+found. */
static RESULT free_name(const struct blob_store *store, struct slice name, char ret_path[static 2 * PATH_MAX], struct err *e)
{
        snprintf(ret_path, 2 * PATH_MAX, "%s/lost+found/%.*s", store->data_dir, SLICE_ARG(name));
        for (int i = 1; access(ret_path, F_OK) == 0; i++) {
                if (i > SAME_NAMES_MAX)
                        return FAIL(e, ERR_EXISTS, 0, "too many files of one name in %s/lost+found", store->data_dir);
                snprintf(ret_path, 2 * PATH_MAX, "%s/lost+found/%.*s.%d", store->data_dir, SLICE_ARG(name), i);
        }
        return OK;
}

RESULT survey_may_set_aside(const char *data_dir, struct err *e)
{
        char folder[PATH_MAX];

        if ((size_t)snprintf(folder, sizeof folder, "%s/lost+found", data_dir) >= sizeof folder)
                return FAIL(e, ERR_INVALID, 0, "the path of the data folder is too long");
        if (access(folder, R_OK | W_OK | X_OK) == 0 || errno == ENOENT)
                return OK;
        return FAIL(e, errno == EACCES ? ERR_DENIED : ERR_IO, errno, "write in %s (as root: chown --reference=%s %s)", folder, data_dir,
                    folder);
}

RESULT survey_set_aside_as(struct blob_store *store, struct slice path, struct slice as, struct err *e)
{
        char from[2 * PATH_MAX], to[2 * PATH_MAX], folder[PATH_MAX];

        TRY(survey_may_set_aside(store->data_dir, e));
        snprintf(folder, sizeof folder, "%s/lost+found", store->data_dir);
        TRY(fs_mkdir(folder, 0700, e));
        snprintf(from, sizeof from, "%s/%.*s", store->data_dir, SLICE_ARG(path));
        TRY(free_name(store, as, to, e));
        TRY(fs_rename(from, to, e));
        return fs_sync_dir(folder, e);
}

RESULT survey_set_aside(struct blob_store *store, struct slice path, struct err *e)
{
        const char *slash = memrchr(path.p, '/', path.n);

        return survey_set_aside_as(store, path, slash ? slice_skip(path, (size_t)(slash - path.p) + 1) : path, e);
}
