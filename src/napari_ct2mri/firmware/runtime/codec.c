/* The codec of slices; rules "Z" are those of docs/codec.md. */
#include "codec.h"

enum { RAW = 0, CODED = 1, LISTED = 2 };                         /* the first byte, Z2 */
enum { REACH = 2, BLOCK = 8, GROUP = 8, LIMIT = 12, LIST_BYTES = 32 };
enum { BEFORE_U8 = 16, BEFORE_S16 = 64 };                        /* magnitudes above row 0, Z6 */
enum { FORMAT, LIST, PIXELS, HEAD, CHANGES, LENGTHS, RESTS, END }; /* of a stream, in order */

static uint32_t precision(const ct_codec *codec) { return 8 * (uint32_t)codec->plane.sample; }

static uint32_t group_count(const ct_codec *codec) {
  return (codec->plane.width + BLOCK * GROUP - 1) / (BLOCK * GROUP);
}

static int is_plane(const ct_plane *plane) {
  return (plane->sample == CT_U8 || plane->sample == CT_S16) && plane->width >= 1 &&
         plane->height >= 1 && plane->width <= CT_CODEC_MAX_SIDE &&
         plane->height <= CT_CODEC_MAX_SIDE && plane->pixels != NULL &&
         (uintptr_t)plane->pixels % (plane->sample == CT_U8 ? 1 : 2) == 0;
}

/* To row 0, with all grey levels. */
static void begin(ct_codec *codec, const ct_plane *plane) {
  codec->plane = *plane;
  codec->row = codec->x = codec->bits = codec->bit_count = 0;
  codec->phase = FORMAT;
  codec->level_count = CT_CODEC_LEVELS;
  for (uint32_t i = 0; i < CT_CODEC_LEVELS; ++i) {
    codec->level[i] = codec->rank[i] = (uint8_t)i;
  }
}

/* Before the first row that is coded. */
static void begin_rows(ct_codec *codec) {
  for (uint32_t i = 0; i < CT_CODEC_MAX_GROUPS; ++i) {
    codec->quiet[i] = 0;
  }
  for (uint32_t x = 0; x < codec->plane.width; ++x) {
    codec->magnitude[x] = codec->plane.sample == CT_U8 ? BEFORE_U8 : BEFORE_S16;
  }
}

/* Binary digits of a value below 2^16. */
static uint32_t digits(uint32_t value) {
  static const uint8_t of[16] = {0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4};
  uint32_t more = 0;
  if (value >> 8) {
    more = 8;
    value >>= 8;
  }
  if (value >> 4) {
    more += 4;
    value >>= 4;
  }
  return more + of[value];
}

/* Parameters of a row from the magnitudes of the one above, which they replace (Z6). */
static void choose_parameters(ct_codec *codec) {
  const uint32_t width = codec->plane.width, most = precision(codec) - 1;
  const uint16_t *above = codec->magnitude;
  uint32_t sum = width > 1 ? (uint32_t)above[0] + above[1] : above[0];
  for (uint32_t x = 0; x < width; ++x) {
    sum += x + REACH < width ? above[x + REACH] : 0;
    const uint32_t k = digits(sum >> 3);
    codec->k[x] = (uint8_t)(k < most ? k : most);
    sum -= x >= REACH ? above[x - REACH] : 0;
  }
}

static int is_quiet(const ct_codec *codec, uint32_t x) {
  return codec->quiet[x / (BLOCK * GROUP)] >> (GROUP - 1 - x / BLOCK % GROUP) & 1;
}

/* The pixel at codec->x or, where that is of a quiet block, the first one after it that is not;
 * 0 at the end of the row. */
static int find_live(ct_codec *codec) {
  while (codec->x < codec->plane.width && is_quiet(codec, codec->x)) {
    codec->x = (codec->x / BLOCK + 1) * BLOCK;
  }
  return codec->x < codec->plane.width;
}

/* Z5 */
static int32_t predict(int32_t west, int32_t north, int32_t northwest) {
  const int32_t low = west < north ? west : north, high = west < north ? north : west;
  const int32_t between = northwest < low ? low : northwest > high ? high : northwest;
  return west + north - between;
}

static int32_t wrap(int32_t value, uint32_t bits) {
  const uint32_t half = 1u << (bits - 1);
  return (int32_t)(((uint32_t)value + half) & (2 * half - 1)) - (int32_t)half;
}

static uint16_t magnitude_of(int32_t error) {
  return (uint16_t)(error < 0 ? -2 * error - 1 : 2 * error);
}

