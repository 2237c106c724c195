/* Counts what a process does to files whose path has $SHIM_PART in it, and at operation $SHIM_AT does $SHIM_DO.

   LD_PRELOAD it. It reads its variables at the first file operation after they are set, so that a fork may set them.
   SHIM_OPS: the operations that count, as "open write fsync"; all where it is not set.
   SHIM_DO:  kill (the process, before the operation), torn (after half of it, if it is a write),
             short (half a write goes through, and says so), hang (for ever), else the number of the error to fail
             with, as 28.
   SHIM_FOR: how many operations, from that one on, fail or are short; 1 where it is not set.
   SHIM_LOG: a file that gets a line "number operation path" each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 1 << 16, GO = 0, HALF = -1 };
static char *opened[FILES];  /* the paths of the open files that are watched and written */
static long count;

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

static long number(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text ? atol(text) : otherwise;
}

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); }

/* Notes an operation. GO, HALF (of a write), or the error to fail with. */
static int note(const char *operation, const char *path) {
  const char *part = getenv("SHIM_PART"), *counted = getenv("SHIM_OPS"), *log = getenv("SHIM_LOG");
  if (!part || !path || !strstr(path, part) || (counted && !strstr(counted, operation))) return GO;
  long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST), at = number("SHIM_AT", 0);
  if (log) {
    char line[4400];
    int size = snprintf(line, sizeof line, "%ld %s %s\n", n, operation, path);
    int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    syscall(SYS_write, file, line, size);
    syscall(SYS_close, file);
  }
  if (!at || n < at || n >= at + number("SHIM_FOR", 1)) return GO;
  const char *act = getenv("SHIM_DO");
  if (!strcmp(act, "kill")) die();
  while (!strcmp(act, "hang")) sleep(1000);
  if (!strcmp(act, "torn") || !strcmp(act, "short")) return HALF;
  return atoi(act);
}

#define CHECK(operation, path, failed) \
  int trouble = note(operation, path); \
  if (trouble == HALF && !strcmp(getenv("SHIM_DO"), "torn")) die(); \
  if (trouble > 0) { errno = trouble; return failed; }

/* The path that a name and the folder it is relative to make. */
static const char *whole(int folder, const char *name, char *buffer, size_t size) {
  if (folder == AT_FDCWD || !name || name[0] == '/') return name;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
  ssize_t n = readlink(link, buffer, size - 1);
  snprintf(buffer + (n < 0 ? 0 : n), size - (n < 0 ? 0 : n), "/%s", name);
  return buffer;
}

static int remember(int file, const char *path) {
  const char *part = getenv("SHIM_PART");
  if (file >= 0 && file < FILES && part && strstr(path, part)) opened[file] = strdup(path);
  return file;
}

static const char *path_of(int file) { return file >= 0 && file < FILES ? opened[file] : NULL; }

#define OPEN(name, folder, arguments, ...) \
  int name(__VA_ARGS__, int flags, ...) { \
    REAL(name); \
    va_list rest; va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)) return real arguments; \
    char buffer[8192]; \
    const char *full = whole(folder, path, buffer, sizeof buffer); \
    CHECK("open", full, -1) \
    return remember(real arguments, full); \
  }
OPEN(open, AT_FDCWD, (path, flags, mode), const char *path)
OPEN(open64, AT_FDCWD, (path, flags, mode), const char *path)
OPEN(openat, folder, (folder, path, flags, mode), int folder, const char *path)
OPEN(openat64, folder, (folder, path, flags, mode), int folder, const char *path)

#define FOPEN(name) \
  FILE *name(const char *path, const char *mode) { \
    REAL(name); \
    if (!strpbrk(mode, "wa+")) return real(path, mode); \
    CHECK("open", path, NULL) \
    FILE *file = real(path, mode); \
    if (file) remember(fileno(file), path); \
    return file; \
  }
FOPEN(fopen)
FOPEN(fopen64)

/* Half of a write; a process that is to be torn ends here. */
static ssize_t half(int file, const void *data, size_t size, off_t at, int seeks) {
  ssize_t n = seeks ? syscall(SYS_pwrite64, file, data, size / 2, at) : syscall(SYS_write, file, data, size / 2);
  if (!strcmp(getenv("SHIM_DO"), "torn")) die();
  return n;
}

#define WRITE(name, data, size, at, seeks, arguments, ...) \
  ssize_t name(int file, __VA_ARGS__) { \
    REAL(name); \
    int trouble = note("write", path_of(file)); \
    if (trouble > 0) { errno = trouble; return -1; } \
    return trouble == HALF ? half(file, data, size, at, seeks) : real arguments; \
  }
WRITE(write, data, size, 0, 0, (file, data, size), const void *data, size_t size)
WRITE(pwrite, data, size, at, 1, (file, data, size, at), const void *data, size_t size, off_t at)
WRITE(pwrite64, data, size, at, 1, (file, data, size, at), const void *data, size_t size, off64_t at)
WRITE(writev, parts->iov_base, parts->iov_len, 0, 0, (file, parts, n), const struct iovec *parts, int n)
WRITE(pwritev, parts->iov_base, parts->iov_len, at, 1, (file, parts, n, at), const struct iovec *parts, int n, off_t at)
WRITE(pwritev64, parts->iov_base, parts->iov_len, at, 1, (file, parts, n, at), const struct iovec *parts, int n,
      off64_t at)

#define ON_FILE(name, operation, arguments, ...) \
  int name(__VA_ARGS__) { REAL(name); CHECK(operation, path_of(file), -1) return real arguments; }
ON_FILE(fsync, "fsync", (file), int file)
ON_FILE(fdatasync, "fsync", (file), int file)
ON_FILE(ftruncate, "truncate", (file, size), int file, off_t size)
ON_FILE(ftruncate64, "truncate", (file, size), int file, off64_t size)

int close(int file) {
  REAL(close);
  char *path = (char *)path_of(file);
  if (path) opened[file] = NULL;
  int trouble = note("close", path), result = real(file);
  free(path);
  if (trouble == HALF && !strcmp(getenv("SHIM_DO"), "torn")) die();
  if (trouble > 0) { errno = trouble; return -1; }
  return result;
}

#define ON_PATH(name, operation, folder, arguments, ...) \
  int name(__VA_ARGS__) { \
    REAL(name); \
    char buffer[8192]; \
    CHECK(operation, whole(folder, path, buffer, sizeof buffer), -1) \
    return real arguments; \
  }
ON_PATH(mkdir, "mkdir", AT_FDCWD, (path, mode), const char *path, mode_t mode)
ON_PATH(mkdirat, "mkdir", folder, (folder, path, mode), int folder, const char *path, mode_t mode)
ON_PATH(unlink, "unlink", AT_FDCWD, (path), const char *path)
ON_PATH(unlinkat, "unlink", folder, (folder, path, flags), int folder, const char *path, int flags)
ON_PATH(rmdir, "rmdir", AT_FDCWD, (path), const char *path)
ON_PATH(rename, "rename", AT_FDCWD, (path, to), const char *path, const char *to)
ON_PATH(renameat, "rename", folder, (folder, path, other, to), int folder, const char *path, int other, const char *to)
ON_PATH(renameat2, "rename", folder, (folder, path, other, to, flags), int folder, const char *path, int other,
        const char *to, unsigned flags)
ON_PATH(link, "link", AT_FDCWD, (path, to), const char *path, const char *to)
