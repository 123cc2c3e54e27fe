/* Runs a fuzz target on the files of a corpus, as an ordinary test: replay FOLDER. Each file is fed whole, and cut short at every
 * byte, each time from memory of exactly its size, so that a sanitizer sees a read past the end. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_BYTES_MAX = 1024 * 1024, CUT_BYTES_MAX = 1024 };

static void feed(const char *bytes, size_t n)
{
        uint8_t *copy = malloc(n ? n : 1);

        CHECK(copy);
        memcpy(copy, bytes, n);
        LLVMFuzzerTestOneInput(copy, n);
        free(copy);
}

static void replay(const char *folder, const char *name)
{
        static char bytes[INPUT_BYTES_MAX];
        char path[4096];
        size_t n;
        FILE *f;

        CHECK(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
        f = fopen(path, "re");
        CHECK(f);
        n = fread(bytes, 1, sizeof bytes, f);
        CHECK(n < sizeof bytes && !ferror(f));
        fclose(f);
        printf("%s\n", path);           /* the last line before a crash */
        fflush(stdout);
        feed(bytes, n);
        for (size_t cut = 0; n <= CUT_BYTES_MAX && cut < n; cut++)
                feed(bytes, cut);
}

int main(int argc, char **argv)
{
        struct dirent *entry;
        unsigned count = 0;
        DIR *dir;

        if (argc != 2) {
                fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
                return 2;
        }
        dir = opendir(argv[1]);
        CHECK(dir);
        while ((entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                replay(argv[1], entry->d_name);
                count++;
        }
        closedir(dir);
        printf("%u inputs\n", count);
        return count ? 0 : 1;           /* a corpus that is not there is no success */
}
