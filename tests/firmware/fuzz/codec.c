/* Any bytes as the stream of a slice: the decoder refuses them by a number, or makes a plane that
 * comes through encoder and decoder unharmed.
 *
 * The first four bytes say width, height, pixel and portion. Plane, portions and buffer are
 * allocated to the byte, so that the address sanitizer sees one step beyond. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The status after all bytes, given in portions of at most so many. */
static ct_codec_status decode(const ct_plane *plane, const uint8_t *bytes, size_t size,
                              size_t portion) {
  ct_decoder decoder;
  ct_codec_status status = ct_decode_start(&decoder, plane);
  for (size_t start = 0; start < size; start += portion) {
    const size_t count = size - start < portion ? size - start : portion;
    uint8_t *copy = malloc(count);
    if (copy == NULL) {
      abort();
    }
    memcpy(copy, bytes + start, count);
    status = ct_decode(&decoder, copy, count);
    free(copy);
  }
  return status;
}

static uint8_t *encode(const ct_plane *plane, size_t portion, size_t *out_size) {
  ct_encoder encoder;
  size_t made = 0, count = 0;
  if (ct_encode_start(&encoder, plane) != CT_CODEC_MORE) {
    abort();
  }
  uint8_t *stream = malloc(encoder.size);
  if (stream == NULL) {
    abort();
  }
  do {
    const size_t left = encoder.size - made;
    count = ct_encode(&encoder, stream + made, left < portion ? left : portion);
    made += count;
  } while (count > 0);
  uint8_t beyond;
  if (made != encoder.size || ct_encode(&encoder, &beyond, 1) != 0) {
    abort();
  }
  *out_size = made;
  return stream;
}

static void check_round_trip(const ct_plane *plane, size_t bytes, size_t portion) {
  size_t size;
  uint8_t *stream = encode(plane, portion, &size);
  ct_plane again = *plane;
  again.pixels = malloc(bytes);
  if (again.pixels == NULL) {
    abort();
  }
  if (decode(&again, stream, size, portion) != CT_CODEC_DONE ||
      memcmp(again.pixels, plane->pixels, bytes) != 0) {
    abort();
  }
  free(again.pixels);
  free(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4) {
    return 0;
  }
  ct_plane plane = {NULL, 1u + data[0], 1u + data[1] % 32, data[2] & 1 ? CT_S16 : CT_U8};
  const size_t bytes = (size_t)plane.width * plane.height * plane.sample;
  const size_t portion = 1u + data[3];
  plane.pixels = malloc(bytes);
  if (plane.pixels == NULL) {
    abort();
  }
  memset(plane.pixels, 0xA5, bytes);
  if (decode(&plane, data + 4, size - 4, portion) == CT_CODEC_DONE) {
    check_round_trip(&plane, bytes, portion);
  }
  free(plane.pixels);
  return 0;
}
