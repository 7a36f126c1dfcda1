/* Any bytes on the line of a board: it drops them, refuses them, or does what they say in its own
 * memory, and then still answers HELLO.
 *
 * A fuzzer finds no CRC: most inputs are programs of a small language, of which frames are made here.
 * The first byte says what the board is: bit 0 a model is committed, bit 1 flash or plain memory, bit 2
 * a slow transmitter, bit 3 the rest are bytes of the line as they are. Then, again and again, an
 * operation:
 *
 *   0 type seq n payload[n]  a frame        3 n bytes[n]     bytes of the line, as they are
 *   1 n                      n * 4 ms pass  4 n              n blocks of the model, from where it stands
 *   2 cut                    the power goes at an operation of the store, then comes back
 *   5                        BEGIN of the model     6  COMMIT of it     7 plane flags id n   a SLICE
 *
 * Slots and memory are allocated to the byte. The model is that of the folder it runs in. */
#include "../c_board.c"

#include <stdio.h>

enum { BYTES = 1 << 15, MEMORY = 1 << 15, MOST_SAID = 4096, SLOW = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t model[BYTES];
static size_t model_size; /* of model.ctm in the folder it runs in: small, and never altered */

typedef struct {
  c_board *board;
  const uint8_t *data;
  size_t left;
  uint32_t block;
  size_t room; /* of the transmitter */
  uint8_t seq;
} program;

static uint8_t next(program *p) {
  if (p->left == 0) {
    return 0;
  }
  --p->left;
  return *p->data++;
}

static const uint8_t *take(program *p, size_t count, size_t *out_count) {
  const uint8_t *bytes = p->data;
  *out_count = count < p->left ? count : p->left;
  p->data += *out_count;
  p->left -= *out_count;
  return bytes;
}

static void hear(program *p, const uint8_t *bytes, size_t size) {
  static uint8_t said[MOST_SAID];
  size_t count = c_board_feed(p->board, bytes, size, said, p->room);
  for (int i = 0; i < 100 && count > 0; ++i) {
    count = c_board_feed(p->board, said, 0, said, p->room);
  }
}

static void say(program *p, uint8_t type, uint8_t seq, const uint8_t *head, size_t head_size,
                const uint8_t *bytes, size_t size) {
  uint8_t encoded[CT_FRAME_ENCODED];
  ct_frame_writer writer;
  ct_frame_begin(&writer, encoded, type, seq);
  ct_frame_add(&writer, head, head_size);
  ct_frame_add(&writer, bytes, size);
  ct_frame_end(&writer);
  hear(p, encoded, writer.size);
}

static void identify(program *p, uint8_t type) {
  uint8_t identity[36] = {(uint8_t)model_size, (uint8_t)(model_size >> 8)};
  ct_sha256 hash;
  ct_sha256_start(&hash);
  ct_sha256_add(&hash, model, model_size);
  ct_sha256_finish(&hash, identity + 4);
  say(p, type, ++p->seq, identity, sizeof identity, NULL, 0);
}

static void send_blocks(program *p, uint32_t count) {
  for (; count > 0; --count, ++p->block) {
    if (p->block * CT_BLOCK >= model_size) {
      p->block = 0;
    }
    for (uint32_t at = p->block * CT_BLOCK; at < (p->block + 1) * CT_BLOCK && at < model_size;
         at += 1024) {
      const uint32_t place = at % CT_BLOCK == 0 ? at | (uint32_t)1 << 31 : at;
      const uint8_t head[4] = {(uint8_t)place, (uint8_t)(place >> 8), (uint8_t)(place >> 16),
                               (uint8_t)(place >> 24)};
      const size_t left = model_size - at;
      say(p, CT_WRITE, ++p->seq, head, sizeof head, model + at, left < 1024 ? left : 1024);
    }
  }
}

static void push(program *p) {
  identify(p, CT_BEGIN);
  p->block = 0;
  send_blocks(p, (uint32_t)((model_size + CT_BLOCK - 1) / CT_BLOCK));
  identify(p, CT_COMMIT);
}

static void send_slice(program *p) {
  const uint8_t head[8] = {next(p), next(p), next(p)};
  size_t count;
  const size_t wanted = (size_t)next(p) * 4;
  const uint8_t *bytes = take(p, wanted, &count);
  say(p, CT_SLICE, ++p->seq, head, sizeof head, bytes, count);
}

static void step(program *p) {
  size_t count;
  switch (next(p) & 7) {
    case 0: {
      const uint8_t type = next(p), seq = next(p), wanted = next(p);
      const uint8_t *bytes = take(p, wanted, &count);
      say(p, type, seq, bytes, count, NULL, 0);
      break;
    }
    case 1: {
      static uint8_t said[MOST_SAID];
      (void)c_board_tick(p->board, next(p) * 4000u, said, p->room);
      break;
    }
    case 2:
      c_board_cut(p->board, next(p) % 64 + 1u, next(p) % 3, next(p));
      break;
    case 3: {
      const uint8_t wanted = next(p);
      const uint8_t *bytes = take(p, wanted, &count);
      hear(p, bytes, count);
      break;
    }
    case 4:
      send_blocks(p, next(p) % 9);
      break;
    case 5:
      identify(p, CT_BEGIN);
      p->block = 0;
      break;
    case 6:
      identify(p, CT_COMMIT);
      break;
    default:
      send_slice(p);
      break;
  }
  if (c_board_is_off(p->board)) {
    c_board_power_on(p->board);
  }
}

static void check(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    abort();
  }
}

/* After whatever was said: not a byte is stuck, HELLO is answered, flash was used as flash. */
static void greet(program *p) {
  static uint8_t said[MOST_SAID];
  static const uint8_t end = 0, hello[5] = {CT_PROTOCOL};
  ct_frame_reader reader = {0};
  size_t used = 0, count = 1;
  uint8_t encoded[CT_FRAME_ENCODED];
  ct_frame_writer writer;
  c_board_cut(p->board, 1u << 30, 0, 1);
  p->room = sizeof said;
  hear(p, &end, 1);
  ct_frame_begin(&writer, encoded, CT_HELLO, 0);
  ct_frame_add(&writer, hello, sizeof hello);
  ct_frame_end(&writer);
  count = c_board_feed(p->board, encoded, writer.size, said, sizeof said);
  check(ct_frame_read(&reader, said, count, &used) && reader.bytes[0] == (CT_HELLO | CT_ANSWER),
        "HELLO is not answered");
  check(c_board_violations(p->board) == 0, "the store was asked what no flash does");
}

static void load_model(void) {
  FILE *file = fopen("model.ctm", "rb");
  check(file != NULL, "no model.ctm in this folder");
  model_size = fread(model, 1, sizeof model, file);
  check(model_size > 0 && model_size < sizeof model, "model.ctm is too large");
  fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  program p = {NULL, data, size, 0, MOST_SAID, 0};
  if (model_size == 0) {
    load_model();
  }
  const uint8_t kind = next(&p);
  p.board = c_board_new(BYTES, kind & 2 ? 1 << 13 : CT_BLOCK, 1024, kind & 2, MEMORY, 16);
  if (kind & 1) {
    push(&p);
  }
  p.room = kind & 4 ? SLOW : MOST_SAID;
  if (kind & 8) {
    hear(&p, p.data, p.left);
    p.left = 0;
  }
  for (int i = 0; i < 200 && p.left > 0; ++i) {
    step(&p);
  }
  greet(&p);
  c_board_free(p.board);
  return 0;
}
