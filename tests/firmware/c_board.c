/* The board's end of the link as a library: a line of two buffers, a clock that is told, a store in
 * RAM that behaves as flash does, may fail, and whose power can be cut at any of its operations.
 *
 * A cut leaves the operation undone, half done or done, and whatever the program would have done
 * next does not happen: the call that fed the board returns. What was done before and not synced
 * lasts, or is lost, or each operation of it, by chance, lasts, is torn or is lost: a page that
 * lasts may be younger than one that does not. */
#define _POSIX_C_SOURCE 200112L

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

enum { CUT_BEFORE, CUT_TORN, CUT_AFTER };
enum { UNSYNCED_LASTS, UNSYNCED_LOST, UNSYNCED_MIXED };
enum { RING = 1 << 17 }; /* bytes that wait for the board; more are lost */

/* What the store is to do with size bytes, one page or one unit, from offset on. */
typedef struct {
  uint32_t slot, offset, size;
  uint8_t *bytes; /* to write; null: an erasure */
} operation;

typedef struct {
  ct_session session;
  ct_port port;
  uint32_t page;          /* bytes that one operation writes at most */
  uint8_t *slots[2];      /* as the program reads them */
  uint8_t *lasting[2];    /* as they were at the last sync; unless all lasts at once */
  operation *unsynced;    /* since then; unless all lasts at once */
  size_t unsynced_count, unsynced_room;
  int unsynced_fate;
  uint8_t in[RING];
  size_t in_put, in_taken;
  uint8_t late[RING];     /* what comes once the board computes */
  size_t late_size;
  uint32_t lost;
  uint8_t *out;
  size_t out_room, out_size;
  uint32_t now;           /* microseconds */
  uint32_t rate;
  uint32_t operations;    /* writes and erasures since the board was made */
  uint32_t cut_at;        /* the operation that is cut; 0: none */
  int cut_kind;
  uint32_t fail_at;       /* the operation that fails, undone; 0: none */
  int is_silent;          /* and says that it was done */
  uint32_t syncs;         /* since the board was made */
  uint32_t fail_sync_at;  /* the sync that fails, and makes nothing lasting; 0: none */
  uint32_t random;
  int is_off;
  uint32_t violations;    /* what no flash would do as asked */
  jmp_buf power;
} c_board;

c_board *c_board_new(uint32_t bytes, uint32_t unit, uint32_t page, int is_flash, uint32_t memory,
                     uint32_t window);
void c_board_free(c_board *board);
void c_board_power_on(c_board *board);
size_t c_board_feed(c_board *board, const uint8_t *bytes, size_t size, uint8_t *out, size_t room);
void c_board_feed_late(c_board *board, const uint8_t *bytes, size_t size);
void c_board_fail(c_board *board, uint32_t operations, int silently);
void c_board_fail_sync(c_board *board, uint32_t syncs);
void c_board_cut(c_board *board, uint32_t operations, int kind, uint32_t seed);
void c_board_unsynced(c_board *board, int fate);
size_t c_board_tick(c_board *board, uint32_t microseconds, uint8_t *out, size_t room);
uint32_t c_board_operations(const c_board *board);
uint32_t c_board_syncs(const c_board *board);
uint32_t c_board_violations(const c_board *board);
uint32_t c_board_rate(const c_board *board);
int c_board_is_off(const c_board *board);
uint8_t *c_board_slot(c_board *board, uint32_t slot);

/* ---- the store ---- */

static uint8_t chance(c_board *board) { /* Marsaglia 2003 */
  board->random ^= board->random << 13;
  board->random ^= board->random >> 17;
  board->random ^= board->random << 5;
  return (uint8_t)(board->random >> 11);
}

/* 1 if the power goes at this operation. */
static int is_cut(c_board *board) {
  return board->cut_at != 0 && board->operations == board->cut_at;
}

static void power_off(c_board *board) {
  board->is_off = 1;
  board->cut_at = 0;
  longjmp(board->power, 1);
}

static int is_flash(const c_board *board) { return board->port.store.spare != NULL; }

static size_t whole_slot(const c_board *board) {
  return board->port.store.bytes + 2 * (size_t)board->port.store.unit;
}

static void apply_write(c_board *board, const operation *what, int kind) {
  uint8_t *to = board->slots[what->slot] + what->offset;
  for (uint32_t i = 0; i < what->size; ++i) {
    const uint8_t reached = kind == CUT_TORN ? chance(board) : 0xFF;
    const uint8_t kept = to[i] & (uint8_t)~reached;
    to[i] = is_flash(board) ? to[i] & (what->bytes[i] | (uint8_t)~reached)
                            : (uint8_t)((what->bytes[i] & reached) | kept);
  }
}

/* Torn, half of the unit is erased, and of the other half some bits. */
static void apply_erasure(c_board *board, const operation *what, int kind) {
  uint8_t *to = board->slots[what->slot] + what->offset;
  const int second = kind == CUT_TORN && chance(board) & 1;
  for (uint32_t i = 0; i < what->size; ++i) {
    const int is_done = kind == CUT_AFTER || (i >= what->size / 2) == second;
    to[i] |= is_done ? 0xFF : chance(board) & chance(board);
  }
}

