#include "cli/process.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hex.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        MALLOC_ARENAS = 2,
        OWN_MAPPING_BYTES = 2 * 1024 * 1024,    /* above the buffers of uploads, which come and go all the time */
        STATUS_KILLED = 130,
        MAPS_MAX = 1024 * 1024,
};

/* A file of ours that became number 2 would get the log's lines. */
static void open_standard_files(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd > STDERR_FILENO)
                close(fd);
}

static void set_soft_limit(int resource, rlim_t value)
{
        struct rlimit limit;

        if (getrlimit(resource, &limit) < 0)
                return;
        limit.rlim_cur = MIN(value, limit.rlim_max);
        setrlimit(resource, &limit);
}

void process_prepare(void)
{
        open_standard_files();
        log_prepare();
        signal(SIGPIPE, SIG_IGN);
        umask(077);
        set_soft_limit(RLIMIT_CORE, 0);
        mallopt(M_ARENA_MAX, MALLOC_ARENAS);
        /* What is larger goes back to the system when it is freed. By itself the C library would raise this with each larger piece. */
        mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
        mallopt(M_TRIM_THRESHOLD, OWN_MAPPING_BYTES);
}

RESULT process_become_owner_of(const char *folder, bool *ret_changed, struct err *e)
{
        struct stat st;

        *ret_changed = false;
        if (geteuid() != 0)
                return OK;
        if (stat(folder, &st) < 0)
                return FAIL(e, ERR_IO, errno, "look at %s", folder);
        if (st.st_uid == 0)
                return OK;
        if (setgroups(0, NULL) < 0 || setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
            setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
                return FAIL(e, ERR_IO, errno, "become user %u, who owns %s", (unsigned)st.st_uid, folder);
        *ret_changed = true;
        return OK;
}

uint64_t process_raise_descriptors(void)
{
        struct rlimit limit = { 0 };

        set_soft_limit(RLIMIT_NOFILE, RLIM_INFINITY);
        getrlimit(RLIMIT_NOFILE, &limit);
        return limit.rlim_cur;
}

static void fill_signals(sigset_t *set)
{
        sigemptyset(set);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGINT);
        sigaddset(set, SIGHUP);
}

RESULT process_take_signals(int *ret_fd, struct err *e)
{
        sigset_t set;
        int fd;

        fill_signals(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);     /* threads that are made later inherit it */
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return FAIL(e, ERR_IO, errno, "take signals");
        *ret_fd = fd;
        return OK;
}

/* A handler, because the first process of a container has no default action. */
static void end_at_once(int signal_number)
{
        (void)signal_number;
        _exit(STATUS_KILLED);
}

void process_release_signals(void)
{
        struct sigaction action = { .sa_handler = end_at_once };
        sigset_t set;

        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        fill_signals(&set);
        sigdelset(&set, SIGHUP);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static bool hex_to_u64(struct slice text, uint64_t *ret_number)
{
        unsigned char bytes[sizeof *ret_number];
        char digits[2 * sizeof bytes];

        if (text.n > sizeof digits)
                return false;
        memset(digits, '0', sizeof digits);
        memcpy(digits + sizeof digits - text.n, text.p, text.n);
        if (!hex_decode((struct slice){ digits, sizeof digits }, bytes, sizeof bytes))
                return false;
        *ret_number = 0;
        for (size_t i = 0; i < sizeof bytes; i++)
                *ret_number = *ret_number << 8 | bytes[i];
        return true;
}

/* "7f1c00000000-7f1c00200000 r-xp 00000000 08:01 1234   /lib/libcrypto.so.3" */
struct mapping {
        uint64_t from, to;
        bool droppable;         /* a file's, and never written through this mapping */
};

static bool parse_mapping(struct slice line, struct mapping *ret_mapping)
{
        struct slice rest = line, from, to, mode;

        if (!slice_cut(&rest, '-', &from) || !slice_cut(&rest, ' ', &to) || !slice_cut(&rest, ' ', &mode) || mode.n != 4)
                return false;
        ret_mapping->droppable = mode.p[1] == '-' && mode.p[3] == 'p' && memchr(rest.p, '/', rest.n);
        return hex_to_u64(from, &ret_mapping->from) && hex_to_u64(to, &ret_mapping->to);
}

/* Pages of our own in a mapping (relocations that became read-only, a debugger's breakpoints) are nowhere else and must stay. */
static void give_back_mapping(const struct mapping *mapping, struct slice anonymous_kb)
{
        if (mapping->droppable && slice_eq(slice_trim(anonymous_kb), S("0 kB")))
                /* NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel tells it as a number */
                madvise((void *)(uintptr_t)mapping->from, (size_t)(mapping->to - mapping->from), MADV_DONTNEED);
}

void process_give_back(void)
{
        _cleanup_(buf_fini) struct buf maps = BUF_INIT(MAPS_MAX);
        struct mapping mapping = { .droppable = false }, next;
        struct slice rest, line;
        struct err unused;

        malloc_trim(0);
        if (!fs_read_file("/proc/self/smaps", &maps, &unused).ok)
                return;
        rest = buf_slice(&maps);
        while (slice_next(&rest, '\n', &line)) {
                if (slice_starts(line, S("Anonymous:")))
                        give_back_mapping(&mapping, slice_skip(line, strlen("Anonymous:")));
                else if (parse_mapping(line, &next))
                        mapping = next;
        }
}
