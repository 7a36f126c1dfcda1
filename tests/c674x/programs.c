/* Programs whose results must not depend on the machine: each makes numbers from a seed, works on
 * them and returns a digest. Compiled for this computer and for the C674x, they must agree. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);

#ifdef _TMS320C6X
void abort(void) { /* asked for by libgcc's division of 64 bits */
  for (;;) {
  }
}
#endif

/* Knuth's linear congruential generator, MMIX. */
static uint32_t next(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 32);
}

static uint32_t crc_of(const void *data, size_t size) {
  const uint8_t *bytes = data;
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
  }
  return ~crc;
}

uint32_t crc32(uint32_t seed) {
  uint64_t state = seed;
  uint8_t bytes[203];
  for (size_t i = 0; i < sizeof bytes; ++i) {
    bytes[i] = (uint8_t)next(&state);
  }
  return crc_of(bytes + 1, sizeof bytes - 2);
}

/* CRC-32 of "123456789", the check value of every catalogue. */
uint32_t crc32_check(uint32_t seed) {
  (void)seed;
  return crc_of("123456789", 9);
}

uint32_t long_words(uint32_t seed) {
  uint64_t state = seed, sum = 0;
  int64_t difference = 0;
  for (int i = 0; i < 60; ++i) {
    const uint64_t a = (uint64_t)next(&state) << 32 | next(&state), b = next(&state);
    const int shift = (int)(next(&state) & 63);
    sum = (sum ^ a * b) + (a >> shift) + (b << shift);
    difference = (difference >> 1) - ((int64_t)a >> shift);
    sum += (uint64_t)(difference < (int64_t)a) + (a < b) - (uint64_t)(sum == a);
  }
  return (uint32_t)(sum >> 32 ^ sum) ^ crc_of(&difference, sizeof difference);
}

static void sort(int32_t *values, size_t count) {
  for (size_t gap = count / 2; gap > 0; gap /= 2) {
    for (size_t i = gap; i < count; ++i) {
      const int32_t value = values[i];
      size_t k = i;
      for (; k >= gap && values[k - gap] > value; k -= gap) {
        values[k] = values[k - gap];
      }
      values[k] = value;
    }
  }
}

uint32_t sorting(uint32_t seed) {
  uint64_t state = seed;
  int32_t values[75];
  for (size_t i = 0; i < 75; ++i) {
    values[i] = (int32_t)next(&state) >> (i & 15);
  }
  sort(values, 75);
  return crc_of(values, sizeof values);
}

uint32_t products(uint32_t seed) {
  uint64_t state = seed, sum = 0;
  for (int i = 0; i < 80; ++i) {
    const uint32_t a = next(&state), b = next(&state);
    sum = sum * 31 + (uint64_t)a * b;
    sum ^= (uint64_t)((int64_t)(int32_t)a * (int32_t)b);
    sum += (uint32_t)((int16_t)a * (int16_t)b) + (uint32_t)((uint16_t)a * (uint32_t)(uint16_t)(b >> 16));
    sum ^= (uint32_t)((int16_t)(a >> 16) * (int16_t)b) * (uint32_t)((uint8_t)a * (int8_t)b);
    sum += (uint64_t)((int64_t)(int32_t)a * (uint32_t)b);
  }
  return crc_of(&sum, sizeof sum);
}

uint32_t division(uint32_t seed) {
  uint64_t state = seed, sum = 0;
  for (int i = 0; i < 30; ++i) {
    const uint32_t a = next(&state), b = (next(&state) >> (i & 31)) | 1;
    const uint64_t long_a = (uint64_t)a << 32 | next(&state), long_b = ((uint64_t)b << (i & 31)) | 1;
    const int32_t signed_a = (int32_t)a, signed_b = (int32_t)(b | 2);
    sum = sum * 7 + a / b + a % b;
    sum ^= (uint64_t)(int64_t)(signed_a / signed_b) + (uint64_t)(int64_t)(signed_a % signed_b);
    sum += long_a / long_b ^ long_a % long_b;
    sum ^= (uint64_t)((int64_t)long_a / (int64_t)long_b - (int64_t)long_a % signed_b);
  }
  return crc_of(&sum, sizeof sum);
}

uint32_t copies(uint32_t seed) {
  uint64_t state = seed;
  uint8_t from[96], to[96];
  uint32_t digest = 0;
  for (size_t i = 0; i < sizeof from; ++i) {
    from[i] = (uint8_t)next(&state);
    to[i] = (uint8_t)i;
  }
  for (size_t i = 0; i < 12; ++i) {
    const size_t target = next(&state) % 32, source = next(&state) % 32, size = next(&state) % 64;
    memcpy(to + target, from + source, size);
    digest = digest * 31 + crc_of(to, sizeof to);
  }
  return digest;
}

typedef struct {
  int8_t small;
  uint16_t middle;
  int64_t large;
} mixed;

static int64_t total(const mixed *items, int count) {
  return count == 0 ? 0 : items->small * items->middle + items->large + total(items + 1, count - 1);
}

/* Calls, recursion, tables of functions, bit fields of a word. */
static uint32_t turn(uint32_t x) { return x << 7 | x >> 25; }
static uint32_t spread(uint32_t x) { return (x & 0x0F0F0F0F) << 4 | (x >> 4 & 0x0F0F0F0F); }
static uint32_t fold(uint32_t x) { return (x >> 5 & 0x3FF) ^ (uint32_t)((int32_t)(x << 9) >> 20); }

uint32_t calls(uint32_t seed) {
  static uint32_t (*const steps[])(uint32_t) = {turn, spread, fold};
  uint64_t state = seed;
  mixed items[9];
  for (int i = 0; i < 9; ++i) {
    items[i] = (mixed){(int8_t)next(&state), (uint16_t)next(&state), (int32_t)next(&state)};
  }
  uint32_t digest = (uint32_t)total(items, 9);
  for (int i = 0; i < 40; ++i) {
    digest += steps[next(&state) % 3](digest ^ next(&state));
  }
  return digest;
}
