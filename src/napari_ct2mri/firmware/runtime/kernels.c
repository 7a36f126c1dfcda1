/* The portable kernels. What each does is said in kernels.h. */
#include "kernels.h"

enum { BLOCK = 16 }; /* bytes of a run that compilers copy at once, if they know their number */

static void copy_block(uint8_t *restrict target, const uint8_t *restrict source, uint8_t floor) {
  for (uint32_t k = 0; k < BLOCK; ++k) {
    target[k] = source[k] > floor ? source[k] : floor;
  }
}

void ct_gather(uint8_t *restrict patches, uint32_t depth, const uint8_t *restrict source,
               uint32_t step, uint32_t run, uint32_t pixels, uint8_t floor) {
  const uint32_t blocks = run - run % BLOCK;
  for (uint32_t p = 0; p < pixels; ++p) {
    for (uint32_t k = 0; k < blocks; k += BLOCK) {
      copy_block(patches + k, source + k, floor);
    }
    for (uint32_t k = blocks; k < run; ++k) {
      patches[k] = source[k] > floor ? source[k] : floor;
    }
    patches += depth;
    source += step;
  }
}

/* Two channels a loop: one load of the patch serves both. gcc makes dot products of four bytes of
 * the two sums where the processor has them; it does not if they stand in an array. */
void ct_matmul(int32_t *restrict acc, const uint8_t *restrict patches,
               const int8_t *restrict weights, const int32_t *restrict bias, uint32_t pixels,
               uint32_t channels, uint32_t depth) {
  const uint32_t taps = depth - depth % CT_DEPTH_STEP; /* equal; tells the compiler */
  for (uint32_t n = 0; n < channels; n += 2) {
    const int8_t *restrict first = weights + (size_t)n * depth;
    const int8_t *restrict second = first + depth;
    for (uint32_t p = 0; p < pixels; ++p) {
      const uint8_t *restrict patch = patches + (size_t)p * depth;
      int32_t a = bias[n], b = bias[n + 1];
      for (uint32_t k = 0; k < taps; ++k) {
        a += patch[k] * first[k];
        b += patch[k] * second[k];
      }
      acc[(size_t)p * channels + n] = a;
      acc[(size_t)p * channels + n + 1] = b;
    }
  }
}

/* Q6. The compilers that are supported shift negative numbers arithmetically; C leaves it open. */
typedef char ct_shift_is_arithmetic[((int64_t)-3 >> 1) == -2 ? 1 : -1];

/* (acc m + 2^(n-1)) >> n, by the same floor in two steps: compilers make vectors of it. */
static int64_t rescaled(int32_t acc, int32_t multiplier, int64_t shift) {
  const int64_t product = (int64_t)acc * multiplier;
  return ((product >> (shift - 1)) + 1) >> 1;
}

static int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

/* Both pairs of a channel are loaded, then one is taken: a loop without jumps. */
void ct_requantize(uint8_t *restrict out, uint32_t out_step, const int32_t *restrict acc,
                   uint32_t acc_step, uint32_t pixels, uint32_t channels,
                   const ct_rescale *rescale) {
  const ct_rescale r = *rescale;
  for (uint32_t p = 0; p < pixels; ++p) {
    for (uint32_t n = 0; n < channels; ++n) {
      const int32_t m0 = r.multiplier[0][n], m1 = r.multiplier[1][n];
      const int32_t n0 = r.shift[0][n], n1 = r.shift[1][n];
      const int64_t value = rescaled(acc[n], acc[n] < 0 ? m1 : m0, acc[n] < 0 ? n1 : n0);
      out[n] = (uint8_t)clamped(r.zero_point + value, r.low, r.high);
    }
    out += out_step;
    acc += acc_step;
  }
}

/* Q12: v in -32768..32767 to 1..255. */
static uint8_t ct_tanh(int32_t v, const uint16_t *table) {
  const int32_t a = v < -32767 ? 32767 : v < 0 ? -v : v;
  const int32_t i = a >> 7, f = a & 127;
  const int32_t t = (table[i] * (128 - f) + table[i + 1] * f + (1 << 14)) >> 15;
  return (uint8_t)(v < 0 ? 128 - t : 128 + t);
}

void ct_requantize_tanh(uint8_t *restrict out, uint32_t out_step, const int32_t *restrict acc,
                        uint32_t acc_step, uint32_t pixels, uint32_t channels,
                        const ct_rescale *rescale, const uint16_t *table) {
  for (uint32_t p = 0; p < pixels; ++p) {
    for (uint32_t n = 0; n < channels; ++n) {
      const int sign = acc[n] < 0;
      const int64_t v = rescaled(acc[n], rescale->multiplier[sign][n], rescale->shift[sign][n]);
      out[n] = ct_tanh((int32_t)clamped(v, -32768, 32767), table);
    }
    out += out_step;
    acc += acc_step;
  }
}
