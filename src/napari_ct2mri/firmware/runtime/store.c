/* See store.h. */
#include "store.h"

#include "ct.h"
#include "frame.h"

/* Journal and record, at the start of a unit each: magic u32, sequence u32 (0 in a journal), size
 * u32, digest [32], CRC-32 of all before. */
enum { NOTE_BYTES = 48, JOURNAL = 0x4A32544D, RECORD = 0x5232544D }; /* "MT2J", "MT2R" */

static uint32_t journal_at(const ct_store *store) { return store->bytes; }

static uint32_t record_at(const ct_store *store) { return store->bytes + store->unit; }

static int equal(const uint8_t *a, const uint8_t *b, uint32_t size) {
  for (uint32_t i = 0; i < size; ++i) {
    if (a[i] != b[i]) {
      return 0;
    }
  }
  return 1;
}

static int is_blank(const uint8_t *bytes, uint32_t size) {
  for (uint32_t i = 0; i < size; ++i) {
    if (bytes[i] != 0xFF) {
      return 0;
    }
  }
  return 1;
}

int ct_identity_equal(const ct_identity *a, const ct_identity *b) {
  return a->size == b->size && equal(a->digest, b->digest, sizeof a->digest);
}

static void put32(uint8_t *out, uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) {
    out[i] = (uint8_t)(value >> 8 * i);
  }
}

static int read_note(const ct_store *store, uint32_t slot, uint32_t offset, uint32_t magic,
                     ct_identity *out, uint32_t *out_sequence) {
  const uint8_t *note = store->slots[slot] + offset;
  if (ct_get32(note) != magic ||
      ct_crc32(0, note, NOTE_BYTES - 4) != ct_get32(note + NOTE_BYTES - 4)) {
    return 0;
  }
  *out_sequence = ct_get32(note + 4);
  out->size = ct_get32(note + 8);
  for (unsigned i = 0; i < 32; ++i) {
    out->digest[i] = note[12 + i];
  }
  return out->size > 0 && out->size <= store->bytes;
}

static int write_note(const ct_store *store, uint32_t slot, uint32_t offset, uint32_t magic,
                      const ct_identity *identity, uint32_t sequence) {
  uint8_t note[NOTE_BYTES];
  put32(note, magic);
  put32(note + 4, sequence);
  put32(note + 8, identity->size);
  for (unsigned i = 0; i < 32; ++i) {
    note[12 + i] = identity->digest[i];
  }
  put32(note + NOTE_BYTES - 4, ct_crc32(0, note, NOTE_BYTES - 4));
  if (store->write(store->user, slot, offset, note, NOTE_BYTES) != 0 ||
      store->sync(store->user) != 0) {
    return -1;
  }
  return equal(store->slots[slot] + offset, note, NOTE_BYTES) ? 0 : -1;
}

/* Erase a unit whose first bytes a note takes, and see that it is gone before anything follows. */
static int erase_note(const ct_store *store, uint32_t slot, uint32_t offset) {
  if (store->erase(store->user, slot, offset) != 0 || store->sync(store->user) != 0) {
    return -1;
  }
  return is_blank(store->slots[slot] + offset, NOTE_BYTES) ? 0 : -1;
}

int ct_store_record(const ct_store *store, uint32_t slot, ct_identity *out,
                    uint32_t *out_sequence) {
  return read_note(store, slot, record_at(store), RECORD, out, out_sequence);
}

int ct_store_holds(const ct_store *store, uint32_t slot, const ct_identity *identity) {
  uint8_t digest[32];
  ct_sha256 hash;
  ct_sha256_start(&hash);
  ct_sha256_add(&hash, store->slots[slot], identity->size);
  ct_sha256_finish(&hash, digest);
  return equal(digest, identity->digest, sizeof digest);
}

/* The units that a container of size bytes takes. */
static int erase_data(const ct_store *store, uint32_t slot, uint32_t size) {
  for (uint32_t offset = 0; offset < size; offset += store->unit) {
    if (!is_blank(store->slots[slot] + offset, store->unit) &&
        store->erase(store->user, slot, offset) != 0) {
      return -1;
    }
  }
  return 0;
}

int ct_store_begin(const ct_store *store, uint32_t slot, const ct_identity *identity,
                   int *out_resumed) {
  ct_identity begun;
  uint32_t sequence;
  if (erase_note(store, slot, record_at(store)) != 0) {
    return -1;
  }
  *out_resumed = read_note(store, slot, journal_at(store), JOURNAL, &begun, &sequence) &&
                 ct_identity_equal(&begun, identity);
  if (*out_resumed) {
    return 0;
  }
  if (erase_note(store, slot, journal_at(store)) != 0 ||
      (store->spare != NULL && erase_data(store, slot, identity->size) != 0)) {
    return -1;
  }
  return write_note(store, slot, journal_at(store), JOURNAL, identity, 0);
}

static uint32_t whole_steps(uint32_t size) {
  return (size + CT_WRITE_STEP - 1) / CT_WRITE_STEP * CT_WRITE_STEP;
}

/* Write a block where a cut, or a change of mind, has left something: the unit goes through RAM. */
static int replace(const ct_store *store, uint32_t slot, uint32_t offset, const uint8_t *bytes,
                   uint32_t size) {
  const uint32_t unit = offset / store->unit * store->unit;
  const uint8_t *there = store->slots[slot] + unit;
  for (uint32_t i = 0; i < store->unit; ++i) {
    store->spare[i] = there[i];
  }
  for (uint32_t i = 0; i < CT_BLOCK; ++i) {
    store->spare[offset - unit + i] = i < size ? bytes[i] : 0xFF;
  }
  if (store->erase(store->user, slot, unit) != 0) {
    return -1;
  }
  for (uint32_t at = 0; at < store->unit; at += CT_BLOCK) {
    if (!is_blank(store->spare + at, CT_BLOCK) &&
        store->write(store->user, slot, unit + at, store->spare + at, CT_BLOCK) != 0) {
      return -1;
    }
  }
  return 0;
}

int ct_store_put(const ct_store *store, uint32_t slot, uint32_t offset, const uint8_t *bytes,
                 uint32_t size) {
  const uint8_t *there = store->slots[slot] + offset;
  if (equal(there, bytes, size)) {
    return 0;
  }
  const int fits = store->spare == NULL || is_blank(there, CT_BLOCK);
  const int done = fits ? store->write(store->user, slot, offset, bytes, whole_steps(size))
                        : replace(store, slot, offset, bytes, size);
  return done == 0 && equal(there, bytes, size) ? 0 : -1;
}

int ct_store_commit(const ct_store *store, uint32_t slot, const ct_identity *identity,
                    uint32_t sequence) {
  if (store->sync(store->user) != 0) {
    return -1;
  }
  if (write_note(store, slot, record_at(store), RECORD, identity, sequence) != 0) {
    (void)erase_note(store, slot, record_at(store)); /* it may be there, and is not to be found */
    return -1;
  }
  return 0;
}
