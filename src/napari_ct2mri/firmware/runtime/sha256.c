/* SHA-256 (FIPS 180-4); names as there. */
#include "ct.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void put32(uint8_t *out, uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) {
    out[i] = (uint8_t)(value >> (24 - 8 * i));
  }
}

static void add_block(uint32_t H[8], const uint8_t *block) {
  uint32_t W[64], v[8];
  for (unsigned t = 0; t < 16; ++t) {
    W[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
           (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
  }
  for (unsigned t = 16; t < 64; ++t) {
    const uint32_t s0 = rotr(W[t - 15], 7) ^ rotr(W[t - 15], 18) ^ W[t - 15] >> 3;
    const uint32_t s1 = rotr(W[t - 2], 17) ^ rotr(W[t - 2], 19) ^ W[t - 2] >> 10;
    W[t] = s1 + W[t - 7] + s0 + W[t - 16];
  }
  for (unsigned i = 0; i < 8; ++i) {
    v[i] = H[i];
  }
  for (unsigned t = 0; t < 64; ++t) { /* v = a, b, c, d, e, f, g, h */
    const uint32_t S1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
    const uint32_t S0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
    const uint32_t T1 = v[7] + S1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[t] + W[t];
    const uint32_t T2 = S0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    for (unsigned i = 7; i > 0; --i) {
      v[i] = v[i - 1];
    }
    v[4] += T1;
    v[0] = T1 + T2;
  }
  for (unsigned i = 0; i < 8; ++i) {
    H[i] += v[i];
  }
}

void ct_sha256_start(ct_sha256 *hash) {
  static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (unsigned i = 0; i < 8; ++i) {
    hash->state[i] = first[i];
  }
  hash->size = 0;
}

void ct_sha256_add(ct_sha256 *hash, const uint8_t *data, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    hash->block[hash->size++ % 64] = data[i];
    if (hash->size % 64 == 0) {
      add_block(hash->state, hash->block);
    }
  }
}

void ct_sha256_finish(ct_sha256 *hash, uint8_t out_digest[32]) {
  static const uint8_t one = 0x80, zero = 0;
  const uint64_t bits = 8 * hash->size;
  uint8_t length[8];
  ct_sha256_add(hash, &one, 1);
  while (hash->size % 64 != 56) {
    ct_sha256_add(hash, &zero, 1);
  }
  put32(length, (uint32_t)(bits >> 32));
  put32(length + 4, (uint32_t)bits);
  ct_sha256_add(hash, length, 8);
  for (unsigned i = 0; i < 8; ++i) {
    put32(out_digest + 4 * i, hash->state[i]);
  }
}
