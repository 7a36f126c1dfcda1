/* The order in which a slice runs through its layers. Nothing here computes a value: taps are
 * gathered into patches (Q9 to Q11), kernels do the rest. Weights stream once: the outermost loop is
 * over blocks of channels that stay in the cache while the rows of the image pass. */
#include "ct.h"

typedef struct {
  const ct_model *model;
  const ct_layer *layer;
  ct_memory memory;
  int32_t *acc;      /* [tile_pixels][tile_channels] */
  uint8_t *patches;  /* [tile_pixels + 1][depth] */
} ct_work;

/* Fill count bytes of taps with what lies beyond an image. */
static void fill(uint8_t *target, size_t count, uint8_t value) {
  for (size_t i = 0; i < count; ++i) {
    target[i] = value;
  }
}

/* Copy side taps of one row, columns column..column + side - 1 of row row of an image, either of
 * which may lie beyond it. */
static void gather_row(uint8_t *target, const ct_image *image, const uint8_t *bytes, int32_t row,
                       int32_t column, int32_t side, uint8_t floor) {
  const int32_t width = (int32_t)image->width;
  const size_t c = image->channels;
  if (row < 0 || row >= (int32_t)image->height) {
    fill(target, (size_t)side * c, image->zero_point);
    return;
  }
  const int32_t before = column < 0 ? -column : 0;
  const int32_t after = column + side > width ? column + side - width : 0;
  const int32_t inside = side - before - after;
  fill(target, (size_t)before * c, image->zero_point);
  ct_copy(target + (size_t)before * c,
          bytes + ((size_t)row * image->width + (size_t)(column + before)) * c,
          (size_t)inside * c, floor);
  fill(target + (size_t)(before + inside) * c, (size_t)after * c, image->zero_point);
}

/* As gather_row for a tap row of two inputs: at each column the channels of the first, then those
 * of the second (Q11). */
static void gather_pair(uint8_t *target, const ct_image *const image[2],
                        const uint8_t *const bytes[2], int32_t row, int32_t column, int32_t side,
                        const uint8_t floor[2]) {
  for (int32_t c = 0; c < side; ++c) {
    gather_row(target, image[0], bytes[0], row, column + c, 1, floor[0]);
    target += image[0]->channels;
    gather_row(target, image[1], bytes[1], row, column + c, 1, floor[1]);
    target += image[1]->channels;
  }
}

/* The patch whose first tap is at (row, column) of the inputs; side * side pixels. */
static void gather_patch(const ct_work *work, uint8_t *patch, int32_t row, int32_t column,
                         int32_t side) {
  const ct_layer *layer = work->layer;
  const ct_image *image[2];
  const uint8_t *bytes[2];
  size_t per_pixel = 0;
  for (uint32_t i = 0; i < layer->input_count; ++i) {
    image[i] = &work->model->images[layer->inputs[i]];
    bytes[i] = work->memory.arena + image[i]->offset;
    per_pixel += image[i]->channels;
  }
  const size_t row_bytes = (size_t)side * per_pixel;
  for (int32_t r = 0; r < side; ++r) {
    uint8_t *target = patch + (size_t)r * row_bytes;
    if (layer->input_count == 1) {
      gather_row(target, image[0], bytes[0], row + r, column, side, layer->floor[0]);
    } else {
      gather_pair(target, image, bytes, row + r, column, side, layer->floor);
    }
  }
  const size_t taps = (size_t)side * row_bytes;
  fill(patch + taps, layer->depth - taps, 0); /* Q15 */
}

/* Channels first..first + count of one phase for pixels patches, to out and every step bytes. */
static void multiply(const ct_work *work, const uint8_t *patches, uint32_t phase, uint32_t first,
                     uint32_t pixels, uint8_t *out, uint32_t step) {
  const ct_layer *layer = work->layer;
  const uint32_t left = layer->channels - first;
  const uint32_t count = left < layer->tile_channels ? left : layer->tile_channels;
  const uint32_t real = work->model->images[layer->output].channels - first;
  const size_t row = (size_t)phase * layer->channels + first;
  ct_rescale rescale = layer->rescale;
  for (int sign = 0; sign < 2; ++sign) {
    rescale.multiplier[sign] += first;
    rescale.shift[sign] += first;
  }
  ct_matmul(work->acc, patches, layer->weights + row * layer->depth, layer->bias + row, pixels,
            count, layer->depth);
  const uint32_t stored = real < count ? real : count;
  if (layer->is_tanh) {
    ct_requantize_tanh(out + first, step, work->acc, count, pixels, stored, &rescale,
                       work->model->tanh);
  } else {
    ct_requantize(out + first, step, work->acc, count, pixels, stored, &rescale);
  }
}

