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
 * No heap, no libc, no state but what the caller holds. Rules "Z" are those of docs/codec.md,
 * which fix every bit of a stream; codec.py makes the same bytes. A stream holds neither its
 * length nor the plane's size, and has no checksum: the frames around it have. */
#ifndef CT_CODEC_H
#define CT_CODEC_H

#include <stddef.h>
#include <stdint.h>

enum { CT_CODEC_MAX_SIDE = 2048 /* pixels */ };

/* What came of a start or of a portion. The numbers are the same in Python (codec.py). */
typedef enum {
  CT_CODEC_DONE = 0,    /* the plane is whole */
  CT_CODEC_MORE = 1,    /* all bytes are taken, pixels are missing */
  CT_CODEC_E_PLANE = 2, /* no such plane: sides 1 to CT_CODEC_MAX_SIDE, pixels aligned */
  CT_CODEC_E_FORMAT = 3, /* the first byte is no format of this codec */
  CT_CODEC_E_HEAD = 4,  /* a row's head is out of range */
  CT_CODEC_E_CODE = 5,  /* a code is out of range */
  CT_CODEC_E_ROW = 6,   /* a row is shorter or longer than its head says */
  CT_CODEC_E_LONG = 7   /* bytes beyond the end of the stream */
} ct_codec_status;

/* The value is the bytes of a pixel. */
typedef enum { CT_U8 = 1, CT_S16 = 2 } ct_sample;

/* pixels: [height][width] of uint8_t or int16_t, at a multiple of the size of a pixel. */
typedef struct {
  void *pixels;
  uint32_t width, height; /* 1..CT_CODEC_MAX_SIDE */
  ct_sample sample;
} ct_plane;

/* The fields are the codec's own, but for row: rows below it are whole. */
typedef struct {
  ct_plane plane;
  uint32_t row;
  ct_codec_status status;
} ct_decoder;

/* The fields are the codec's own, but for size: bytes of the whole stream. */
typedef struct {
  ct_plane plane;
  size_t size;
} ct_encoder;

/* Begin a plane. CT_CODEC_MORE, or CT_CODEC_E_PLANE, which every ct_decode then returns too. */
ct_codec_status ct_decode_start(ct_decoder *out_decoder, const ct_plane *plane);

/* Take all of a portion of 0 or more bytes, cut anywhere. Pixels are written in order, each once,
 * and read again for the row below: nobody else writes to the plane before its end. Whatever the
 * bytes are, nothing outside the plane is written. After an error the pixels not yet reached are
 * as they were and the decoder stays at the error; a portion after the end is CT_CODEC_E_LONG,
 * and the plane is whole. */
ct_codec_status ct_decode(ct_decoder *decoder, const uint8_t *bytes, size_t size);

/* Begin a plane: two passes over it that settle how it is sent and encoder.size, which is at most
 * 1 more than the plane's bytes. The plane stays as it is until the end. CT_CODEC_MORE, or
 * CT_CODEC_E_PLANE, after which ct_encode yields nothing. */
ct_codec_status ct_encode_start(ct_encoder *out_encoder, const ct_plane *plane);

/* The next bytes, at most room of them, 1 or more; returns how many, 0 only at the end. */
size_t ct_encode(ct_encoder *encoder, uint8_t *out, size_t room);

#endif
