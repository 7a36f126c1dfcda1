/* A whole network in the interpreter: open a container, run its golden slice, note the cycles. */
#include "ct.h"

static uint32_t now(void) {
  uint32_t low;
  __asm__ volatile("mvc .s2 TSCL, %0" : "=b"(low));
  return low;
}

static void after(void *user, uint32_t layer, const uint8_t *bytes, size_t size) {
  (void)bytes;
  (void)size;
  ((uint32_t *)user)[layer + 1] = now();
}

static ct_model model;

/* Returns the status of the container, or 1000 + the bytes that came out wrong. times: one before,
 * one after each layer, written in this order and not read. */
uint32_t run_network(const uint8_t *container, uint32_t size, uint8_t *arena, uint8_t *scratch,
                     uint32_t *times) {
  const ct_memory memory = {arena, scratch};
  const ct_hook hook = {after, times};
  const ct_status status = ct_open(&model, container, size);
  if (status != CT_OK) {
    return (uint32_t)status;
  }
  const size_t pixels = (size_t)model.height * model.width;
  ct_gather(arena + model.input, 0, model.golden_input, 0, (uint32_t)pixels * model.channels, 1, 0);
  times[0] = now();
  ct_run(&model, memory, &hook);
  uint32_t wrong = 0;
  for (size_t i = 0; i < pixels; ++i) {
    wrong += arena[model.output + i] != model.golden_output[i];
  }
  return 1000 + wrong;
}
