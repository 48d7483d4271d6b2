/* Errors of the disk under SQLite, for sqlite-faults.test.ts: calls on files whose name contains FAULT_NAME fail as the
 * file FAULT_PLAN says: a line "CALLS ERRNO NAME", CALLS being letters of w (write), s (sync), r (read); no file, no fault. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fault(int fd, char call) {
  const char *plan = getenv("FAULT_PLAN");
  if (plan == NULL) return 0;
  FILE *file = fopen(plan, "re");
  if (file == NULL) return 0;
  char calls[16] = "", name[128] = "", link[64], path[512];
  int code = 0;
  int got = fscanf(file, "%15s %d %127s", calls, &code, name);
  fclose(file);
  if (got != 3 || strchr(calls, call) == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  size_t end = strlen(name);
  if ((size_t)length < end || strcmp(path + length - end, name) != 0) return 0;
  errno = code;
  return 1;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  return fault(fd, 'w') ? -1 : real(fd, from, length, offset);
}
ssize_t pwrite(int fd, const void *from, size_t length, off_t offset) {
  REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
  return fault(fd, 'w') ? -1 : real(fd, from, length, offset);
}
ssize_t pread64(int fd, void *into, size_t length, off64_t offset) {
  REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
  return fault(fd, 'r') ? -1 : real(fd, into, length, offset);
}
ssize_t pread(int fd, void *into, size_t length, off_t offset) {
  REAL(ssize_t, "pread", int, void *, size_t, off_t);
  return fault(fd, 'r') ? -1 : real(fd, into, length, offset);
}
int fsync(int fd) {
  REAL(int, "fsync", int);
  return fault(fd, 's') ? -1 : real(fd);
}
int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  return fault(fd, 's') ? -1 : real(fd);
}
