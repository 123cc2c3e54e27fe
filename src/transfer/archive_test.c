/* Archives as they come from anywhere, their documents, and archives that are written. */
#include "transfer/archive_in.h"
#include "transfer/archive_out.h"
#include "transfer/layout.h"
#include "transfer/tar.h"

#include "base/fs.h"
#include "base/testing.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#define must(expr) \
        do { \
                if (!(expr).ok) \
                        fail_msg("%s: %s", #expr, e.message); \
        } while (0)
#define must_fail(expr, want) \
        do { \
                assert_false((expr).ok); \
                if (e.code != (want)) \
                        fail_msg("%s: error %d: %s", #expr, (int)e.code, e.message); \
        } while (0)

#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct world {
        char folder[64], tar[80];
        struct arena arena;
};

static struct err e;

static int set_up(void **state)
{
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->folder, sizeof w->folder, "/tmp/orlop-archive-test-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        snprintf(w->tar, sizeof w->tar, "%s/test.tar", w->folder);
        w->arena = ARENA_INIT(16 * 1024 * 1024);
        *state = w;
        return 0;
}

static int tear_down(void **state)
{
        struct world *w = *state;

        remove_tree(w->folder);
        arena_fini(&w->arena);
        free(w);
        return 0;
}

/* --- Making archives -------------------------------------------------------------------------------------------------- */

struct made {
        const char *path, *link;        /* link: symbolic, or NULL */
        bool hard;
        const char *bytes;
};

static void make_tar(struct world *w, const struct made *entries, size_t count, int filter)
{
        struct archive *archive = archive_write_new();
        struct archive_entry *entry = archive_entry_new();

        archive_write_add_filter(archive, filter);
        archive_write_set_format_gnutar(archive);
        assert_int_equal(archive_write_open_filename(archive, w->tar), ARCHIVE_OK);
        for (size_t i = 0; i < count; i++) {
                size_t n = entries[i].bytes ? strlen(entries[i].bytes) : 0;

                archive_entry_clear(entry);
                archive_entry_set_pathname(entry, entries[i].path);
                archive_entry_set_filetype(entry, entries[i].link && !entries[i].hard ? AE_IFLNK : AE_IFREG);
                if (entries[i].link && entries[i].hard)
                        archive_entry_set_hardlink(entry, entries[i].link);
                else if (entries[i].link)
                        archive_entry_set_symlink(entry, entries[i].link);
                archive_entry_set_perm(entry, 0644);
                archive_entry_set_size(entry, (la_int64_t)n);
                assert_true(archive_write_header(archive, entry) >= ARCHIVE_WARN);
                if (n)
                        assert_int_equal(archive_write_data(archive, entries[i].bytes, n), n);
        }
        archive_entry_free(entry);
        assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
        archive_write_free(archive);
}

/* Reads all of it: a line an entry, "path=bytes" or "path>target". */
static RESULT read_all(const char *path, struct buf *text, struct err *err)
{
        _cleanup_(archive_in_freep) struct archive_in *in = NULL;
        struct archive_entry_in entry;
        char room[64];
        bool found;
        size_t n;

        TRY(archive_in_open(path, &in, err));
        for (;;) {
                TRY(archive_in_next(in, &entry, &found, err));
                if (!found)
                        return OK;
                if (entry.kind == ARCHIVE_LINK)
                        buf_printf(text, "%s>%s\n", entry.path, entry.target);
                if (entry.kind != ARCHIVE_FILE)
                        continue;
                TRY(archive_in_read(in, room, sizeof room, &n, err));
                assert_int_equal(n, MIN(entry.size, (uint64_t)sizeof room));
                buf_printf(text, "%s=%.*s\n", entry.path, (int)n, room);
        }
}

static RESULT read_it(struct world *w, const struct made *entries, size_t count, struct buf *text)
{
        make_tar(w, entries, count, ARCHIVE_FILTER_NONE);
        return read_all(w->tar, text, &e);
}

/* --- Reading ---------------------------------------------------------------------------------------------------------- */

static void entries_come_as_they_stand(void **state)
{
        static const struct made entries[] = {
                { .path = "./index.json", .bytes = "{}" },
                { .path = "blobs//sha256/./ab", .bytes = "blob" },
                { .path = "a/layer.tar", .link = "../b/layer.tar" },
                { .path = "c/layer.tar", .link = "b/layer.tar", .hard = true },
                { .path = "empty" },
        };
        static const int filters[] = { ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
                _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);

                make_tar(w, entries, ARRAY_LEN(entries), filters[i]);
                must(read_all(w->tar, &text, &e));
                assert_string_equal(buf_cstr(&text), "index.json={}\nblobs/sha256/ab=blob\na/layer.tar>b/layer.tar\n"
                                                     "c/layer.tar>b/layer.tar\nempty=\n");
        }
}

