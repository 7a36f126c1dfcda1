/* Preloaded into the process that a board is: what it writes at a place of a file, and when it
 * syncs one, is appended to the file that CT_WRITES names, in the order in which it happens.
 *
 * A record: inode u64, offset u64, size u64, then size bytes; offset 2^64 - 1 stands for a sync. */
#define _GNU_SOURCE

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void append(int log, const void *bytes, size_t size) {
  if (write(log, bytes, size) != (ssize_t)size) {
    abort(); /* a log with holes proves nothing */
  }
}

static int log_file(void) {
  static int log = -1;
  if (log < 0) {
    const char *path = getenv("CT_WRITES");
    log = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (log < 0) {
      abort();
    }
  }
  return log;
}

static void record(int file, const struct iovec *parts, int count, off_t offset) {
  struct stat found;
  size_t size = 0;
  for (int i = 0; i < count; ++i) {
    size += parts[i].iov_len;
  }
  if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) {
    return;
  }
  const uint64_t head[3] = {found.st_ino, (uint64_t)offset, size};
  const int log = log_file();
  append(log, head, sizeof head);
  for (int i = 0; i < count; ++i) {
    append(log, parts[i].iov_base, parts[i].iov_len);
  }
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
  pthread_mutex_lock(&lock);
  record(file, parts, count, offset);
  const ssize_t done = syscall(SYS_pwritev, file, parts, count, offset, 0L);
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
  return pwritev(file, parts, count, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
  const struct iovec all = {(void *)(uintptr_t)bytes, size};
  return pwritev(file, &all, 1, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) {
  return pwrite(file, bytes, size, offset);
}

int fsync(int file) {
  pthread_mutex_lock(&lock);
  record(file, NULL, 0, -1);
  const int done = (int)syscall(SYS_fsync, file);
  pthread_mutex_unlock(&lock);
  return done;
}

int fdatasync(int file) { return fsync(file); }
