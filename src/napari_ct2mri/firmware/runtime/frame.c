/* See frame.h. COBS: Cheshire & Baker 1999; a code c below 255 stands for c - 1 bytes and a zero, 255
 * for 254 bytes and none, the last zero is left out. */
#include "frame.h"

uint16_t ct_get16(const uint8_t *bytes) { return (uint16_t)(bytes[0] | bytes[1] << 8); }

uint32_t ct_get32(const uint8_t *bytes) {
  return ct_get16(bytes) | (uint32_t)ct_get16(bytes + 2) << 16;
}

/* Four bits at a time: 64 bytes of table where one of bytes takes a KiB of fast memory. */
uint32_t ct_crc32(uint32_t crc, const uint8_t *bytes, size_t size) {
  static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                     0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                     0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                     0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
  crc = ~crc;
  for (size_t i = 0; i < size; ++i) {
    crc = table[(crc ^ bytes[i]) & 15] ^ crc >> 4;
    crc = table[(crc ^ bytes[i] >> 4) & 15] ^ crc >> 4;
  }
  return ~crc;
}

static void store(ct_frame_reader *reader, uint8_t byte) {
  if (reader->size < CT_FRAME_BYTES) {
    reader->bytes[reader->size++] = byte;
  } else {
    reader->is_broken = 1;
  }
}

/* What a zero byte ends: 1 if it is a frame. */
static int check(ct_frame_reader *reader) {
  if (reader->code == 0) {
    return 0; /* nothing between two zeros */
  }
  if (reader->run == 0 && !reader->is_broken && reader->size >= 6) {
    reader->size -= 4;
    reader->crc = ct_get32(reader->bytes + reader->size);
    if (ct_crc32(0, reader->bytes, reader->size) == reader->crc) {
      return 1;
    }
  }
  ++reader->dropped;
  return 0;
}

static int take(ct_frame_reader *reader, uint8_t byte) {
  if (byte == 0) {
    reader->is_whole = (uint8_t)check(reader);
    reader->code = reader->run = reader->is_broken = 0;
    if (!reader->is_whole) {
      reader->size = 0;
    }
  } else if (reader->run > 0) {
    --reader->run;
    store(reader, byte);
  } else {
    if (reader->code != 0 && reader->code != 255) {
      store(reader, 0);
    }
    reader->code = byte;
    reader->run = (uint8_t)(byte - 1);
  }
  return reader->is_whole;
}

int ct_frame_read(ct_frame_reader *reader, const uint8_t *bytes, size_t size, size_t *out_used) {
  if (reader->is_whole) {
    reader->is_whole = 0;
    reader->size = 0;
  }
  for (size_t i = 0; i < size; ++i) {
    if (take(reader, bytes[i])) {
      *out_used = i + 1;
      return 1;
    }
  }
  *out_used = size;
  return 0;
}

static void encode(ct_frame_writer *writer, uint8_t byte) {
  if (writer->size - writer->code_at == 255) { /* 254 bytes without a zero */
    writer->bytes[writer->code_at] = 255;
    writer->code_at = writer->size++;
  }
  if (byte == 0) {
    writer->bytes[writer->code_at] = (uint8_t)(writer->size - writer->code_at);
    writer->code_at = writer->size++;
  } else {
    writer->bytes[writer->size++] = byte;
  }
}

static void add(ct_frame_writer *writer, const uint8_t *bytes, size_t size) {
  writer->crc = ct_crc32(writer->crc, bytes, size);
  for (size_t i = 0; i < size; ++i) {
    encode(writer, bytes[i]);
  }
}

void ct_frame_begin(ct_frame_writer *writer, uint8_t *out, uint8_t type, uint8_t seq) {
  const uint8_t head[2] = {type, seq};
  writer->bytes = out;
  writer->code_at = 0;
  writer->size = 1;
  writer->crc = 0;
  writer->payload = 0;
  add(writer, head, sizeof head);
}

void ct_frame_add(ct_frame_writer *writer, const uint8_t *bytes, size_t size) {
  const size_t room = CT_FRAME_PAYLOAD - writer->payload;
  const size_t count = size < room ? size : room;
  writer->payload += (uint32_t)count;
  add(writer, bytes, count);
}

void ct_frame_add16(ct_frame_writer *writer, uint32_t value) {
  const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
  ct_frame_add(writer, bytes, sizeof bytes);
}

void ct_frame_add32(ct_frame_writer *writer, uint32_t value) {
  ct_frame_add16(writer, value);
  ct_frame_add16(writer, value >> 16);
}

void ct_frame_end(ct_frame_writer *writer) {
  const uint32_t crc = writer->crc;
  const uint8_t bytes[4] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16),
                            (uint8_t)(crc >> 24)};
  add(writer, bytes, sizeof bytes);
  writer->bytes[writer->code_at] = (uint8_t)(writer->size - writer->code_at);
  writer->bytes[writer->size++] = 0;
}