static void hostile_names_are_refused(void **state)
{
        static char long_name[ARCHIVE_PATH_MAX + 1];
        static const struct made wrong[] = {
                { .path = "../outside", .bytes = "x" },
                { .path = "blobs/../../outside", .bytes = "x" },
                { .path = "/etc/passwd", .bytes = "x" },
                { .path = "blobs/a\nb", .bytes = "x" },
                { .path = "blobs/\033[2Jx", .bytes = "x" },
                { .path = "link", .link = "../../etc/passwd" },
                { .path = "link", .link = "/etc/passwd" },
                { .path = "link", .link = "../x", .hard = true },
                { .path = long_name, .bytes = "x" },
        };
        struct world *w = *state;

        memset(long_name, 'n', ARCHIVE_PATH_MAX);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);

                must_fail(read_it(w, &wrong[i], 1, &text), ERR_INVALID);
                for (const char *c = e.message; *c; c++)
                        assert_true((unsigned char)*c >= 0x20);
        }
}

static void damaged_archives_are_refused(void **state)
{
        static const struct made entries[] = { { .path = "a", .bytes = "0123456789" }, { .path = "b", .bytes = "0123456789" } };
        static const char *const wrong[] = { "no archive at all, but text that could be looked at for long", "\x1f\x8b\x08 broken gzip" };
        struct world *w = *state;
        _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);

        make_tar(w, entries, ARRAY_LEN(entries), ARCHIVE_FILTER_NONE);
        assert_int_equal(truncate(w->tar, 3 * 512 + 5), 0);     /* within the second entry */
        must_fail(read_all(w->tar, &text, &e), ERR_INVALID);
        make_tar(w, entries, ARRAY_LEN(entries), ARCHIVE_FILTER_GZIP);
        assert_int_equal(truncate(w->tar, 60), 0);
        must_fail(read_all(w->tar, &text, &e), ERR_INVALID);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                must(fs_publish_file(w->tar, slice_from(wrong[i]), 0600, &e));
                must_fail(read_all(w->tar, &text, &e), ERR_INVALID);
        }
        must_fail(read_all("/nowhere/x.tar", &text, &e), ERR_NOT_FOUND);
}

static void too_many_entries_are_refused(void **state)
{
        struct world *w = *state;
        struct made *entries = calloc(ARCHIVE_ENTRIES_MAX + 1, sizeof *entries);
        struct archive_entry_in entry;
        struct archive_in *in;
        bool found;

        for (size_t i = 0; i <= ARCHIVE_ENTRIES_MAX; i++)
                entries[i].path = "same";
        make_tar(w, entries, ARCHIVE_ENTRIES_MAX + 1, ARCHIVE_FILTER_GZIP);
        free(entries);
        must(archive_in_open(w->tar, &in, &e));
        for (size_t i = 0; i < ARCHIVE_ENTRIES_MAX; i++)
                must(archive_in_next(in, &entry, &found, &e));
        must_fail(archive_in_next(in, &entry, &found, &e), ERR_LIMIT);
        archive_in_free(in);
}