static void apply(c_board *board, const operation *what, int kind) {
  if (kind == CUT_BEFORE) {
    return;
  }
  if (what->bytes == NULL) {
    apply_erasure(board, what, kind);
  } else {
    apply_write(board, what, kind);
  }
}

/* All that the program has done until now outlives a loss of power. */
static void make_lasting(c_board *board) {
  while (board->unsynced_count > 0) {
    free(board->unsynced[--board->unsynced_count].bytes);
  }
  for (unsigned i = 0; i < 2 && board->unsynced_fate != UNSYNCED_LASTS; ++i) {
    memcpy(board->lasting[i], board->slots[i], whole_slot(board));
  }
}

static void remember(c_board *board, const operation *what) {
  if (board->unsynced_fate == UNSYNCED_LASTS) {
    return;
  }
  if (board->unsynced_count == board->unsynced_room) {
    board->unsynced_room = 2 * board->unsynced_room + 64;
    board->unsynced = realloc(board->unsynced, board->unsynced_room * sizeof *what);
  }
  operation *kept = &board->unsynced[board->unsynced_count++];
  *kept = *what;
  if (what->bytes != NULL) {
    kept->bytes = memcpy(malloc(what->size), what->bytes, what->size);
  }
}

/* The power goes: what was not synced has its fate, and what is then there lasts. */
static void lose_unsynced(c_board *board) {
  if (board->unsynced_fate != UNSYNCED_LASTS) {
    memcpy(board->slots[0], board->lasting[0], whole_slot(board));
    memcpy(board->slots[1], board->lasting[1], whole_slot(board));
  }
  for (size_t i = 0; i < board->unsynced_count && board->unsynced_fate == UNSYNCED_MIXED; ++i) {
    apply(board, &board->unsynced[i], chance(board) % 3);
  }
  make_lasting(board);
}

static uint32_t not_erased(const c_board *board, const operation *what) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < what->size && what->bytes != NULL && is_flash(board); ++i) {
    count += board->slots[what->slot][what->offset + i] != 0xFF;
  }
  return count;
}

static int operate(c_board *board, const operation *what) {
  if (++board->operations == board->fail_at) {
    return board->is_silent ? 0 : -1;
  }
  board->violations += not_erased(board, what);
  if (is_cut(board)) {
    lose_unsynced(board);
    apply(board, what, board->cut_kind);
    make_lasting(board);
    power_off(board);
  }
  apply(board, what, CUT_AFTER);
  remember(board, what);
  return 0;
}

static int write(void *user, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t size) {
  c_board *board = user;
  if (offset % CT_WRITE_STEP != 0 || size % CT_WRITE_STEP != 0 || offset > whole_slot(board) ||
      size > whole_slot(board) - offset) {
    ++board->violations;
    return -1;
  }
  while (size > 0) {
    const uint32_t room = board->page - offset % board->page;
    const uint32_t count = size < room ? size : room;
    const operation page = {slot, offset, count, (uint8_t *)(uintptr_t)bytes};
    if (operate(board, &page) != 0) {
      return -1;
    }
    offset += count;
    bytes += count;
    size -= count;
  }
  return 0;
}

static int erase(void *user, uint32_t slot, uint32_t offset) {
  c_board *board = user;
  const operation unit = {slot, offset, board->port.store.unit, NULL};
  if (offset % unit.size != 0 || offset >= whole_slot(board)) {
    ++board->violations;
    return -1;
  }
  return operate(board, &unit);
}

static int sync(void *user) {
  c_board *board = user;
  if (++board->syncs == board->fail_sync_at) {
    return -1;
  }
  make_lasting(board);
  return 0;
}

/* ---- the line and the clock ---- */

static void arrive(c_board *board, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (board->in_put - board->in_taken < RING) {
      board->in[board->in_put++ % RING] = bytes[i];
    } else {
      ++board->lost;
    }
  }
}

static size_t receive(void *user, uint8_t *out, size_t room) {
  c_board *board = user;
  size_t count = 0;
  if (board->late_size > 0 && board->session.runs.state == CT_RUN_COMPUTING) {
    arrive(board, board->late, board->late_size);
    board->late_size = 0;
  }
  while (count < room && board->in_taken < board->in_put) {
    out[count++] = board->in[board->in_taken++ % RING];
  }
  return count;
}

static size_t send(void *user, const uint8_t *bytes, size_t size) {
  c_board *board = user;
  const size_t left = board->out_room - board->out_size;
  const size_t count = size < left ? size : left;
  if (count > 0) {
    memcpy(board->out + board->out_size, bytes, count);
    board->out_size += count;
  }
  return count;
}

static int is_sent(void *user) {
  (void)user;
  return 1;
}

static void set_rate(void *user, uint32_t rate) { ((c_board *)user)->rate = rate; }

static uint32_t overrun(void *user) { return ((c_board *)user)->lost; }

