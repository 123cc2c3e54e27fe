/* What the files of registry/ share. */
#pragma once

#include "registry/cache.h"
#include "registry/registry.h"
#include "registry/space.h"

#include <pthread.h>
#include <stdatomic.h>

struct push;

#define BOOT_ID_LENGTH 36

struct registry {
        char *data_dir;                         /* owned */
        struct blob_store *blobs;               /* owned */
        struct meta *meta;                      /* owned */
        struct cache *cache;                    /* owned */
        _Atomic uint64_t upload_bytes_max;
        struct space space;
        bool inspected;                         /* nobody pushes: see struct registry_config */
        char boot_id[BOOT_ID_LENGTH + 1];       /* of the running kernel; random where it does not tell */
        pthread_mutex_t pushes_lock;
        struct push *pushes;                    /* sessions that a request works on now; borrowed from the requests */
        struct push *resting;                   /* owned; sessions between two requests, the last used first; see push.c */
        unsigned resting_count;
};

void push_discard_resting(struct registry *registry);