static void paths_are_joined(void **state)
{
        static const struct {
                const char *folder, *path, *want;       /* NULL: it leads out */
        } rows[] = {
                { "", "a/./b//c", "a/b/c" }, { "x/y", "../z", "x/z" }, { "x", "../../z", NULL }, { "x", "/z", NULL },
                { "", "..", NULL }, { "", "", NULL }, { "x", "..", NULL }, { "a/b", "../../c/../d", "d" },
        };
        char path[ARCHIVE_PATH_MAX];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                bool ok = archive_path_join(slice_from(rows[i].folder), slice_from(rows[i].path), path);

                assert_int_equal(ok, rows[i].want != NULL);
                if (ok)
                        assert_string_equal(path, rows[i].want);
        }
}

static void long_names_are_read(void **state)
{
        struct world *w = *state;
        char name[300];
        struct made entry = { .path = name, .bytes = "x" };
        _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);

        memset(name, 'n', sizeof name);
        for (size_t i = 20; i < sizeof name; i += 20)
                name[i] = '/';
        name[sizeof name - 1] = 0;
        must(read_it(w, &entry, 1, &text));     /* GNU's way */
        assert_true(slice_eq(slice_head(buf_slice(&text), strlen(name)), slice_from(name)));
}

/* --- Headers ---------------------------------------------------------------------------------------------------------- */

/* A header as tar_put_file() makes it, with some bytes replaced and the checksum made right again. */
static void make_header(unsigned char block[static TAR_BLOCK], size_t at, const void *bytes, size_t n)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(4096);
        unsigned sum = 0;

        tar_put_file(&b, "name", 5);
        assert_int_equal(b.n, TAR_BLOCK);
        memcpy(block, b.p, TAR_BLOCK);
        memcpy(block + at, bytes, n);
        memset(block + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
                sum += block[i];
        snprintf((char *)block + 148, 8, "%06o", sum);
}

static void headers_are_parsed(void **state)
{
        static const struct {
                size_t at;
                const char *bytes;
                size_t n;
                bool ok;
                enum tar_kind kind;
                uint64_t size;
        } rows[] = {
                { 156, "0", 1, true, TAR_FILE, 5 },
                { 156, "\0", 1, true, TAR_FILE, 5 },
                { 156, "1", 1, true, TAR_HARD_LINK, 0 },
                { 156, "2", 1, true, TAR_SYMBOLIC_LINK, 0 },
                { 156, "5", 1, true, TAR_OTHER, 5 },
                { 156, "x", 1, true, TAR_PAX, 5 },
                { 156, "g", 1, true, TAR_OTHER, 5 },
                { 156, "S", 1, false, TAR_OTHER, 0 },
                { 124, "\x80\0\0\0\0\0\0\x02\0\0\0\x01", 12, true, TAR_FILE, 0x200000001 },
                { 124, "\x80\0\0\0\xff\0\0\x02\0\0\0\x01", 12, false, TAR_FILE, 0 },
                { 124, "\x80\x01\0\0\0\0\0\0\0\0\0\0", 12, false, TAR_FILE, 0 },
                { 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, false, TAR_FILE, 0 },
                { 124, "777777777777", 12, true, TAR_FILE, 0777777777777 },
                { 124, "  17 \0       ", 12, true, TAR_FILE, 15 },
                { 124, "12x45678901 ", 12, false, TAR_FILE, 0 },
        };
        unsigned char block[TAR_BLOCK] = { 0 };
        struct tar_header header;

        (void)state;
        must(tar_parse(block, &header, &e));
        assert_int_equal(header.kind, TAR_END);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                make_header(block, rows[i].at, rows[i].bytes, rows[i].n);
                if (tar_parse(block, &header, &e).ok != rows[i].ok)
                        fail_msg("row %zu", i);
                if (rows[i].ok) {
                        assert_int_equal(header.kind, rows[i].kind);
                        assert_int_equal(header.size, rows[i].size);
                }
        }
        block[0] ^= 1;
        must_fail(tar_parse(block, &header, &e), ERR_INVALID);
}

