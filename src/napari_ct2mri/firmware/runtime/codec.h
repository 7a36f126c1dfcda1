/* Slices lossless and small on the wire: one plane to bytes and back.
 *
 *   ct_decoder decoder;                        receive
 *   ct_decode_start(&decoder, &plane);
 *   for each portion of bytes: status = ct_decode(&decoder, bytes, size);
 *   CT_CODEC_DONE: the plane is whole; CT_CODEC_MORE: feed more; else an error.
 *
 *   ct_encoder encoder;                        send
 *   ct_encode_start(&encoder, &plane);         encoder.size is what the stream will take, bytes
 *   while ((size = ct_encode(&encoder, buffer, sizeof buffer)) > 0) send(buffer, size);
 *
 * No heap, no libc, no state but what the caller holds (7 KiB each). Rules "Z" are those of
 * docs/codec.md, which fix every bit of a stream; codec.py makes the same bytes. A stream holds
 * neither its length nor the plane's size, and has no checksum: the frames around it have. */
#ifndef CT_CODEC_H
#define CT_CODEC_H

#include <stddef.h>
#include <stdint.h>

enum {
  CT_CODEC_MAX_SIDE = 2048, /* pixels */
  CT_CODEC_MAX_GROUPS = 32, /* of 64 pixels in a row */
  CT_CODEC_LEVELS = 256
};

/* What came of a start or of a portion. */
typedef enum {
  CT_CODEC_DONE = 0,     /* the plane is whole */
  CT_CODEC_MORE = 1,     /* all bytes are taken, pixels are missing */
  CT_CODEC_E_PLANE = 2,  /* no such plane: sides 1 to CT_CODEC_MAX_SIDE, pixels aligned */
  CT_CODEC_E_FORMAT = 3, /* the first byte is no format of this codec: another version (Z2) */
  CT_CODEC_E_CODE = 4,   /* a length has too many zeros or a magnitude too many bits (Z9) */
  CT_CODEC_E_LEVEL = 5,  /* a pixel has a grey level that the stream does not list (Z4) */
  CT_CODEC_E_LONG = 6    /* bytes, or bits that are not zero, beyond the last pixel (Z11) */
} ct_codec_status;

/* The value is the bytes of a pixel. */
typedef enum { CT_U8 = 1, CT_S16 = 2 } ct_sample;

/* pixels: [height][width] of uint8_t or int16_t, at a multiple of the size of a pixel. */
typedef struct {
  void *pixels;
  uint32_t width, height; /* 1..CT_CODEC_MAX_SIDE */
  ct_sample sample;
} ct_plane;

/* What both directions know; the fields are the codec's own. */
typedef struct {
  ct_plane plane;
  uint32_t row, x;                /* where it is; x also counts bytes and groups */
  uint32_t phase;
  uint32_t bits, bit_count;       /* under way: the lowest bit_count of bits, at most 24 */
  uint32_t level_count;           /* u8: 256 without a list */
  uint8_t level[CT_CODEC_LEVELS]; /* u8: grey level of each rank */
  uint8_t rank[CT_CODEC_LEVELS];  /* u8: rank of each grey level */
  uint8_t quiet[CT_CODEC_MAX_GROUPS];  /* a bit for each block of 8 pixels */
  uint8_t change[CT_CODEC_MAX_GROUPS]; /* from the row above; of the encoder */
  uint8_t k[CT_CODEC_MAX_SIDE];
  uint16_t magnitude[CT_CODEC_MAX_SIDE];
} ct_codec;

/* codec.row is for the caller, too: rows below it are whole. */
typedef struct {
  ct_codec codec;
  uint32_t zeros; /* of a length under way */
  ct_codec_status status;
} ct_decoder;

/* size is for the caller, too: bytes of the whole stream. */
typedef struct {
  ct_codec codec;
  size_t size;
  uint8_t format;
} ct_encoder;

/* Begin a plane. CT_CODEC_MORE, or CT_CODEC_E_PLANE, which every ct_decode then returns too. */
ct_codec_status ct_decode_start(ct_decoder *out_decoder, const ct_plane *plane);

/* Take all of a portion of 0 or more bytes, cut anywhere. Pixels are written row by row, each
 * once, and read again for the row below: nobody else writes to the plane before its end.
 * Whatever the bytes are, nothing outside the plane is written. After an error, rows not yet
 * reached are as they were and the decoder stays at the error; a portion after the end is
 * CT_CODEC_E_LONG, and the plane is whole. */
ct_codec_status ct_decode(ct_decoder *decoder, const uint8_t *bytes, size_t size);

/* Begin a plane, by passing over it once or twice: settles how it is sent, and encoder.size, at
 * most 1 more than the bytes of the plane. The plane stays as it is until the end.
 * CT_CODEC_MORE, or CT_CODEC_E_PLANE, after which ct_encode yields nothing. */
ct_codec_status ct_encode_start(ct_encoder *out_encoder, const ct_plane *plane);

/* The next bytes, at most room of them; returns how many. Fewer than room only at the end. */
size_t ct_encode(ct_encoder *encoder, uint8_t *out, size_t room);

#endif
