/* Frames of the serial line: COBS, one zero byte at the end, CRC-32 inside. Rules "L" are those of
 * docs/link-protocol.md. */
#ifndef CT_FRAME_H
#define CT_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* L1, bytes. */
enum {
  CT_FRAME_PAYLOAD = 1032,
  CT_FRAME_BYTES = CT_FRAME_PAYLOAD + 6, /* type, seq, payload, CRC-32 */
  CT_FRAME_ENCODED = 1044                /* COBS adds 5 at most, then the zero */
};

/* CRC-32 of IEEE 802.3 over bytes that may come in parts: begin with crc 0. */
uint32_t ct_crc32(uint32_t crc, const uint8_t *bytes, size_t size);

/* All zero is a reader that has read nothing. Of a whole frame bytes holds type, seq, payload; size,
 * 2..CT_FRAME_PAYLOAD + 2, does not count the CRC, which stands behind. */
typedef struct {
  uint8_t bytes[CT_FRAME_BYTES];
  uint32_t size;
  uint32_t crc;     /* that of the frame */
  uint32_t dropped; /* frames so far that were broken, too long or failed their check */
  uint8_t run;      /* COBS: bytes until the next code */
  uint8_t code;     /* COBS: the last code, 0 before the first */
  uint8_t is_broken;
  uint8_t is_whole; /* the last byte ended a frame */
} ct_frame_reader;

/* Take bytes up to the end of a frame. Returns 1 if a whole frame stands in reader->bytes, which the
 * next call writes over; 0 if all bytes are taken and none is whole. *out_used: bytes taken. */
int ct_frame_read(ct_frame_reader *reader, const uint8_t *bytes, size_t size, size_t *out_used);

/* A frame as it is made, encoded at once into CT_FRAME_ENCODED bytes of the caller. */
typedef struct {
  uint8_t *bytes;
  uint32_t size;    /* bytes of it, once it is ended */
  uint32_t code_at; /* where the code of the bytes that follow will stand */
  uint32_t payload; /* bytes so far */
  uint32_t crc;
} ct_frame_writer;

/* begin, add as often as wanted, end. What goes beyond CT_FRAME_PAYLOAD is left out. */
void ct_frame_begin(ct_frame_writer *writer, uint8_t *out, uint8_t type, uint8_t seq);
void ct_frame_add(ct_frame_writer *writer, const uint8_t *bytes, size_t size);
void ct_frame_add16(ct_frame_writer *writer, uint32_t value);
void ct_frame_add32(ct_frame_writer *writer, uint32_t value);
void ct_frame_end(ct_frame_writer *writer);

/* Numbers of a payload, little-endian. */
uint16_t ct_get16(const uint8_t *bytes);
uint32_t ct_get32(const uint8_t *bytes);

#endif