static void pax_headers_are_parsed(void **state)
{
        static const char *const wrong[] = {
                "9 path=a", "99 path=a\n", "x path=a\n", "8 path-a\n", "2 \n", "0 path=a\n", "18446744073709551616 a=b\n", "11 size=x1\n",
                "12 size=-12\n", "28 size=9223372036854775808\n", "22 GNU.sparse.major=1\n", "3 \n", "12 path=a\0b\n", "nothing",
        };
        struct tar_extension extension = { .size = 0 };
        struct tar_header header = { .kind = TAR_FILE, .size = 1, .name = "short" };

        (void)state;
        must(tar_extend(&extension, TAR_PAX, S("15 path=a/long\n16 size=9000000\n12 mtime=12\n16 linkpath=b/c\n"), &e));
        tar_apply(&extension, &header);
        assert_string_equal(header.name, "a/long");
        assert_string_equal(header.link, "b/c");
        assert_int_equal(header.size, 9000000);
        tar_apply(&extension, &header);         /* once */
        assert_false(extension.has_size);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                struct slice text = { wrong[i], i == ARRAY_LEN(wrong) - 2 ? 12 : strlen(wrong[i]) };

                if (tar_extend(&extension, TAR_PAX, text, &e).ok)
                        fail_msg("%s is taken", wrong[i]);
        }
}

/* --- Writing ---------------------------------------------------------------------------------------------------------- */

/* What another hand reads of ours: names of both lengths, sizes that octal digits cannot tell. */
static void others_read_our_headers(void **state)
{
        static const struct {
                const char *name;
                uint64_t size;
        } rows[] = {
                { "index.json", 0 }, { "index.json", 077777777777 }, { "index.json", 0100000000000 }, { "blobs/sha512/"
                  "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", 7 },
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                _cleanup_(buf_fini) struct buf b = BUF_INIT(64 * 1024);
                struct archive *archive = archive_read_new();
                struct archive_entry *entry;

                tar_put_file(&b, rows[i].name, rows[i].size);
                must(fs_publish_file(w->tar, buf_slice(&b), 0600, &e));
                archive_read_support_format_tar(archive);
                assert_int_equal(archive_read_open_filename(archive, w->tar, 10240), ARCHIVE_OK);
                assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
                assert_string_equal(archive_entry_pathname(entry), rows[i].name);
                assert_int_equal(archive_entry_size(entry), rows[i].size);
                assert_int_equal(archive_entry_perm(entry), 0644);
                archive_read_free(archive);
        }
}

static void write_two(const char *path)
{
        struct archive_out *out;

        must(archive_out_open(path, &out, &e));
        must(archive_out_put(out, "oci-layout", S("{}"), &e));
        must(archive_out_begin(out, "blobs/sha256/ab", 10, &e));
        must(archive_out_write(out, S("01234"), &e));
        must(archive_out_write(out, S("56789"), &e));
        must(archive_out_put(out, "index.json", S(""), &e));
        must(archive_out_finish(out, &e));
        archive_out_free(out);
}

static void what_is_written_can_be_read(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_fini) struct buf text = BUF_INIT(4096), folder = BUF_INIT(4096);
        char path[100];

        write_two(w->tar);
        write_two(w->tar);              /* it is replaced */
        must(read_all(w->tar, &text, &e));
        assert_string_equal(buf_cstr(&text), "oci-layout={}\nblobs/sha256/ab=0123456789\nindex.json=\n");

        snprintf(path, sizeof path, "%s/layout/", w->folder);
        write_two(path);
        must(read_all(path, &folder, &e));
        assert_int_equal(folder.n, text.n);     /* the same entries, in the folder's order */
        assert_non_null(strstr(buf_cstr(&folder), "blobs/sha256/ab=0123456789\n"));
}

