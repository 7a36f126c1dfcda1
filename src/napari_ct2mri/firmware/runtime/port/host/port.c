/* The host as a board: a pseudo-terminal is its serial line, a file its flash.
 *
 *   firmware.elf STORE             prints the path of the terminal, then runs until it is killed
 *   firmware.elf --self-test MODEL runs the golden pair of a container
 *
 * A thread moves bytes between the terminal and two rings, as an UART's interrupts would, so that
 * a slice arrives and an MR leaves while one is computed. */
#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 600

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../port.h"

enum {
  WINDOW = 32,                 /* frames; RING holds nearly as many again */
  RING = 1 << 16,              /* bytes, of what has come */
  OUT = 1 << 13,               /* bytes, of what will leave: little, since ACKs stand in this queue */
  UNIT = CT_BLOCK,
  SLOT = 64 << 20,             /* bytes, for a container */
  WHOLE_SLOT = SLOT + 2 * UNIT,
  ABSENT_MS = 10,              /* between looks for a peer */
  IDLE_MS = 5
};

static const uint32_t memory = (uint32_t)2 << 30; /* bytes; the system gives what is touched */

/* One thread puts, one takes; positions count up. */
typedef struct {
  uint8_t *bytes;
  size_t capacity, put, taken;
} ct_ring;

typedef struct {
  int terminal, store;
  int wake[2]; /* a pipe: something is to be sent */
  pthread_mutex_t lock;
  pthread_cond_t change;
  ct_ring in, out;
  size_t seen; /* what of both had moved when the board last had nothing to do */
  uint8_t *slots;
} ct_host;

