/* The reader of model.ctm, whose layout stands at the head of container.py. Every number is
 * bounded before it is used; sums of two numbers are made in 64 bits, so that none wraps. */
#include "ct.h"

enum {
  HEADER_BYTES = 128,
  IMAGE_BYTES = 16,
  LAYER_BYTES = 32,
  TABLE_BYTES = 16,
  DIGEST_AT = 96,
  PAGE = 4096,
  MAX_TABLE = 16384,
  MAX_CHANNELS = 255 /* of the input */
};

static const uint32_t picture = 0xFFFFFFFF; /* kind of the table for pictures */

typedef struct {
  const uint8_t *bytes;
  size_t size;
  uint32_t images_at, layers_at, tables_at, tanh_at, input_at, output_at;
  uint32_t table_count;
} ct_reader;

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }

static uint64_t aligned(uint64_t size) { return (size + CT_ALIGN - 1) / CT_ALIGN * CT_ALIGN; }

static int lies_inside(const ct_reader *reader, uint32_t place, uint64_t size, uint32_t step) {
  return place % step == 0 && place + size <= reader->size;
}

static int is_altered(const ct_reader *reader) {
  uint8_t digest[32];
  ct_sha256 hash;
  int wrong = 0;
  ct_sha256_start(&hash);
  ct_sha256_add(&hash, reader->bytes, DIGEST_AT);
  ct_sha256_add(&hash, reader->bytes + HEADER_BYTES, reader->size - HEADER_BYTES);
  ct_sha256_finish(&hash, digest);
  for (unsigned i = 0; i < sizeof digest; ++i) {
    wrong |= digest[i] != reader->bytes[DIGEST_AT + i];
  }
  return wrong;
}

/* Whether the block is a whole container for this firmware. */
static ct_status check_frame(ct_reader *reader) {
  static const uint8_t magic[8] = "CT2MRI\r\n";
  const uint8_t *h = reader->bytes;
  if (reader->size < HEADER_BYTES) {
    return CT_E_CUT;
  }
  for (unsigned i = 0; i < sizeof magic; ++i) {
    if (h[i] != magic[i]) {
      return CT_E_MAGIC;
    }
  }
  if (get32(h + 8) != 0x04030201) {
    return CT_E_ORDER;
  }
  if (get16(h + 12) != CT_FORMAT) {
    return CT_E_FORMAT;
  }
  if (get16(h + 14) != CT_ABI) {
    return CT_E_ABI;
  }
  const uint32_t size = get32(h + 16);
  if (size > reader->size || size < HEADER_BYTES) {
    return CT_E_CUT;
  }
  reader->size = size;
  return is_altered(reader) ? CT_E_DIGEST : CT_OK;
}

static ct_status read_header(ct_reader *reader, ct_model *model) {
  const uint8_t *h = reader->bytes;
  const ct_status status = check_frame(reader);
  if (status != CT_OK) {
    return status;
  }
  model->arena_bytes = get32(h + 20);
  model->scratch_bytes = get32(h + 24);
  model->height = get16(h + 28);
  model->width = get16(h + 30);
  model->channels = get16(h + 32);
  model->window_count = get16(h + 34);
  model->image_count = get16(h + 36);
  model->layer_count = get16(h + 38);
  reader->table_count = get16(h + 40);
  int reserved = get16(h + 42) != 0;
  for (unsigned i = 76; i < DIGEST_AT; ++i) {
    reserved |= h[i] != 0;
  }
  if (reserved || model->layer_count < 1 || model->layer_count > CT_MAX_LAYERS ||
      model->image_count != model->layer_count + 1 || model->window_count < 1 ||
      model->window_count > reader->table_count || reader->table_count > CT_MAX_TABLES ||
      model->channels < 1 || model->channels > MAX_CHANNELS ||
      model->channels % model->window_count != 0) {
    return CT_E_HEADER;
  }
  reader->images_at = get32(h + 44);
  reader->layers_at = get32(h + 48);
  reader->tables_at = get32(h + 52);
  reader->tanh_at = get32(h + 56);
  reader->input_at = get32(h + 60);
  reader->output_at = get32(h + 64);
  model->digest = h + DIGEST_AT;
  if (!lies_inside(reader, reader->images_at, model->image_count * IMAGE_BYTES, 4) ||
      !lies_inside(reader, reader->layers_at, model->layer_count * LAYER_BYTES, 4) ||
      !lies_inside(reader, reader->tables_at, reader->table_count * TABLE_BYTES, 4) ||
      !lies_inside(reader, get32(h + 68), get32(h + 72), 1)) {
    return CT_E_PLACE;
  }
  return CT_OK;
}

