/* Cleanup attributes: declare and attach on one line, hand over with TAKE_FD() and TAKE_PTR().
 *
 *      _cleanup_fd_ int fd = -1;
 *      ...
 *      *ret_fd = TAKE_FD(fd);
 *
 * _cleanup_(fn) calls fn with the address of the variable; DEFINE_CLEANUP(type, fn) makes fn##p from a free function. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _guard_(fn) __attribute__((cleanup(fn), unused))       /* of a lock: only its end matters */

static inline void cleanup_fd(int *fd)
{
        if (*fd >= 0)
                close(*fd);
}

static inline void cleanup_free(void *p)
{
        free(*(void **)p);
}

#define _cleanup_fd_ _cleanup_(cleanup_fd)
#define _cleanup_free_ _cleanup_(cleanup_free)

#define TAKE_FD(fd) ({ int fd_ = (fd); (fd) = -1; fd_; })
#define TAKE_PTR(ptr) ({ __typeof__(ptr) ptr_ = (ptr); (ptr) = NULL; ptr_; })

#define DEFINE_CLEANUP(type, fn) \
        static inline void fn##p(type *p) \
        { \
                if (*p) \
                        fn(*p); \
        }
