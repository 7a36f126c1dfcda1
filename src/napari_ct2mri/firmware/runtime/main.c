/* The loop: slices in over the serial line, synthetic MR out.
 *
 * On start, and after "?":  "CT2MRI", status u8, ABI u8, height, width, channels, layers u32
 * "R" slice                 ->  microseconds u32, MR [height][width]
 * "D" slice                 ->  SHA-256 of what each layer stores, 32 bytes each; MR
 * "T"                       ->  u32: bytes of the golden pair that came out wrong
 * Numbers are little-endian; a slice is [height][width][channels] (Q13). While the status is not
 * CT_OK, or CT_NO_MEMORY, only "?" is answered. */
#include "port/port.h"

enum { CT_NO_MEMORY = 128 }; /* beside ct_status: the board is too small for the model */

typedef struct {
  ct_model model;
  ct_memory memory;
  uint8_t status;
} ct_board;

static void put32(uint8_t *out, uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) {
    out[i] = (uint8_t)(value >> 8 * i);
  }
}

static int write32(uint32_t value) {
  uint8_t bytes[4];
  put32(bytes, value);
  return ct_port_write(bytes, sizeof bytes);
}

static void start(ct_board *board) {
  size_t size;
  const uint8_t *container = ct_port_model(&size);
  board->status = (uint8_t)ct_open(&board->model, container, size);
  if (board->status == CT_OK) {
    board->memory = ct_port_memory(board->model.arena_bytes, board->model.scratch_bytes);
    board->status = board->memory.arena == NULL ? CT_NO_MEMORY : CT_OK;
  }
}

static int greet(const ct_board *board) {
  uint8_t hello[24] = "CT2MRI";
  const ct_model *model = &board->model;
  hello[6] = board->status;
  hello[7] = CT_ABI;
  if (board->status == CT_OK) {
    put32(hello + 8, model->height);
    put32(hello + 12, model->width);
    put32(hello + 16, model->channels);
    put32(hello + 20, model->layer_count);
  }
  return ct_port_write(hello, sizeof hello);
}

static int read_slice(const ct_board *board) {
  const ct_model *model = &board->model;
  return ct_port_read(board->memory.arena + model->input,
                      (size_t)model->height * model->width * model->channels);
}

static int write_mr(const ct_board *board) {
  const ct_model *model = &board->model;
  return ct_port_write(board->memory.arena + model->output,
                       (size_t)model->height * model->width);
}

static int run(const ct_board *board) {
  if (read_slice(board) != 0) {
    return -1;
  }
  const uint32_t before = ct_port_microseconds();
  ct_run(&board->model, board->memory, NULL);
  const uint32_t taken = ct_port_microseconds() - before;
  return write32(taken) != 0 ? -1 : write_mr(board);
}

static void write_digest(void *user, uint32_t layer, const uint8_t *bytes, size_t size) {
  uint8_t digest[32];
  ct_sha256 hash;
  (void)user;
  (void)layer;
  ct_sha256_start(&hash);
  ct_sha256_add(&hash, bytes, size);
  ct_sha256_finish(&hash, digest);
  (void)ct_port_write(digest, sizeof digest); /* a line that has ended shows at the next read */
}

static int run_with_digests(const ct_board *board) {
  const ct_hook hook = {write_digest, NULL};
  if (read_slice(board) != 0) {
    return -1;
  }
  ct_run(&board->model, board->memory, &hook);
  return write_mr(board);
}

static int answer(const ct_board *board, uint8_t command) {
  if (command == '?') {
    return greet(board);
  }
  if (board->status != CT_OK) {
    return 0;
  }
  switch (command) {
    case 'R':
      return run(board);
    case 'D':
      return run_with_digests(board);
    case 'T':
      return write32(ct_self_test(&board->model, board->memory));
    default:
      return 0;
  }
}

void ct_main(void) {
  static ct_board board; /* of this loop alone: too large for the stack of a small board */
  uint8_t command = '?';
  start(&board);
  while (answer(&board, command) == 0 && ct_port_read(&command, 1) == 0) {
  }
}
