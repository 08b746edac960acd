/* A layer under every library's file functions, loaded by LD_PRELOAD: counts what changes files below a folder, and
   lets the k-th such call fail, or ends the process before or within it.

   Python, SQLite, Arrow, Blosc2, safetensors and torch all come through here: they write by the C library.
   faults_arm(folder, k, errno or -signal) arms it; faults_count() says how many calls there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static volatile long count, fail_at;
static int fault;
static char failed[PATH_MAX + 32];

void faults_arm(const char *folder, long k, int with) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    count = 0;
    fail_at = k;
    fault = with;
    failed[0] = 0;
}
long faults_count(void) { return count; }
const char *faults_failed(void) { return failed; }

static int below(const char *path) {
    char absolute[2 * PATH_MAX];
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(absolute, PATH_MAX)) return 0;
        strncat(absolute, "/", 2);
        strncat(absolute, path, PATH_MAX - 2);
        path = absolute;
    }
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int below_handle(int handle) {
    char link[64], path[PATH_MAX];
    if (!root_length || handle < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Says whether this call is the one that fails; a negative fault is a signal, which ends the process here. */
static int fails(int is_below, const char *what) {
    if (!is_below) return 0;
    long k = __sync_add_and_fetch(&count, 1);
    if (k != fail_at) return 0;
    snprintf(failed, sizeof failed, "%s", what);
    if (fault < 0) {
        kill(getpid(), -fault);
        pause();
    }
    errno = fault;
    return 1;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        static int (*real)(const char *, int, ...);                       \
        if (!real) real = dlsym(RTLD_NEXT, #name);                        \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                     \
        if (fails(CHANGES(flags) && below(path), "open")) return -1;      \
        return real(path, flags, mode);                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                      \
    int name(int folder, const char *path, int flags, ...) {              \
        static int (*real)(int, const char *, int, ...);                  \
        if (!real) real = dlsym(RTLD_NEXT, #name);                        \
        va_list rest;                                                     \
        va_start(rest, flags);                                            \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                     \
        if (fails(CHANGES(flags) && below(path), "open")) return -1;      \
        return real(folder, path, flags, mode);                           \
    }
OPENAT(openat)
OPENAT(openat64)

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    if (fails(mode[0] != 'r' && below(path), "open")) return NULL;
    return real(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    if (fails(mode[0] != 'r' && below(path), "open")) return NULL;
    return real(path, mode);
}
ssize_t write(int handle, const void *data, size_t n) {
    REAL(write);
    if (fails(below_handle(handle), "write")) {
        int with = errno;
        if (n > 1 && with == ENOSPC) real(handle, data, n / 2); /* a full disk takes a part first */
        errno = with;
        return -1;
    }
    return real(handle, data, n);
}
size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    REAL(fwrite);
    if (fails(below_handle(fileno(file)), "write")) return 0;
    return real(data, size, n, file);
}
ssize_t pwrite(int handle, const void *data, size_t n, off_t at) {
    REAL(pwrite);
    return fails(below_handle(handle), "write") ? -1 : real(handle, data, n, at);
}
ssize_t pwrite64(int handle, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    return fails(below_handle(handle), "write") ? -1 : real(handle, data, n, at);
}
ssize_t writev(int handle, const struct iovec *parts, int n) {
    REAL(writev);
    return fails(below_handle(handle), "write") ? -1 : real(handle, parts, n);
}
int fsync(int handle) {
    REAL(fsync);
    return fails(below_handle(handle), "fsync") ? -1 : real(handle);
}
int fdatasync(int handle) {
    REAL(fdatasync);
    return fails(below_handle(handle), "fsync") ? -1 : real(handle);
}
int ftruncate(int handle, off_t n) {
    REAL(ftruncate);
    return fails(below_handle(handle), "truncate") ? -1 : real(handle, n);
}
int ftruncate64(int handle, off64_t n) {
    REAL(ftruncate64);
    return fails(below_handle(handle), "truncate") ? -1 : real(handle, n);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    return fails(below(to), "rename") ? -1 : real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    return fails(below(to), "rename") ? -1 : real(a, from, b, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails(below(path), "mkdir") ? -1 : real(path, mode);
}
int unlink(const char *path) {
    REAL(unlink);
    return fails(fault < 0 && below(path), "unlink") ? -1 : real(path);
}
int chmod(const char *path, mode_t mode) {
    REAL(chmod);
    return fails(below(path), "chmod") ? -1 : real(path, mode);
}