static int32_t error_of(uint16_t magnitude) {
  return magnitude & 1 ? -(magnitude >> 1) - 1 : magnitude >> 1;
}

/* Decoder */

static int take(ct_codec *codec, uint32_t count, uint32_t *out_value) {
  if (codec->bit_count < count) {
    return 0;
  }
  codec->bit_count -= count;
  *out_value = codec->bits >> codec->bit_count & ((1u << count) - 1);
  return 1;
}

static void enter(ct_codec *codec, uint32_t phase) {
  codec->phase = phase;
  codec->x = 0;
}

static int fail(ct_decoder *decoder, ct_codec_status status) {
  decoder->status = status;
  return 0;
}

static int restore_bytes(ct_codec *codec) {
  const uint32_t width = codec->plane.width;
  uint8_t *row = (uint8_t *)codec->plane.pixels + (size_t)codec->row * width;
  int32_t west = 0, northwest = 0;
  for (uint32_t x = 0; x < width; ++x) {
    const int32_t north = codec->row > 0 ? codec->rank[row[(ptrdiff_t)x - (ptrdiff_t)width]] : 0;
    west = x > 0 ? west : north;
    const int32_t value = predict(west, north, northwest) + error_of(codec->magnitude[x]);
    west = (int32_t)((uint32_t)value & 0xFF);
    northwest = north;
    if ((uint32_t)west >= codec->level_count) {
      return 0;
    }
    row[x] = codec->level[west];
  }
  return 1;
}

static void restore_words(ct_codec *codec) {
  const uint32_t width = codec->plane.width;
  int16_t *row = (int16_t *)codec->plane.pixels + (size_t)codec->row * width;
  int32_t west = 0, northwest = 0;
  for (uint32_t x = 0; x < width; ++x) {
    const int32_t north = codec->row > 0 ? row[(ptrdiff_t)x - (ptrdiff_t)width] : 0;
    west = x > 0 ? west : north;
    west = wrap(predict(west, north, northwest) + error_of(codec->magnitude[x]), 16);
    northwest = north;
    row[x] = (int16_t)west;
  }
}

static int end_row(ct_decoder *decoder) {
  ct_codec *codec = &decoder->codec;
  for (uint32_t x = 0; x < codec->plane.width; ++x) {
    if (is_quiet(codec, x)) {
      codec->magnitude[x] = 0;
    }
  }
  if (codec->plane.sample == CT_S16) {
    restore_words(codec);
  } else if (!restore_bytes(codec)) {
    return fail(decoder, CT_CODEC_E_LEVEL);
  }
  choose_parameters(codec);
  enter(codec, ++codec->row < codec->plane.height ? HEAD : END);
  return 1;
}

static int read_format(ct_decoder *decoder) {
  ct_codec *codec = &decoder->codec;
  uint32_t format;
  if (!take(codec, 8, &format)) {
    return 0;
  }
  if (format > LISTED || (format == LISTED && codec->plane.sample != CT_U8)) {
    return fail(decoder, CT_CODEC_E_FORMAT);
  }
  if (format == LISTED) {
    codec->level_count = 0;
  }
  enter(codec, format == RAW ? PIXELS : format == LISTED ? LIST : HEAD);
  begin_rows(codec);
  choose_parameters(codec);
  return 1;
}

/* A byte of the list of levels (Z4). */
static int read_list(ct_codec *codec) {
  uint32_t byte;
  if (!take(codec, 8, &byte)) {
    return 0;
  }
  for (uint32_t i = 0; i < 8; ++i) {
    if (byte >> i & 1) {
      const uint32_t level = 8 * codec->x + i;
      codec->rank[level] = (uint8_t)codec->level_count;
      codec->level[codec->level_count++] = (uint8_t)level;
    }
  }
  if (++codec->x == LIST_BYTES) {
    enter(codec, HEAD);
  }
  return 1;
}

/* A pixel as it is (Z3). */
static int read_pixel(ct_codec *codec) {
  uint32_t value;
  if (!take(codec, precision(codec), &value)) {
    return 0;
  }
  const size_t place = (size_t)codec->row * codec->plane.width + codec->x;
  if (codec->plane.sample == CT_U8) {
    ((uint8_t *)codec->plane.pixels)[place] = (uint8_t)value;
  } else {
    const uint32_t swapped = (value & 0xFF) << 8 | value >> 8;
    ((int16_t *)codec->plane.pixels)[place] = (int16_t)wrap((int32_t)swapped, 16);
  }
  if (++codec->x == codec->plane.width) {
    enter(codec, ++codec->row < codec->plane.height ? PIXELS : END);
  }
  return 1;
}

