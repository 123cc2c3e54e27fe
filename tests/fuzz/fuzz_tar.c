/* Headers of tar files (transfer/tar.h): the input is a file of blocks, read as archive_in.c does. What a header tells stays within
 * its bounds, and a header that is written again from it is read as the same. */
#include "transfer/tar.h"

#include "base/cleanup.h"
#include "fuzz.h"
#include "transfer/archive_in.h"

static void write_again(const struct tar_header *header)
{
        _cleanup_(buf_fini) struct buf b = BUF_INIT(8 * TAR_BLOCK + 2 * TAR_NAME_MAX);
        struct tar_header again;
        struct err e;

        if (strlen(header->name) > 100 || header->size > 077777777777)
                return;
        tar_put_file(&b, header->name, header->size);
        CHECK(buf_ok(&b) && b.n == TAR_BLOCK);
        CHECK(tar_parse((const unsigned char *)b.p, &again, &e).ok);
        CHECK(strcmp(again.name, header->name) == 0 && again.size == header->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        struct slice rest = fuzz_input(bytes, n);
        static struct tar_extension extension;
        static struct tar_header header;
        char path[ARCHIVE_PATH_MAX];
        struct err e;

        extension = (struct tar_extension){ .size = 0 };
        while (rest.n >= TAR_BLOCK && tar_parse((const unsigned char *)rest.p, &header, &e).ok && header.kind != TAR_END) {
                struct slice data = slice_head(slice_skip(rest, TAR_BLOCK), (size_t)header.size);

                CHECK(header.size <= INT64_MAX && strlen(header.name) < TAR_NAME_MAX && strlen(header.link) < TAR_NAME_MAX);
                if (header.kind == TAR_PAX || header.kind == TAR_LONG_NAME || header.kind == TAR_LONG_LINK) {
                        if (!tar_extend(&extension, header.kind, data, &e).ok)
                                return 0;
                } else {
                        tar_apply(&extension, &header);
                        CHECK(header.size <= INT64_MAX);
                        write_again(&header);
                        if (archive_path_join(S("a/b"), slice_from(header.name), path))
                                CHECK(*path && *path != '/' && !strstr(path, "/../") && strncmp(path, "../", 3) != 0);
                }
                rest = slice_skip(slice_skip(rest, TAR_BLOCK + data.n), (size_t)tar_padding(data.n));
        }
        return 0;
}