/* Q9, one block of channels. */
static void run_down(const ct_work *work, uint32_t first) {
  const ct_layer *layer = work->layer;
  const ct_image *image = &work->model->images[layer->output];
  uint8_t *out = work->memory.arena + image->offset;
  for (uint32_t y = 0; y < image->height; ++y) {
    for (uint32_t x = 0; x < image->width; x += layer->tile_pixels) {
      const uint32_t left = image->width - x;
      const uint32_t pixels = left < layer->tile_pixels ? left : layer->tile_pixels;
      for (uint32_t i = 0; i < pixels; ++i) {
        gather_patch(work, work->patches + (size_t)i * layer->depth, (int32_t)(2 * y) - 1,
                     (int32_t)(2 * (x + i)) - 1, 4);
      }
      multiply(work, work->patches, 0, first, pixels,
               out + ((size_t)y * image->width + x) * image->channels, image->channels);
    }
  }
}

/* Q10, one block of channels. The patch of pixel x in phase q = 1 is that of x + 1 in q = 0, so
 * that one patch more than pixels serves both. */
static void run_up(const ct_work *work, uint32_t first) {
  const ct_layer *layer = work->layer;
  const ct_image *image = &work->model->images[layer->output];
  const uint32_t height = image->height / 2, width = image->width / 2;
  uint8_t *out = work->memory.arena + image->offset;
  for (uint32_t p = 0; p < 2; ++p) {
    for (uint32_t y = 0; y < height; ++y) {
      for (uint32_t x = 0; x < width; x += layer->tile_pixels) {
        const uint32_t left = width - x;
        const uint32_t pixels = left < layer->tile_pixels ? left : layer->tile_pixels;
        for (uint32_t i = 0; i <= pixels; ++i) {
          gather_patch(work, work->patches + (size_t)i * layer->depth, (int32_t)(y + p) - 1,
                       (int32_t)(x + i) - 1, 2);
        }
        for (uint32_t q = 0; q < 2; ++q) {
          const size_t pixel = (size_t)(2 * y + p) * image->width + 2 * x + q;
          multiply(work, work->patches + (size_t)q * layer->depth, 2 * p + q, first, pixels,
                   out + pixel * image->channels, 2 * image->channels);
        }
      }
    }
  }
}

void ct_run(const ct_model *model, ct_memory memory, const ct_hook *hook) {
  for (uint32_t i = 0; i < model->layer_count; ++i) {
    const ct_layer *layer = &model->layers[i];
    const ct_image *image = &model->images[layer->output];
    const size_t acc_bytes = (size_t)4 * layer->tile_pixels * layer->tile_channels;
    const size_t patches_at = (acc_bytes + CT_ALIGN - 1) / CT_ALIGN * CT_ALIGN;
    /* scratch is aligned for any number */
    const ct_work work = {model, layer, memory, (int32_t *)(void *)memory.scratch,
                          memory.scratch + patches_at};
    for (uint32_t first = 0; first < layer->channels; first += layer->tile_channels) {
      if (layer->kind == CT_DOWN) {
        run_down(&work, first);
      } else {
        run_up(&work, first);
      }
    }
    if (hook != NULL) {
      hook->after(hook->user, i, memory.arena + image->offset,
                  (size_t)image->height * image->width * image->channels);
    }
  }
}

uint32_t ct_self_test(const ct_model *model, ct_memory memory) {
  const size_t pixels = (size_t)model->height * model->width;
  uint32_t wrong = 0;
  ct_copy(memory.arena + model->input, model->golden_input, pixels * model->channels, 0);
  ct_run(model, memory, NULL);
  for (size_t i = 0; i < pixels; ++i) {
    wrong += memory.arena[model->output + i] != model->golden_output[i];
  }
  return wrong;
}
