/* For unit tests only. */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

/* A folder and all in it; 0: it is gone. */
static inline int remove_tree(const char *path)
{
        return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
