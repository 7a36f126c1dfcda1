/* Kernels: the only code that touches every value, and all that a processor may want to have in
 * a version of its own. kernels.c is the portable one; a port that brings its own compiles that
 * instead of kernels.c. Rules "Q" are those of docs/quantization.md; every bit is fixed by them.
 *
 * How a layer uses them (layers.c). For a tile of output pixels of one row it gathers the taps of
 * each pixel into one "patch", so that a convolution is a product of two dense matrices:
 *
 *   patches [pixels][depth]    u8   gathered by ct_gather; one pixel after the other
 *   weights [channels][depth]  s8   as they lie in the container; one channel after the other
 *   acc     [pixels][channels] s32  = bias[channel] + patch . weights
 *
 * then ct_requantize turns acc into activations. Taps are in the order of Q9, Q10 and Q11: row,
 * column, channels of the first input, channels of the second.
 *
 * What every call may rely on:
 *   - depth is a multiple of CT_DEPTH_STEP, from 32 to CT_MAX_DEPTH; bytes of a patch beyond its
 *     taps are 0 and meet weights of 0;
 *   - channels of ct_matmul is even, from 2; the last is a zero channel where the layer's number is
 *     odd (its acc is computed and never stored);
 *   - every patch and every row of weights starts at a multiple of 32 bytes and may be read in whole
 *     8, 16 or 32 byte words, none of which ends beyond the row; the first row of weights of a
 *     pair of channels starts at a multiple of 64;
 *   - acc starts at a multiple of 64 bytes, its rows and bias at multiples of 8;
 *   - no two arguments overlap; no pointer is null; kernels have no state.
 *
 * Sizes that meet in practice (16 filters, 256 x 256): depth 32 for the first layer, 128 for the
 * last, 256 to 2048 between; pixels * depth <= CT_PATCH_BYTES, at least 2 pixels if the row has as
 * many; channels * depth up to CT_TILE_BYTES. One call of ct_matmul is meant to keep its patches
 * (16 KiB) in the first cache and its weights in the second; it reads each weight once for all
 * pixels if the loop over pairs of channels is outside, the one over pixels inside.
 *
 * kernels_c674x.S takes 8 products a cycle and a cycle for 8 bytes of a gathered run, if addresses
 * and steps are multiples of 8 and the run one of 16: numbers of channels that are multiples of 16
 * cost least. A run of any other form takes two cycles for 8, 4 or 1 bytes of it.
 */
#ifndef CT_KERNELS_H
#define CT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
  CT_DEPTH_STEP = 32,     /* taps; what a patch and a row of weights are filled up to */
  CT_MAX_DEPTH = 32768,   /* taps; 16 taps of 2048 channels */
  CT_PATCH_BYTES = 16384, /* aimed at for the patches of a tile */
  CT_TILE_BYTES = 131072, /* aimed at for the weights of a block of channels */
  CT_TANH_STEPS = 256     /* intervals of the table of Q12 */
};

/* How the accumulators of a channel become activations, Q6 and Q7. All arrays have one element a
 * channel: multiplier in [2^30, 2^31), shift in 1..62. Index 0 for acc >= 0, 1 for acc < 0. */
typedef struct {
  const int32_t *multiplier[2];
  const int32_t *shift[2];
  int32_t zero_point; /* 0..255 */
  int32_t low;        /* 0..high: ReLU has low = zero_point */
  int32_t high;       /* low..255 */
} ct_rescale;

/* Gather a run of taps of each pixel, each raised to at least floor (Q8):
 * patches[p * depth + k] = max(source[p * step + k], floor), k = 0..run - 1.
 * run: 1.. ; pixels: 1.. ; floor: 0..255, 0 copies. depth, bytes from one patch to the next: at
 * least run; step, bytes from one pixel's run to the next: 0.. , so that runs may overlap, or be one
 * and the same. Neither pointer is aligned; nor is depth, which nobody looks at for one pixel. */
void ct_gather(uint8_t *patches, uint32_t depth, const uint8_t *source, uint32_t step, uint32_t run,
               uint32_t pixels, uint8_t floor);

/* acc[p][n] = bias[n] + sum_k patches[p][k] * weights[n][k], Q3.
 * patches [pixels][depth], weights [channels][depth], bias [channels], acc [pixels][channels].
 * pixels: 1.. ; channels: 2, 4, .. ; depth: 32, 64, .. No sum leaves 32 bits (Q5). */
void ct_matmul(int32_t *acc, const uint8_t *patches, const int8_t *weights, const int32_t *bias,
               uint32_t pixels, uint32_t channels, uint32_t depth);

/* out[p * out_step + n] = clamp(z + rescale(acc[p * acc_step + n]), low, high), Q6 to Q8.
 * pixels: 1.. ; channels: 1.. , may be odd; acc_step: channels rounded up to even.
 * out_step, bytes from one pixel to the next: at least channels; out is not aligned. */
void ct_requantize(uint8_t *out, uint32_t out_step, const int32_t *acc, uint32_t acc_step,
                   uint32_t pixels, uint32_t channels, const ct_rescale *rescale);

/* As ct_requantize, but to signed 16 bits at scale 2^-12 and through tanh, Q12: out in 1..255.
 * table: CT_TANH_STEPS + 1 values in 0..32512, rising. zero_point, low and high are not looked
 * at. */
void ct_requantize_tanh(uint8_t *out, uint32_t out_step, const int32_t *acc, uint32_t acc_step,
                        uint32_t pixels, uint32_t channels, const ct_rescale *rescale,
                        const uint16_t *table);

#endif