static void what_is_not_finished_does_not_stay(void **state)
{
        struct world *w = *state;
        struct archive_out *out;
        char path[100];

        must(archive_out_open(w->tar, &out, &e));
        must(archive_out_begin(out, "oci-layout", 100, &e));
        must(archive_out_write(out, S("half"), &e));
        archive_out_free(out);
        assert_int_not_equal(access(w->tar, F_OK), 0);
        snprintf(path, sizeof path, "%s.partial", w->tar);
        assert_int_not_equal(access(path, F_OK), 0);
        must_fail(archive_out_open("/nowhere/x.tar", &out, &e), ERR_IO);
        must(fs_publish_file(w->tar, S("x"), 0600, &e));
        must_fail(archive_out_open(w->folder, &out, &e), ERR_EXISTS);
}

static void full_disk_is_told(void **state)
{
        struct archive_out *out;
        struct result result = OK;
        char *bytes = calloc(1, 1024 * 1024);
        int full = open("/dev/full", O_WRONLY), saved = dup(STDOUT_FILENO);

        (void)state;
        fflush(stdout);
        dup2(full, STDOUT_FILENO);
        must(archive_out_open("-", &out, &e));
        result = archive_out_put(out, "x", (struct slice){ bytes, 1024 * 1024 }, &e);
        dup2(saved, STDOUT_FILENO);
        must_fail(result, ERR_FULL);
        archive_out_free(out);
        close(full);
        close(saved);
        free(bytes);
}

/* --- Documents -------------------------------------------------------------------------------------------------------- */

static void index_is_read(void **state)
{
        struct world *w = *state;
        struct layout_image *images;
        size_t count;
        static const char *const wrong[] = {
                "", "[]", "{", "{\"manifests\":{}}", "{\"manifests\":[1]}", "{\"manifests\":[{\"mediaType\":\"x\",\"size\":1}]}",
                "{\"manifests\":[{\"mediaType\":\"x\",\"size\":-1,\"digest\":\"" DIGEST "\"}]}",
                "{\"manifests\":[{\"mediaType\":\"x\",\"size\":1,\"digest\":\"sha256:../../etc/passwd\"}]}",
                "{\"manifests\":[{\"mediaType\":\"x\",\"size\":1,\"digest\":\"" DIGEST "\","
                "\"annotations\":{\"io.containerd.image.name\":1}}]}",
        };

        must(layout_parse_index(S("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"t/x\",\"size\":7,\"digest\":\"" DIGEST "\","
                                  "\"annotations\":{\"org.opencontainers.image.ref.name\":\"1.0\"}},"
                                  "{\"mediaType\":\"t/y\",\"size\":8,\"digest\":\"" DIGEST "\",\"annotations\":{"
                                  "\"org.opencontainers.image.ref.name\":\"1.0\",\"io.containerd.image.name\":\"docker.io/a/b:1.0\"}}]}"),
                                &w->arena, &images, &count, &e));
        assert_int_equal(count, 2);
        assert_true(slice_eq(images[0].name, S("1.0")) && slice_eq(images[1].name, S("docker.io/a/b:1.0")));
        assert_int_equal(images[1].size, 8);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                assert_false(layout_parse_index(slice_from(wrong[i]), &w->arena, &images, &count, &e).ok);
                assert_true(e.code == ERR_INVALID || e.code == ERR_DIGEST_INVALID);
        }
}