static void fail(const char *what) {
  fprintf(stderr, "firmware.elf: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* ---- rings; the lock is held ---- */

static size_t room(const ct_ring *ring) { return ring->capacity - (ring->put - ring->taken); }

static size_t put(ct_ring *ring, const uint8_t *bytes, size_t size) {
  const size_t count = size < room(ring) ? size : room(ring);
  for (size_t i = 0; i < count; ++i) {
    ring->bytes[(ring->put + i) % ring->capacity] = bytes[i];
  }
  ring->put += count;
  return count;
}

static size_t peek(const ct_ring *ring, uint8_t *out, size_t size) {
  const size_t there = ring->put - ring->taken;
  const size_t count = size < there ? size : there;
  for (size_t i = 0; i < count; ++i) {
    out[i] = ring->bytes[(ring->taken + i) % ring->capacity];
  }
  return count;
}

/* ---- the terminal's thread ---- */

/* 1 unless the other side is closed. */
static int take_in(ct_host *host) {
  uint8_t bytes[4096];
  pthread_mutex_lock(&host->lock);
  const size_t most = room(&host->in) < sizeof bytes ? room(&host->in) : sizeof bytes;
  pthread_mutex_unlock(&host->lock);
  const ssize_t got = most > 0 ? read(host->terminal, bytes, most) : 0;
  if (got > 0) {
    pthread_mutex_lock(&host->lock);
    put(&host->in, bytes, (size_t)got);
    pthread_cond_signal(&host->change);
    pthread_mutex_unlock(&host->lock);
  }
  return got >= 0 || errno != EIO;
}

static void give_out(ct_host *host) {
  uint8_t bytes[4096];
  pthread_mutex_lock(&host->lock);
  const size_t size = peek(&host->out, bytes, sizeof bytes);
  pthread_mutex_unlock(&host->lock);
  const ssize_t sent = size > 0 ? write(host->terminal, bytes, size) : 0;
  if (sent > 0) {
    pthread_mutex_lock(&host->lock);
    host->out.taken += (size_t)sent;
    pthread_cond_signal(&host->change);
    pthread_mutex_unlock(&host->lock);
  }
}

/* The cable is out: what is sent is lost. */
static void drop_out(ct_host *host) {
  const struct timespec pause = {0, ABSENT_MS * 1000000L};
  pthread_mutex_lock(&host->lock);
  host->out.taken = host->out.put;
  pthread_cond_signal(&host->change);
  pthread_mutex_unlock(&host->lock);
  nanosleep(&pause, NULL);
}

static void *serve(void *user) {
  ct_host *host = user;
  struct pollfd watched[2] = {{host->terminal, POLLIN, 0}, {host->wake[0], POLLIN, 0}};
  int full = 0;
  while (poll(watched, 2, full ? 1 : -1) >= 0 || errno == EINTR) {
    uint8_t nothing[64];
    int absent = watched[0].revents & POLLHUP;
    if (watched[1].revents & POLLIN) {
      (void)!read(host->wake[0], nothing, sizeof nothing);
    }
    if (watched[0].revents & POLLIN) {
      absent = !take_in(host);
    }
    if (absent) {
      drop_out(host);
    } else if (watched[0].revents & POLLOUT) {
      give_out(host);
    }
    pthread_mutex_lock(&host->lock);
    full = room(&host->in) == 0;
    const int empty = room(&host->out) == host->out.capacity;
    pthread_mutex_unlock(&host->lock);
    watched[0].events = (short)((full ? 0 : POLLIN) | (empty ? 0 : POLLOUT));
  }
  return NULL;
}

/* ---- ct_port ---- */

static size_t receive(void *user, uint8_t *out, size_t size) {
  ct_host *host = user;
  pthread_mutex_lock(&host->lock);
  const size_t count = peek(&host->in, out, size);
  host->in.taken += count;
  pthread_mutex_unlock(&host->lock);
  return count;
}

static size_t send(void *user, const uint8_t *bytes, size_t size) {
  ct_host *host = user;
  pthread_mutex_lock(&host->lock);
  const size_t count = put(&host->out, bytes, size);
  pthread_mutex_unlock(&host->lock);
  (void)!write(host->wake[1], "", 1);
  return count;
}

static int is_sent(void *user) {
  ct_host *host = user;
  pthread_mutex_lock(&host->lock);
  const int empty = room(&host->out) == host->out.capacity;
  pthread_mutex_unlock(&host->lock);
  return empty;
}

static void set_rate(void *user, uint32_t rate) {
  (void)user;
  (void)rate; /* a terminal has none */
}

static uint32_t overrun(void *user) {
  (void)user;
  return 0; /* whoever sends has to wait */
}

static uint32_t microseconds(void *user) {
  struct timespec now;
  (void)user;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint32_t)((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

static void wait_a_little(void *user) {
  ct_host *host = user;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += IDLE_MS * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000L;
  until.tv_nsec %= 1000000000L;
  pthread_mutex_lock(&host->lock);
  if (host->in.put + host->out.taken == host->seen) {
    pthread_cond_timedwait(&host->change, &host->lock, &until);
  }
  host->seen = host->in.put + host->out.taken;
  pthread_mutex_unlock(&host->lock);
}

static int write_store(void *user, uint32_t slot, uint32_t offset, const uint8_t *bytes,
                       uint32_t size) {
  ct_host *host = user;
  const off_t place = (off_t)slot * WHOLE_SLOT + offset;
  for (uint32_t done = 0; done < size;) {
    const ssize_t written = pwrite(host->store, bytes + done, size - done, place + done);
    if (written <= 0) {
      return -1;
    }
    done += (uint32_t)written;
  }
  return 0;
}

static int erase_store(void *user, uint32_t slot, uint32_t offset) {
  uint8_t unit[UNIT];
  memset(unit, 0xFF, sizeof unit);
  return write_store(user, slot, offset, unit, sizeof unit);
}

static int sync_store(void *user) {
  ct_host *host = user;
  return fsync(host->store);
}

/* ---- start ---- */

/* A file of two slots, made if there is none; nobody else may have it open. */
static void open_store(ct_host *host, const char *path) {
  const off_t size = 2 * (off_t)WHOLE_SLOT;
  struct stat found;
  host->store = open(path, O_RDWR | O_CREAT, 0666);
  if (host->store < 0 || fstat(host->store, &found) != 0) {
    fail(path);
  }
  if (flock(host->store, LOCK_EX | LOCK_NB) != 0) {
    fprintf(stderr, "firmware.elf: %s: in use by another board; end that, or name another store\n", path);
    exit(1);
  }
  if (found.st_size != 0 && found.st_size != size) {
    fprintf(stderr, "firmware.elf: %s: is no store, which would have %lld bytes\n", path,
            (long long)size);
    exit(1);
  }
  if (ftruncate(host->store, size) != 0) {
    fail(path);
  }
  void *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, host->store, 0);
  if (bytes == MAP_FAILED) {
    fail(path);
  }
  host->slots = bytes;
}

/* A pseudo-terminal that passes bytes as they are; returns the path of its other side. */
static const char *open_terminal(ct_host *host) {
  struct termios raw;
  host->terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (host->terminal < 0 || grantpt(host->terminal) != 0 || unlockpt(host->terminal) != 0) {
    fail("no pseudo-terminal");
  }
  const char *path = ptsname(host->terminal);
  const int other = path != NULL ? open(path, O_RDWR | O_NOCTTY) : -1;
  if (other < 0 || tcgetattr(other, &raw) != 0) {
    fail("no pseudo-terminal");
  }
  raw.c_iflag = 0;
  raw.c_oflag = 0;
  raw.c_lflag = 0;
  raw.c_cflag = CS8 | CREAD | CLOCAL;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(other, TCSANOW, &raw) != 0 ||
      fcntl(host->terminal, F_SETFL, O_NONBLOCK) != 0) {
    fail(path);
  }
  close(other);
  return path;
}

static void *allocate(size_t size) {
  void *block = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) {
    fail("no memory");
  }
  return block;
}

static void run_board(const char *store) {
  static uint8_t in[RING], out[OUT];
  static ct_host host = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
  pthread_t thread;
  host.in.bytes = in;
  host.in.capacity = sizeof in;
  host.out.bytes = out;
  host.out.capacity = sizeof out;
  open_store(&host, store);
  const char *path = open_terminal(&host);
  if (pipe(host.wake) != 0 || fcntl(host.wake[0], F_SETFL, O_NONBLOCK) != 0 ||
      fcntl(host.wake[1], F_SETFL, O_NONBLOCK) != 0 ||
      pthread_create(&thread, NULL, serve, &host) != 0) {
    fail("no thread");
  }
  const ct_port port = {
      .name = "host", .window = WINDOW,
      .store = {SLOT, UNIT, NULL, {host.slots, host.slots + WHOLE_SLOT}, erase_store, write_store,
                sync_store, &host},
      .memory = allocate(memory), .memory_bytes = memory, .user = &host, .receive = receive,
      .send = send, .is_sent = is_sent, .set_rate = set_rate, .overrun = overrun,
      .microseconds = microseconds, .wait = wait_a_little};
  printf("%s\n", path);
  fflush(stdout);
  for (;;) {
    ct_main(&port);
  }
}

static uint8_t *read_file(const char *path, size_t *out_size) {
  struct stat found;
  const int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &found) != 0) {
    fail(path);
  }
  uint8_t *bytes = allocate((size_t)found.st_size + 1);
  if (read(file, bytes, (size_t)found.st_size) != found.st_size) {
    fail(path);
  }
  close(file);
  *out_size = (size_t)found.st_size;
  return bytes;
}

static int self_test(const char *path) {
  static ct_model model;
  size_t size;
  const uint8_t *container = read_file(path, &size);
  const ct_status status = ct_open(&model, container, size);
  if (status != CT_OK) {
    fprintf(stderr, "firmware.elf: %s: refused with error %d (ct_status in ct.h)\n", path, status);
    return 1;
  }
  const ct_memory memory = {allocate(model.arena_bytes), allocate(model.scratch_bytes)};
  const uint32_t wrong = ct_self_test(&model, memory);
  if (wrong != 0) {
    fprintf(stderr, "firmware.elf: golden pair: %lu bytes differ\n", (unsigned long)wrong);
    return 1;
  }
  printf("golden pair: equal\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--self-test") == 0) {
    return self_test(argv[2]);
  }
  if (argc == 2 && argv[1][0] != '-') {
    run_board(argv[1]);
  }
  fprintf(stderr, "usage: %s STORE, or %s --self-test model.ctm\n", argv[0], argv[0]);
  return 1;
}