static int read_head(ct_codec *codec) {
  uint32_t is_changed;
  if (!take(codec, 1, &is_changed)) {
    return 0;
  }
  enter(codec, is_changed ? CHANGES : LENGTHS);
  return 1;
}

/* What changes in a group of blocks (Z8). */
static int read_change(ct_codec *codec) {
  uint32_t mask;
  if (codec->bit_count == 0) {
    return 0;
  }
  if (codec->bits >> (codec->bit_count - 1) & 1) {
    if (!take(codec, 1 + GROUP, &mask)) {
      return 0;
    }
    codec->quiet[codec->x] ^= (uint8_t)(mask & 0xFF);
  } else {
    --codec->bit_count;
  }
  if (++codec->x == group_count(codec)) {
    enter(codec, LENGTHS);
  }
  return 1;
}

/* Z9, of one pixel */
static int read_length(ct_decoder *decoder) {
  ct_codec *codec = &decoder->codec;
  uint32_t bit;
  if (!find_live(codec)) {
    enter(codec, RESTS);
    return 1;
  }
  while (take(codec, 1, &bit)) {
    if (bit) {
      codec->magnitude[codec->x++] = (uint16_t)decoder->zeros;
      decoder->zeros = 0;
      return 1;
    }
    if (++decoder->zeros > LIMIT) {
      return fail(decoder, CT_CODEC_E_CODE);
    }
  }
  return 0;
}

/* Z10, of one pixel */
static int read_rest(ct_decoder *decoder) {
  ct_codec *codec = &decoder->codec;
  if (!find_live(codec)) {
    return end_row(decoder);
  }
  const uint32_t length = codec->magnitude[codec->x], k = codec->k[codec->x];
  uint32_t rest;
  if (!take(codec, length == LIMIT ? precision(codec) : k, &rest)) {
    return 0;
  }
  const uint32_t magnitude = length == LIMIT ? rest : length << k | rest;
  if (magnitude >> precision(codec)) {
    return fail(decoder, CT_CODEC_E_CODE);
  }
  codec->magnitude[codec->x++] = (uint16_t)magnitude;
  return 1;
}

/* Go on by one item; 0 where that needs more bytes, or at an error. */
static int step(ct_decoder *decoder) {
  ct_codec *codec = &decoder->codec;
  switch (codec->phase) {
    case FORMAT:
      return read_format(decoder);
    case LIST:
      return read_list(codec);
    case PIXELS:
      return read_pixel(codec);
    case HEAD:
      return read_head(codec);
    case CHANGES:
      return read_change(codec);
    case LENGTHS:
      return read_length(decoder);
    case RESTS:
      return read_rest(decoder);
    default: /* END; what is left of the last byte is zeros, Z11 */
      decoder->status = codec->bits & ((1u << codec->bit_count) - 1) ? CT_CODEC_E_LONG
                                                                     : CT_CODEC_DONE;
      return 0;
  }
}

ct_codec_status ct_decode_start(ct_decoder *out_decoder, const ct_plane *plane) {
  begin(&out_decoder->codec, plane);
  out_decoder->zeros = 0;
  out_decoder->status = is_plane(plane) ? CT_CODEC_MORE : CT_CODEC_E_PLANE;
  return out_decoder->status;
}

ct_codec_status ct_decode(ct_decoder *decoder, const uint8_t *bytes, size_t size) {
  ct_codec *codec = &decoder->codec;
  for (size_t i = 0; i < size && decoder->status <= CT_CODEC_MORE; ++i) {
    if (decoder->status == CT_CODEC_DONE) {
      decoder->status = CT_CODEC_E_LONG;
      break;
    }
    codec->bits = codec->bits << 8 | bytes[i];
    codec->bit_count += 8;
    while (step(decoder)) {
    }
  }
  return decoder->status;
}

/* Encoder */

static void measure_bytes(ct_codec *codec) {
  const uint32_t width = codec->plane.width;
  const uint8_t *row = (const uint8_t *)codec->plane.pixels + (size_t)codec->row * width;
  int32_t west = 0, northwest = 0;
  for (uint32_t x = 0; x < width; ++x) {
    const int32_t north = codec->row > 0 ? codec->rank[row[(ptrdiff_t)x - (ptrdiff_t)width]] : 0;
    const int32_t predicted = predict(x > 0 ? west : north, north, northwest);
    west = codec->rank[row[x]];
    northwest = north;
    codec->magnitude[x] = magnitude_of(wrap(west - predicted, 8));
  }
}

