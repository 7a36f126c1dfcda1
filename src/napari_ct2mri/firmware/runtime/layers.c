/* The order in which a slice runs through its layers. Nothing here computes a value: taps are
 * gathered into patches (Q9 to Q11), kernels do the rest. Weights stream once: the outermost loop is
 * over blocks of channels that stay in the cache while the rows of the image pass. */
#include "ct.h"

typedef struct {
  const ct_image *image;
  const uint8_t *bytes; /* [height][width][channels] */
  uint8_t floor;        /* what it is raised to when read, Q8 */
} ct_source;

typedef struct {
  const ct_model *model;
  const ct_layer *layer;
  ct_memory memory;
  ct_source sources[2];
  int32_t *acc;      /* [tile_pixels][tile_channels] */
  uint8_t *patches;  /* [tile_pixels + 1][depth] */
} ct_work;

/* Which taps the patches of a tile hold: side * side pixels of the inputs, the first at (row, column)
 * in the first patch, stride columns further in each that follows. */
typedef struct {
  int32_t row, column;
  uint32_t side, stride;
  uint32_t count; /* patches */
} ct_tile;

/* Fill count bytes of taps with what lies beyond an image. */
static void fill(uint8_t *target, size_t count, uint8_t value) {
  for (size_t i = 0; i < count; ++i) {
    target[i] = value;
  }
}

/* The same run of taps beyond an image for each of count patches. */
static void fill_each(uint8_t *patches, uint32_t depth, uint32_t run, uint32_t count,
                      uint8_t value) {
  fill(patches, run, value);
  if (count > 1) {
    ct_gather(patches + depth, depth, patches, 0, run, count - 1, 0);
  }
}

/* Columns column..column + side - 1 of one line of an image for one patch; any may lie beyond it. */
static void gather_edge(uint8_t *patch, const ct_source *source, const uint8_t *line,
                        int32_t column, uint32_t side) {
  const uint32_t c = source->image->channels;
  const int32_t width = (int32_t)source->image->width, end = column + (int32_t)side;
  const uint32_t before = column < 0 ? (uint32_t)-column : 0;
  const uint32_t after = end > width ? (uint32_t)(end - width) : 0;
  const uint32_t inside = side - before - after;
  fill(patch, (size_t)before * c, source->image->zero_point);
  if (inside > 0) {
    ct_gather(patch + (size_t)before * c, 0, line + (size_t)(column + (int32_t)before) * c, 0,
              inside * c, 1, source->floor);
  }
  fill(patch + (size_t)(before + inside) * c, (size_t)after * c, source->image->zero_point);
}

/* Row row of an image for all patches of a tile: side columns a patch, from column on in the first.
 * Padding is one pixel (Q9, Q10), so that no patch but the first and the last reaches beyond. */
static void gather_row(uint8_t *target, const ct_work *work, const ct_tile *tile,
                       const ct_source *source, int32_t row, int32_t column, uint32_t side) {
  const ct_image *image = source->image;
  const uint32_t c = image->channels, depth = work->layer->depth;
  if (row < 0 || row >= (int32_t)image->height) {
    fill_each(target, depth, side * c, tile->count, image->zero_point);
    return;
  }
  const uint8_t *line = source->bytes + (size_t)row * image->width * c;
  uint32_t first = 0, end = tile->count;
  const int32_t last = column + (int32_t)((end - 1) * tile->stride);
  if (column < 0) {
    gather_edge(target, source, line, column, side);
    ++first;
  }
  if (end > first && last + (int32_t)side > (int32_t)image->width) {
    --end;
    gather_edge(target + (size_t)end * depth, source, line, last, side);
  }
  if (end > first) {
    column += (int32_t)(first * tile->stride);
    ct_gather(target + (size_t)first * depth, depth, line + (size_t)column * c, tile->stride * c,
              side * c, end - first, source->floor);
  }
}

/* All patches of a tile, one row of taps after the other. Of two inputs each column has first the
 * channels of the one, then those of the other (Q11). */
static void gather(const ct_work *work, const ct_tile *tile) {
  const uint32_t inputs = work->layer->input_count;
  const uint32_t at_once = inputs == 1 ? tile->side : 1;
  uint8_t *target = work->patches;
  for (uint32_t r = 0; r < tile->side; ++r) {
    for (uint32_t c = 0; c < tile->side; c += at_once) {
      for (uint32_t i = 0; i < inputs; ++i) {
        const ct_source *source = &work->sources[i];
        gather_row(target, work, tile, source, tile->row + (int32_t)r, tile->column + (int32_t)c,
                   at_once);
        target += at_once * source->image->channels;
      }
    }
  }
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
      const ct_tile tile = {(int32_t)(2 * y) - 1, (int32_t)(2 * x) - 1, 4, 2, pixels};
      gather(work, &tile);
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
        const ct_tile tile = {(int32_t)(y + p) - 1, (int32_t)x - 1, 2, 1, pixels + 1};
        gather(work, &tile);
        for (uint32_t q = 0; q < 2; ++q) {
          const size_t pixel = (size_t)(2 * y + p) * image->width + 2 * x + q;
          multiply(work, work->patches + (size_t)q * layer->depth, 2 * p + q, first, pixels,
                   out + pixel * image->channels, 2 * image->channels);
        }
      }
    }
  }
}

/* What a layer works with. Bytes of its patches beyond their taps are set here once (Q15). */
static ct_work start(const ct_model *model, const ct_layer *layer, ct_memory memory) {
  const size_t acc_bytes = (size_t)4 * layer->tile_pixels * layer->tile_channels;
  const size_t patches_at = (acc_bytes + CT_ALIGN - 1) / CT_ALIGN * CT_ALIGN;
  uint32_t taps = 0;
  ct_work work = {0};
  work.model = model;
  work.layer = layer;
  work.memory = memory;
  work.acc = (int32_t *)(void *)memory.scratch; /* scratch is aligned for any number */
  work.patches = memory.scratch + patches_at;
  for (uint32_t i = 0; i < layer->input_count; ++i) {
    const ct_image *image = &model->images[layer->inputs[i]];
    work.sources[i].image = image;
    work.sources[i].bytes = memory.arena + image->offset;
    work.sources[i].floor = layer->floor[i];
    taps += (layer->kind == CT_DOWN ? 16 : 4) * image->channels;
  }
  if (layer->depth > taps) {
    fill_each(work.patches + taps, layer->depth, layer->depth - taps, layer->tile_pixels + 1, 0);
  }
  return work;
}

void ct_run(const ct_model *model, ct_memory memory, const ct_hook *hook) {
  for (uint32_t i = 0; i < model->layer_count; ++i) {
    const ct_layer *layer = &model->layers[i];
    const ct_image *image = &model->images[layer->output];
    const ct_work work = start(model, layer, memory);
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
  ct_gather(memory.arena + model->input, 0, model->golden_input, 0,
            (uint32_t)pixels * model->channels, 1, 0);
  ct_run(model, memory, NULL);
  for (size_t i = 0; i < pixels; ++i) {
    wrong += memory.arena[model->output + i] != model->golden_output[i];
  }
  return wrong;
}
