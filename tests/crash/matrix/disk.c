/* A disk that loses power, or fails, in the middle of a sync: preloaded into the server, for write-ahead logs alone.
 *
 * MILLRACE_TEST_DISK=MODE:SYNC:SEED. What was written since a file's last sync is remembered with what lay there before. At
 * the SYNCth sync, part of it is taken back: all past one point ("tear"), or single sectors anywhere ("sectors"), and the
 * process is killed; or "fail" takes it back past one point and the sync fails, as a disk does that cannot write.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define SECTOR 512

struct unsynced {
  struct unsynced *next;
  int fd;
  off_t at;
  size_t bytes;
  char *before;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct unsynced *writes, **last = &writes;
static char mode[16];
static long syncs_left;
static unsigned seed;

static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);

__attribute__((constructor)) static void start(void) {
  real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  const char *told = getenv("MILLRACE_TEST_DISK");
  if (!told || sscanf(told, "%15[a-z]:%ld:%u", mode, &syncs_left, &seed) != 3) syncs_left = 0;
}

/* Whether the file is a write-ahead log: digits, then ".log". */
static int is_log(int fd) {
  char link[64], path[4096];
  if (fd < 3 || syncs_left <= 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t bytes = readlink(link, path, sizeof path - 1);
  if (bytes < 5) return 0;
  path[bytes] = 0;
  return !strcmp(path + bytes - 4, ".log") && isdigit((unsigned char)path[bytes - 5]);
}

/* Remembers what lies where bytes are about to be written; past the end of the file that is zeros. */
static void remember(int fd, off_t at, size_t bytes) {
  struct unsynced *write = calloc(1, sizeof *write);
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  write->fd = fd, write->at = at, write->bytes = bytes, write->before = calloc(1, bytes ? bytes : 1);
  int reader = open(link, O_RDONLY);
  if (reader >= 0) {
    if (pread(reader, write->before, bytes, at) < 0) memset(write->before, 0, bytes);
    close(reader);
  }
  *last = write, last = &write->next;
}

ssize_t write(int fd, const void *data, size_t bytes) {
  if (!is_log(fd)) return real_write(fd, data, bytes);
  pthread_mutex_lock(&lock);
  off_t at = lseek(fd, 0, SEEK_CUR);
  if (at >= 0) remember(fd, at, bytes);
  ssize_t written = real_write(fd, data, bytes);
  pthread_mutex_unlock(&lock);
  return written;
}

static void forget(int fd) {
  for (struct unsynced **at = &writes; *at;) {
    struct unsynced *write = *at;
    if (write->fd != fd) { at = &write->next; continue; }
    *at = write->next;
    free(write->before), free(write);
  }
  for (last = &writes; *last;) last = &(*last)->next;
}

static void take_back(int fd) {
  size_t all = 0, seen = 0;
  for (struct unsynced *write = writes; write; write = write->next) all += write->fd == fd ? write->bytes : 0;
  size_t cut = all ? (size_t)rand_r(&seed) % (all + 1) : 0;
  for (struct unsynced *write = writes; write; write = write->next) {
    if (write->fd != fd) continue;
    for (size_t from = 0; from < write->bytes;) {
      size_t to_sector = SECTOR - (size_t)(write->at + (off_t)from) % SECTOR;
      size_t bytes = write->bytes - from < to_sector ? write->bytes - from : to_sector;
      size_t kept = seen >= cut ? 0 : cut - seen < bytes ? cut - seen : bytes;
      if (!strcmp(mode, "sectors")) kept = rand_r(&seed) % 2 ? bytes : 0;
      if (pwrite(fd, write->before + from + kept, bytes - kept, write->at + (off_t)(from + kept)) < 0) abort();
      from += bytes, seen += bytes;
    }
  }
}

static int sync_by(int (*real)(int), int fd) {
  if (!is_log(fd)) return real(fd);
  pthread_mutex_lock(&lock);
  if (--syncs_left == 0) {
    take_back(fd);
    if (strcmp(mode, "fail")) kill(getpid(), SIGKILL);
    pthread_mutex_unlock(&lock);
    errno = EIO;
    return -1;
  }
  int synced = real(fd);
  forget(fd);
  pthread_mutex_unlock(&lock);
  return synced;
}

int fdatasync(int fd) { return sync_by(real_fdatasync, fd); }
int fsync(int fd) { return sync_by(real_fsync, fd); }