static void measure_words(ct_codec *codec) {
  const uint32_t width = codec->plane.width;
  const int16_t *row = (const int16_t *)codec->plane.pixels + (size_t)codec->row * width;
  int32_t west = 0, northwest = 0;
  for (uint32_t x = 0; x < width; ++x) {
    const int32_t north = codec->row > 0 ? row[(ptrdiff_t)x - (ptrdiff_t)width] : 0;
    const int32_t predicted = predict(x > 0 ? west : north, north, northwest);
    west = row[x];
    northwest = north;
    codec->magnitude[x] = magnitude_of(wrap(west - predicted, 16));
  }
}

/* Blocks without a magnitude (Z7), and what changes from the row above. */
static void find_quiet(ct_codec *codec) {
  const uint32_t width = codec->plane.width;
  for (uint32_t group = 0; group < group_count(codec); ++group) {
    uint32_t quiet = 0;
    for (uint32_t block = 0; block < GROUP; ++block) {
      const uint32_t first = (group * GROUP + block) * BLOCK;
      uint32_t any = first >= width; /* blocks beyond the row are not quiet */
      for (uint32_t x = first; x < first + BLOCK && x < width; ++x) {
        any |= codec->magnitude[x];
      }
      quiet = quiet << 1 | (any == 0);
    }
    codec->change[group] = (uint8_t)(quiet ^ codec->quiet[group]);
    codec->quiet[group] = (uint8_t)quiet;
  }
}

static void prepare_row(ct_codec *codec) {
  choose_parameters(codec);
  if (codec->plane.sample == CT_U8) {
    measure_bytes(codec);
  } else {
    measure_words(codec);
  }
  find_quiet(codec);
}

static int is_changed(const ct_codec *codec) {
  uint32_t any = 0;
  for (uint32_t group = 0; group < group_count(codec); ++group) {
    any |= codec->change[group];
  }
  return any != 0;
}

static uint32_t length_of(const ct_codec *codec) {
  const uint32_t length = (uint32_t)codec->magnitude[codec->x] >> codec->k[codec->x];
  return length < LIMIT ? length : LIMIT;
}

static uint32_t rest_bits(const ct_codec *codec) {
  return length_of(codec) < LIMIT ? codec->k[codec->x] : precision(codec);
}

static uint32_t row_bits(ct_codec *codec) {
  uint32_t bits = 1;
  for (uint32_t group = 0; is_changed(codec) && group < group_count(codec); ++group) {
    bits += codec->change[group] ? 1 + GROUP : 1;
  }
  for (codec->x = 0; find_live(codec); ++codec->x) {
    bits += length_of(codec) + 1 + rest_bits(codec);
  }
  return bits;
}

/* Keep the levels that occur, if at most every second one between the ends does (Z4). */
static void list_levels(ct_encoder *encoder) {
  ct_codec *codec = &encoder->codec;
  const uint8_t *pixels = codec->plane.pixels;
  const size_t count = (size_t)codec->plane.width * codec->plane.height;
  uint8_t occurs[CT_CODEC_LEVELS] = {0};
  uint32_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    occurs[pixels[i]] = 1;
  }
  for (uint32_t level = 0; level < CT_CODEC_LEVELS; ++level) {
    if (occurs[level]) {
      codec->level[found++] = (uint8_t)level;
    }
  }
  if (2 * found > (uint32_t)codec->level[found - 1] - codec->level[0] + 1) {
    return;
  }
  encoder->format = LISTED;
  codec->level_count = found;
  for (uint32_t rank = 0; rank < found; ++rank) {
    codec->rank[codec->level[rank]] = (uint8_t)rank;
  }
}

/* Bytes of the coded stream. */
static size_t coded_size(ct_encoder *encoder) {
  ct_codec *codec = &encoder->codec;
  uint32_t bits = 0; /* below 2^28 */
  begin_rows(codec);
  for (codec->row = 0; codec->row < codec->plane.height; ++codec->row) {
    prepare_row(codec);
    bits += row_bits(codec);
  }
  codec->row = 0;
  return (encoder->format == LISTED ? 1 + LIST_BYTES : 1) + (bits + 7) / 8;
}