static ct_status read_images(const ct_reader *reader, ct_model *model) {
  for (uint32_t i = 0; i < model->image_count; ++i) {
    const uint8_t *r = reader->bytes + reader->images_at + i * IMAGE_BYTES;
    ct_image *image = &model->images[i];
    image->offset = get32(r);
    image->height = get16(r + 4);
    image->width = get16(r + 6);
    image->channels = get16(r + 8);
    image->zero_point = r[10];
    const uint64_t size = (uint64_t)image->height * image->width * image->channels;
    if (size == 0 || image->height > CT_MAX_SIDE || image->width > CT_MAX_SIDE ||
        image->offset % CT_ALIGN != 0 || image->offset + size > model->arena_bytes) {
      return CT_E_IMAGE;
    }
  }
  const ct_image *first = &model->images[0], *last = &model->images[model->image_count - 1];
  if (first->height != model->height || first->width != model->width ||
      first->channels != model->channels || last->height != model->height ||
      last->width != model->width || last->channels != 1) {
    return CT_E_IMAGE;
  }
  model->input = first->offset;
  model->output = last->offset;
  return CT_OK;
}

/* Whether a layer of this kind makes images like out of images like source. */
static int matches(ct_kind kind, const ct_image *source, const ct_image *out) {
  const ct_image *small = kind == CT_DOWN ? out : source;
  const ct_image *large = kind == CT_DOWN ? source : out;
  return large->height == 2 * small->height && large->width == 2 * small->width;
}

/* Inputs and output of layer number; *out_taps is what it multiplies for one value. */
static int read_images_of(const uint8_t *record, ct_model *model, uint32_t number,
                          uint32_t *out_taps) {
  ct_layer *layer = &model->layers[number];
  const ct_image *out = &model->images[number + 1];
  const uint8_t activation = record[1], rectified = record[3];
  layer->output = number + 1;
  layer->input_count = record[2];
  if (record[0] < CT_DOWN || record[0] > CT_UP || activation > 2 || layer->input_count < 1 ||
      layer->input_count > 2 || rectified >> layer->input_count != 0) {
    return 0;
  }
  layer->kind = (ct_kind)record[0];
  layer->is_tanh = activation == 2;
  layer->rescale.zero_point = out->zero_point;
  layer->rescale.low = activation == 1 ? out->zero_point : 0;
  layer->rescale.high = 255;
  *out_taps = 0;
  for (uint32_t i = 0; i < layer->input_count; ++i) {
    layer->inputs[i] = get16(record + 4 + 2 * i);
    if (layer->inputs[i] > number) {
      return 0;
    }
    const ct_image *source = &model->images[layer->inputs[i]];
    if (!matches(layer->kind, source, out)) {
      return 0;
    }
    layer->floor[i] = rectified >> i & 1 ? source->zero_point : 0;
    *out_taps += (layer->kind == CT_DOWN ? 16 : 4) * source->channels;
  }
  return layer->is_tanh == (number == model->layer_count - 1);
}

static ct_status read_layer(const ct_reader *reader, ct_model *model, uint32_t number) {
  const uint8_t *r = reader->bytes + reader->layers_at + number * LAYER_BYTES;
  ct_layer *layer = &model->layers[number];
  uint32_t taps;
  if (!read_images_of(r, model, number, &taps)) {
    return CT_E_LAYER;
  }
  layer->tile_pixels = get16(r + 8);
  layer->tile_channels = get16(r + 10);
  layer->channels = get32(r + 12);
  layer->depth = get32(r + 16);
  const uint32_t channels = model->images[number + 1].channels;
  if (taps > layer->depth || layer->depth > CT_MAX_DEPTH || layer->depth % CT_DEPTH_STEP != 0 ||
      layer->channels != channels + channels % 2 || layer->tile_pixels < 1 ||
      layer->tile_channels < 2 || layer->tile_channels % 2 != 0 || get32(r + 24) != 0 ||
      get32(r + 28) != 0) {
    return CT_E_LAYER;
  }
  const uint64_t acc = (uint64_t)4 * layer->tile_pixels * layer->tile_channels;
  const uint64_t patches = (uint64_t)(layer->tile_pixels + 1) * layer->depth;
  return aligned(acc) + patches > model->scratch_bytes ? CT_E_LAYER : CT_OK;
}

/* Q5 for one row of weights. */
static int may_overflow(int32_t bias, const int8_t *weights, uint32_t depth) {
  int64_t reach = bias < 0 ? -(int64_t)bias : bias;
  for (uint32_t k = 0; k < depth; ++k) {
    reach += 255 * (weights[k] < 0 ? -weights[k] : weights[k]);
  }
  return reach > INT32_MAX;
}

