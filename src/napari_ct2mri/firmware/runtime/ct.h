/* A quantized generator on a board: open a container, run a slice.
 *
 *   ct_model model;
 *   ct_status status = ct_open(&model, container, size);
 *   ... the caller gives model.arena_bytes and model.scratch_bytes of memory ...
 *   ct_memory memory = {arena, scratch};
 *   write the slice, [height][width][channels], to memory.arena + model.input;
 *   ct_run(&model, memory, hook);
 *   read the MR, [height][width], at memory.arena + model.output.
 *
 * No heap, no state but what the caller holds, no libc. Rules "Q" are those of
 * docs/quantization.md, which fix every bit of the result. */
#ifndef CT_H
#define CT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || \
    defined(_BIG_ENDIAN) && !defined(__BYTE_ORDER__)
#error "model containers are little-endian, and so must be the board"
#endif

enum {
  CT_FORMAT = 1,       /* of the container */
  CT_ABI = 1,          /* of what its layers ask of the runtime */
  CT_MAX_LAYERS = 32,
  CT_MAX_IMAGES = 33,
  CT_MAX_TABLES = 9,
  CT_MAX_SIDE = 2048,  /* pixels */
  CT_ALIGN = 64        /* bytes; of arena and scratch */
};

/* What can be wrong with a container. The numbers are the same in Python (container.py). */
typedef enum {
  CT_OK = 0,
  CT_E_CUT = 1,      /* fewer bytes than a header, or than the header says */
  CT_E_MAGIC = 2,    /* no container */
  CT_E_ORDER = 3,    /* of another byte order */
  CT_E_FORMAT = 4,   /* of another version */
  CT_E_ABI = 5,      /* for another firmware: rebuild and reboot */
  CT_E_DIGEST = 6,   /* altered: the SHA-256 differs */
  CT_E_HEADER = 7,   /* a number of the header is out of range */
  CT_E_IMAGE = 8,    /* an image lies outside the arena or has no size */
  CT_E_LAYER = 9,    /* a layer's images, depth or tile do not fit together */
  CT_E_PLACE = 10,   /* parameters, a table or the golden pair lie outside the container */
  CT_E_RESCALE = 11, /* a multiplier or shift is out of range (Q6) */
  CT_E_OVERFLOW = 12, /* accumulators could leave 32 bits (Q5) */
  CT_E_TABLE = 13,   /* the table of tanh does not rise or a table of CT values is too long */
  CT_E_ALIGN = 14    /* the container does not start at a multiple of CT_ALIGN bytes */
} ct_status;

typedef struct {
  uint32_t offset; /* in the arena, bytes, a multiple of CT_ALIGN */
  uint32_t height, width, channels;
  uint8_t zero_point;
} ct_image;

typedef enum { CT_DOWN = 1, CT_UP = 2 } ct_kind;

typedef struct {
  ct_kind kind;
  uint32_t inputs[2]; /* numbers of images; the first is a skip where there are two */
  uint32_t input_count;
  uint32_t output;
  int is_tanh;        /* the last layer, Q12 */
  uint8_t floor[2];   /* what each input is raised to when read, Q8 */
  uint32_t depth;     /* taps, filled up */
  uint32_t channels;  /* of the output, rounded up to even */
  uint32_t tile_pixels, tile_channels;
  const int32_t *bias;   /* [phases][channels] */
  const int8_t *weights; /* [phases][channels][depth] */
  ct_rescale rescale;
} ct_layer;

/* How CT values become bytes of the input (Q13): value v reads bytes[clamp(v - first)]. */
typedef struct {
  int32_t first;
  uint32_t count;
  const uint8_t *bytes;
} ct_table;

typedef struct {
  uint32_t height, width, channels; /* of the input */
  uint32_t arena_bytes, scratch_bytes;
  uint32_t input, output; /* offsets in the arena */
  uint32_t image_count, layer_count;
  uint32_t window_count;         /* CT windows; channels is a multiple of it */
  int takes_pictures;            /* then tables[window_count] is that of grey levels */
  const uint16_t *tanh;          /* CT_TANH_STEPS + 1 values, Q12 */
  const uint8_t *golden_input;   /* [height][width][channels] */
  const uint8_t *golden_output;  /* [height][width] */
  const uint8_t *digest;         /* 32 bytes, SHA-256 */
  ct_table tables[CT_MAX_TABLES]; /* one a window, then that of pictures */
  ct_image images[CT_MAX_IMAGES];
  ct_layer layers[CT_MAX_LAYERS];
} ct_model;

/* Two blocks, both at multiples of CT_ALIGN bytes: arena_bytes, and scratch_bytes in the fastest
 * memory there is. Their contents need not outlive ct_run but for the output. */
typedef struct {
  uint8_t *arena;
  uint8_t *scratch;
} ct_memory;

/* Called after each layer, with the image it stored: to compare it or to take the time. */
typedef struct {
  void (*after)(void *user, uint32_t layer, const uint8_t *bytes, size_t size);
  void *user;
} ct_hook;

/* Open a container of size bytes at a multiple of CT_ALIGN. Every number in it is bounded before
 * it is used, so that no container makes ct_run leave its memory. On CT_OK the model points into
 * the container, which must stay; on an error the model is undefined. */
ct_status ct_open(ct_model *out_model, const uint8_t *container, size_t size);

/* Run the slice that lies at memory.arena + model->input; its place is used again meanwhile.
 * hook may be null. */
void ct_run(const ct_model *model, ct_memory memory, const ct_hook *hook);

/* Run the golden pair. Returns the number of bytes that differ; 0 is right. */
uint32_t ct_self_test(const ct_model *model, ct_memory memory);

/* SHA-256 (FIPS 180-4) of bytes that may come in parts: start, add as often as wanted, finish. */
typedef struct {
  uint64_t size; /* bytes so far */
  uint32_t state[8];
  uint8_t block[64];
} ct_sha256;

void ct_sha256_start(ct_sha256 *hash);
void ct_sha256_add(ct_sha256 *hash, const uint8_t *data, size_t size);
void ct_sha256_finish(ct_sha256 *hash, uint8_t out_digest[32]);

#endif