ct_codec_status ct_encode_start(ct_encoder *out_encoder, const ct_plane *plane) {
  ct_codec *codec = &out_encoder->codec;
  begin(codec, plane);
  out_encoder->size = 0;
  out_encoder->format = CODED;
  if (!is_plane(plane)) {
    codec->phase = END;
    return CT_CODEC_E_PLANE;
  }
  if (plane->sample == CT_U8) {
    list_levels(out_encoder);
  }
  const size_t raw_size = 1 + (size_t)plane->width * plane->height * plane->sample;
  out_encoder->size = coded_size(out_encoder);
  if (out_encoder->size >= raw_size) { /* Z3 */
    out_encoder->size = raw_size;
    out_encoder->format = RAW;
  }
  return CT_CODEC_MORE;
}

static int put(ct_codec *codec, uint32_t value, uint32_t count) {
  codec->bits = codec->bits << count | value;
  codec->bit_count += count;
  return 1;
}

static void enter_row(ct_codec *codec) {
  if (codec->row < codec->plane.height) {
    prepare_row(codec);
    enter(codec, HEAD);
  } else {
    enter(codec, END);
  }
}

static int write_format(ct_encoder *encoder) {
  ct_codec *codec = &encoder->codec;
  begin_rows(codec);
  if (encoder->format == CODED) {
    enter_row(codec);
  } else {
    enter(codec, encoder->format == RAW ? PIXELS : LIST);
  }
  return put(codec, encoder->format, 8);
}

static int write_list(ct_codec *codec) {
  uint32_t byte = 0;
  for (uint32_t i = 0; i < codec->level_count; ++i) {
    if (codec->level[i] / 8 == codec->x) {
      byte |= 1u << codec->level[i] % 8;
    }
  }
  if (++codec->x == LIST_BYTES) {
    enter_row(codec);
  }
  return put(codec, byte, 8);
}

static int write_pixel(ct_codec *codec) {
  const size_t place = (size_t)codec->row * codec->plane.width + codec->x;
  if (++codec->x == codec->plane.width) {
    enter(codec, ++codec->row < codec->plane.height ? PIXELS : END);
  }
  if (codec->plane.sample == CT_U8) {
    return put(codec, ((const uint8_t *)codec->plane.pixels)[place], 8);
  }
  const uint16_t value = (uint16_t)((const int16_t *)codec->plane.pixels)[place];
  return put(codec, (value & 0xFFu) << 8 | (uint32_t)value >> 8, 16);
}

/* Z8, of one group */
static int write_change(ct_codec *codec) {
  const uint32_t mask = codec->change[codec->x];
  if (++codec->x == group_count(codec)) {
    enter(codec, LENGTHS);
  }
  return mask ? put(codec, 1u << GROUP | mask, 1 + GROUP) : put(codec, 0, 1);
}

/* Z9, of one pixel */
static int write_length(ct_codec *codec) {
  if (!find_live(codec)) {
    enter(codec, RESTS);
    return 1;
  }
  const uint32_t length = length_of(codec);
  ++codec->x;
  return put(codec, 1, length + 1);
}

/* Z10, of one pixel */
static int write_rest(ct_codec *codec) {
  if (!find_live(codec)) {
    ++codec->row;
    enter_row(codec);
    return 1;
  }
  const uint32_t magnitude = codec->magnitude[codec->x], bits = rest_bits(codec);
  ++codec->x;
  return put(codec, magnitude & ((1u << bits) - 1), bits);
}

/* Go on by one item of at most 16 bits; 0 at the end. */
static int write_item(ct_encoder *encoder) {
  ct_codec *codec = &encoder->codec;
  switch (codec->phase) {
    case FORMAT:
      return write_format(encoder);
    case LIST:
      return write_list(codec);
    case PIXELS:
      return write_pixel(codec);
    case HEAD: {
      const int changed = is_changed(codec);
      enter(codec, changed ? CHANGES : LENGTHS);
      return put(codec, (uint32_t)changed, 1);
    }
    case CHANGES:
      return write_change(codec);
    case LENGTHS:
      return write_length(codec);
    case RESTS:
      return write_rest(codec);
    default: /* END: zeros up to a whole byte, Z11 */
      return codec->bit_count > 0 ? put(codec, 0, 8 - codec->bit_count) : 0;
  }
}

size_t ct_encode(ct_encoder *encoder, uint8_t *out, size_t room) {
  ct_codec *codec = &encoder->codec;
  size_t made = 0;
  while (made < room) {
    while (codec->bit_count < 8) {
      if (!write_item(encoder)) {
        return made;
      }
    }
    codec->bit_count -= 8;
    out[made++] = (uint8_t)(codec->bits >> codec->bit_count);
  }
  return made;
}