static uint32_t microseconds(void *user) { return ((c_board *)user)->now; }

static void wait(void *user) { (void)user; }

/* ---- the library ---- */

static void *allocate(size_t size, int value) {
  void *block;
  if (posix_memalign(&block, CT_ALIGN, size) != 0) {
    abort();
  }
  memset(block, value, size);
  return block;
}

/* Forget all but the slots. */
static void start(c_board *board) {
  board->is_off = 0;
  board->in_put = board->in_taken = board->lost = 0;
  board->late_size = 0;
  board->rate = board->port.rates[0];
  memset(&board->session, 0xA5, sizeof board->session);
  memset(board->port.memory, 0xA5, board->port.memory_bytes);
  if (setjmp(board->power) == 0) {
    ct_session_start(&board->session, &board->port);
  }
}

c_board *c_board_new(uint32_t bytes, uint32_t unit, uint32_t page, int flash, uint32_t memory,
                     uint32_t window) {
  static const uint32_t rates[] = {115200, 921600, 2000000};
  c_board *board = allocate(sizeof *board, 0);
  board->page = page;
  board->random = 1;
  board->rate = rates[0];
  for (unsigned i = 0; i < 2; ++i) {
    board->slots[i] = allocate(bytes + 2 * (size_t)unit, 0);
    board->lasting[i] = allocate(bytes + 2 * (size_t)unit, 0);
  }
  const ct_store store = {bytes, unit, flash ? allocate(unit, 0) : NULL,
                          {board->slots[0], board->slots[1]}, erase, write, sync, board};
  const ct_port port = {
      .name = "c-board", .rates = rates, .rate_count = 3, .window = window, .store = store,
      .memory = allocate(memory, 0xA5), .memory_bytes = memory, .user = board, .receive = receive,
      .send = send, .is_sent = is_sent, .set_rate = set_rate, .overrun = overrun,
      .microseconds = microseconds, .wait = wait};
  board->port = port;
  start(board);
  return board;
}

void c_board_free(c_board *board) {
  for (unsigned i = 0; i < 2; ++i) {
    free(board->slots[i]);
    free(board->lasting[i]);
  }
  while (board->unsynced_count > 0) {
    free(board->unsynced[--board->unsynced_count].bytes);
  }
  free(board->unsynced);
  free(board->port.store.spare);
  free(board->port.memory);
  free(board);
}

/* The power goes, unless it has gone, and comes again: all is forgotten but the slots. */
void c_board_power_on(c_board *board) {
  if (board->unsynced_count > 0) {
    lose_unsynced(board);
  }
  make_lasting(board); /* what a test has written there, too */
  start(board);
}

/* Bytes arrive; what the board says to them, at most room bytes, is stored in out. What it could not
 * say comes at the next call. Returns its size. A board that is off says nothing. */
size_t c_board_feed(c_board *board, const uint8_t *bytes, size_t size, uint8_t *out, size_t room) {
  arrive(board, bytes, size);
  board->out = out;
  board->out_room = room;
  board->out_size = 0;
  if (!board->is_off && setjmp(board->power) == 0) {
    int done;
    do {
      done = ct_session_step(&board->session);
    } while (done > 0);
    if (done < 0) {
      start(board);
    }
  }
  return board->out_size;
}

size_t c_board_tick(c_board *board, uint32_t passed, uint8_t *out, size_t room) {
  board->now += passed;
  return c_board_feed(board, out, 0, out, room);
}

/* Bytes that arrive once the board computes, after its first layer. */
void c_board_feed_late(c_board *board, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size && board->late_size < RING; ++i) {
    board->late[board->late_size++] = bytes[i];
  }
}

/* Let the operation fail that is so many further on, 1: the next; nothing of it happens, and it says
 * so or not. */
void c_board_fail(c_board *board, uint32_t operations, int silently) {
  board->is_silent = silently;
  board->fail_at = board->operations + operations;
}

/* Let the sync fail that is so many further on, 1: the next. */
void c_board_fail_sync(c_board *board, uint32_t syncs) {
  board->fail_sync_at = board->syncs + syncs;
}

/* Cut the power at the operation that is so many further on, 1: the next. */
void c_board_cut(c_board *board, uint32_t operations, int kind, uint32_t seed) {
  board->cut_at = board->operations + operations;
  board->cut_kind = kind;
  board->random = seed * 2654435761u + 1;
}

/* From here on: what a loss of power makes of what was not synced. */
void c_board_unsynced(c_board *board, int fate) {
  board->unsynced_fate = fate;
  make_lasting(board);
}

uint32_t c_board_operations(const c_board *board) { return board->operations; }

uint32_t c_board_syncs(const c_board *board) { return board->syncs; }

uint32_t c_board_violations(const c_board *board) { return board->violations; }

uint32_t c_board_rate(const c_board *board) { return board->rate; }

int c_board_is_off(const c_board *board) { return board->is_off; }

uint8_t *c_board_slot(c_board *board, uint32_t slot) { return board->slots[slot]; }
