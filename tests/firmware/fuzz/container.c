/* Any bytes as a container: the reader refuses them by a number, or they run in their own memory.
 *
 * The SHA-256 is made right first, since no fuzzer finds one; everything behind it is then as if
 * written by an attacker. Container, arena and scratch are allocated to the byte, so that the
 * address sanitizer sees one step beyond. */
#define _POSIX_C_SOURCE 200112L
#include <stdlib.h>
#include <string.h>

#include "ct.h"

enum { HEADER_BYTES = 128, DIGEST_AT = 96 };
static const uint64_t most_bytes = 1 << 20, most_products = 1 << 22; /* keeps a run below 0.1 s */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *allocate(size_t size) {
  void *block;
  return posix_memalign(&block, CT_ALIGN, size > 0 ? size : 1) == 0 ? block : NULL;
}

static void seal(uint8_t *container, size_t size) {
  ct_sha256 hash;
  uint32_t said = 0;
  for (unsigned i = 0; i < 4; ++i) {
    said |= (uint32_t)container[16 + i] << 8 * i;
  }
  if (said >= HEADER_BYTES && said <= size) {
    ct_sha256_start(&hash);
    ct_sha256_add(&hash, container, DIGEST_AT);
    ct_sha256_add(&hash, container + HEADER_BYTES, said - HEADER_BYTES);
    ct_sha256_finish(&hash, container + DIGEST_AT);
  }
}

static uint64_t products(const ct_model *model) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < model->layer_count; ++i) {
    const ct_layer *layer = &model->layers[i];
    const ct_image *out = &model->images[layer->output];
    sum += (uint64_t)out->height * out->width * layer->channels * layer->depth;
  }
  return sum;
}

static void run(const ct_model *model) {
  const ct_memory memory = {allocate(model->arena_bytes), allocate(model->scratch_bytes)};
  if (memory.arena != NULL && memory.scratch != NULL) {
    memset(memory.arena, 0xA5, model->arena_bytes);
    (void)ct_self_test(model, memory);
  }
  free(memory.arena);
  free(memory.scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ct_model model;
  uint8_t *container = allocate(size);
  if (container == NULL) {
    return 0;
  }
  memcpy(container, data, size);
  if (size >= HEADER_BYTES) {
    seal(container, size);
  }
  if (ct_open(&model, container, size) == CT_OK &&
      (uint64_t)model.arena_bytes + model.scratch_bytes <= most_bytes &&
      products(&model) <= most_products) {
    run(&model);
  }
  free(container);
  return 0;
}
