/* A disk that fails on demand, for a program started with LD_PRELOAD: the calls that write to files fail with a
 * given error from a given one on. The file that FAULTY_DISK names says when, see `Disk` in mod.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, SIZES = 4 };

struct orders {
    int error;            /* 0: nothing fails */
    int kinds;            /* which calls */
    int after;            /* so many of them work first */
    atomic_int seen;      /* how many there were */
    char path[112];       /* part of the names of the files */
};

static struct orders *orders;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTY_DISK");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) orders = map;
    close(file);
}

static int fails(int file, int kind) {
    if (!orders || !orders->error || !(orders->kinds & kind)) return 0;
    char link[64], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    if (!strstr(name, orders->path)) return 0;
    if (atomic_fetch_add(&orders->seen, 1) < orders->after) return 0;
    errno = orders->error;
    return 1;
}

#define FAULTY(kind, result, name, parameters, arguments)                     \
    result name parameters {                                                  \
        static result(*real) parameters;                                      \
        if (fails(file, kind)) return -1;                                     \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);      \
        return real arguments;                                                \
    }

FAULTY(WRITES, ssize_t, write, (int file, const void *bytes, size_t count), (file, bytes, count))
FAULTY(WRITES, ssize_t, pwrite, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
FAULTY(WRITES, ssize_t, pwrite64, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at))
FAULTY(SYNCS, int, fsync, (int file), (file))
FAULTY(SYNCS, int, fdatasync, (int file), (file))
FAULTY(SIZES, int, ftruncate, (int file, off_t size), (file, size))
FAULTY(SIZES, int, ftruncate64, (int file, off64_t size), (file, size))
FAULTY(SIZES, int, fallocate, (int file, int mode, off_t at, off_t size), (file, mode, at, size))
FAULTY(SIZES, int, fallocate64, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size))