static ct_status read_parameters(const ct_reader *reader, ct_layer *layer, uint32_t place) {
  const uint32_t phases = layer->kind == CT_DOWN ? 1 : 4;
  const uint32_t rows = phases * layer->channels; /* below 2^19 */
  const uint64_t before = aligned((uint64_t)4 * layer->channels * (phases + 4));
  if (!lies_inside(reader, place, before + (uint64_t)rows * layer->depth, PAGE)) {
    return CT_E_PLACE;
  }
  /* aligned: the container starts at a multiple of CT_ALIGN, the layer at one of PAGE */
  const int32_t *words = (const int32_t *)(const void *)(reader->bytes + place);
  const int32_t *multiplier = words + rows, *shift = multiplier + 2 * layer->channels;
  layer->bias = words;
  layer->weights = (const int8_t *)reader->bytes + place + before;
  for (uint32_t i = 0; i < 2 * layer->channels; ++i) {
    if (multiplier[i] < 1 << 30 || shift[i] < 1 || shift[i] > 62) {
      return CT_E_RESCALE;
    }
  }
  for (uint32_t sign = 0; sign < 2; ++sign) {
    layer->rescale.multiplier[sign] = multiplier + sign * layer->channels;
    layer->rescale.shift[sign] = shift + sign * layer->channels;
  }
  for (uint32_t i = 0; i < rows; ++i) {
    if (may_overflow(layer->bias[i], layer->weights + (size_t)i * layer->depth, layer->depth)) {
      return CT_E_OVERFLOW;
    }
  }
  return CT_OK;
}

static ct_status read_tanh(const ct_reader *reader, ct_model *model) {
  if (!lies_inside(reader, reader->tanh_at, 2 * (CT_TANH_STEPS + 1), CT_ALIGN)) {
    return CT_E_PLACE;
  }
  model->tanh = (const uint16_t *)(const void *)(reader->bytes + reader->tanh_at);
  for (unsigned i = 0; i < CT_TANH_STEPS; ++i) {
    if (model->tanh[i + 1] < model->tanh[i]) {
      return CT_E_TABLE;
    }
  }
  return model->tanh[CT_TANH_STEPS] > 127 * 256 ? CT_E_TABLE : CT_OK;
}

static ct_status read_tables(const ct_reader *reader, ct_model *model) {
  for (uint32_t i = 0; i < reader->table_count; ++i) {
    const uint8_t *r = reader->bytes + reader->tables_at + i * TABLE_BYTES;
    ct_table *table = &model->tables[i];
    const uint32_t first = get32(r);
    table->count = get32(r + 4);
    const uint32_t place = get32(r + 8);
    /* -2 MAX_TABLE <= first <= 2 MAX_TABLE, in arithmetic that wraps */
    if (table->count < 1 || table->count > MAX_TABLE ||
        (uint32_t)(first + 2u * MAX_TABLE) > 4u * MAX_TABLE ||
        get32(r + 12) != (i < model->window_count ? i : picture)) {
      return CT_E_TABLE;
    }
    table->first = (int32_t)(first + 2u * MAX_TABLE) - 2 * MAX_TABLE;
    if (!lies_inside(reader, place, table->count, CT_ALIGN)) {
      return CT_E_PLACE;
    }
    table->bytes = reader->bytes + place;
  }
  model->takes_pictures = reader->table_count > model->window_count;
  return CT_OK;
}

static ct_status read_golden(const ct_reader *reader, ct_model *model) {
  const uint64_t pixels = (uint64_t)model->height * model->width;
  if (!lies_inside(reader, reader->input_at, pixels * model->channels, CT_ALIGN) ||
      !lies_inside(reader, reader->output_at, pixels, CT_ALIGN)) {
    return CT_E_PLACE;
  }
  model->golden_input = reader->bytes + reader->input_at;
  model->golden_output = reader->bytes + reader->output_at;
  return CT_OK;
}

ct_status ct_open(ct_model *out_model, const uint8_t *container, size_t size) {
  ct_reader reader = {0};
  reader.bytes = container;
  reader.size = size;
  if ((uintptr_t)container % CT_ALIGN != 0) {
    return CT_E_ALIGN;
  }
  ct_status status = read_header(&reader, out_model);
  if (status == CT_OK) {
    status = read_images(&reader, out_model);
  }
  for (uint32_t i = 0; status == CT_OK && i < out_model->layer_count; ++i) {
    status = read_layer(&reader, out_model, i);
    if (status == CT_OK) {
      const uint8_t *record = reader.bytes + reader.layers_at + i * LAYER_BYTES;
      status = read_parameters(&reader, &out_model->layers[i], get32(record + 20));
    }
  }
  if (status == CT_OK) {
    status = read_tanh(&reader, out_model);
  }
  if (status == CT_OK) {
    status = read_tables(&reader, out_model);
  }
  return status == CT_OK ? read_golden(&reader, out_model) : status;
}