static void documents_have_limits(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_fini) struct buf text = BUF_INIT(8 * 1024 * 1024);
        struct layout_image *images;
        struct layout_saved *saved;
        struct digest *ids;
        size_t count;

        buf_put(&text, S("[{\"Config\":\"c\",\"Layers\":[\"l\""));
        for (int i = 0; i < LAYOUT_LAYERS_MAX; i++)
                buf_put(&text, S(",\"l\""));
        buf_put(&text, S("]}]"));
        must_fail(layout_parse_saved(buf_slice(&text), &w->arena, &saved, &count, &e), ERR_LIMIT);
        buf_reset(&text);
        buf_put(&text, S("{\"manifests\":[0"));
        for (int i = 0; i < LAYOUT_IMAGES_MAX; i++)
                buf_put(&text, S(",0"));
        buf_put(&text, S("]}"));
        must_fail(layout_parse_index(buf_slice(&text), &w->arena, &images, &count, &e), ERR_LIMIT);
        buf_reset(&text);
        while (text.n <= LAYOUT_DOCUMENT_MAX)
                buf_put(&text, S("                                                                "));
        must_fail(layout_parse_index(buf_slice(&text), &w->arena, &images, &count, &e), ERR_LIMIT);
        must_fail(layout_parse_diff_ids(S("{\"rootfs\":{}}"), &w->arena, &ids, &count, &e), ERR_INVALID);
        must_fail(layout_parse_saved(S("[{\"Config\":1}]"), &w->arena, &saved, &count, &e), ERR_INVALID);
}

static void index_that_is_written_can_be_read(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);
        struct layout_image image = { .media_type = S("t/x"), .size = 3, .name = S("team/app:1\"0") }, *images;
        size_t count;

        digest_of_bytes(SHA_512, S("abc"), &image.digest);
        layout_put_index(&text, &image, 1);
        must(layout_parse_index(buf_slice(&text), &w->arena, &images, &count, &e));
        assert_int_equal(count, 1);
        assert_true(digest_eq(&images[0].digest, &image.digest) && slice_eq(images[0].name, image.name));
}

static void images_that_docker_loads(void **state)
{
        _cleanup_(buf_fini) struct buf text = BUF_INIT(4096);

        (void)state;
        assert_true(layout_put_saved(&text, S("{\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" DIGEST
                                              "\"},\"layers\":[{\"digest\":\"" DIGEST "\"}]}"), S("a:1")));
        assert_string_equal(buf_cstr(&text),
                            "{\"Config\":\"blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"RepoTags\":"
                            "[\"a:1\"],\"Layers\":[\"blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]}");
        assert_false(layout_put_saved(&text, S("{\"manifests\":[]}"), S("a:1")));
        assert_false(layout_put_saved(&text, S("{\"config\":{\"mediaType\":\"application/x\",\"digest\":\"" DIGEST "\"}}"), S("a:1")));
}

static void names_are_split(void **state)
{
        static const struct {
                const char *name;
                bool tag_alone;
                const char *repository, *tag;
        } rows[] = {
                { "app", false, "app", "" }, { "app", true, "", "app" }, { "1.0", true, "", "1.0" }, { "app:1", true, "app", "1" },
                { "team/app", true, "team/app", "" }, { "docker.io/library/app:1", true, "app", "1" },
                { "docker.io/team/app:1", true, "team/app", "1" }, { "localhost/app:1", true, "app", "1" },
                { "registry.test:5000/team/app", false, "team/app", "" }, { "registry.test:5000/library/app:2", true, "library/app", "2" },
                { "", true, "", "" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct layout_name name = layout_split_name(slice_from(rows[i].name), rows[i].tag_alone);

                if (!slice_eq(name.repository, slice_from(rows[i].repository)) || !slice_eq(name.tag, slice_from(rows[i].tag)))
                        fail_msg("%s: %.*s and %.*s", rows[i].name, SLICE_ARG(name.repository), SLICE_ARG(name.tag));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
                TEST(entries_come_as_they_stand),
                TEST(hostile_names_are_refused),
                TEST(damaged_archives_are_refused),
                TEST(too_many_entries_are_refused),
                TEST(paths_are_joined),
                TEST(long_names_are_read),
                TEST(headers_are_parsed),
                TEST(pax_headers_are_parsed),
                TEST(others_read_our_headers),
                TEST(what_is_written_can_be_read),
                TEST(what_is_not_finished_does_not_stay),
                TEST(full_disk_is_told),
                TEST(index_is_read),
                TEST(documents_have_limits),
                TEST(index_that_is_written_can_be_read),
                TEST(images_that_docker_loads),
                TEST(names_are_split),
        };

        return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
