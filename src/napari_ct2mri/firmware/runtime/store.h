/* Two slots of lasting memory, one model in each at most; rule L11 of docs/link-protocol.md.
 *
 * A slot as it is read: the container, "bytes" of it; a unit with the journal, which says what is
 * being pushed; a unit with the commit record, which says that it is whole. Cut at any moment,
 * either the slot that was not touched is still the newest whole one, or the other's record stands:
 * it is written last, checks itself, and goes first. */
#ifndef CT_STORE_H
#define CT_STORE_H

#include <stddef.h>
#include <stdint.h>

enum {
  CT_BLOCK = 4096,    /* bytes; of a push */
  CT_WRITE_STEP = 8,  /* bytes; places and sizes of writes are multiples */
  CT_NO_SLOT = 0xFF
};

/* What a port gives. A function returns 0, or -1 if the memory failed. */
typedef struct {
  uint32_t bytes;          /* for a container, a multiple of unit, below 2^31 */
  uint32_t unit;           /* what is erased at once, a multiple of CT_BLOCK */
  uint8_t *spare;          /* a unit of RAM; null: bytes can be written without an erasure */
  const uint8_t *slots[2]; /* where they are read, at multiples of 64 bytes; bytes + 2 * unit */
  /* Erase the unit at offset of a slot: its bytes then read 0xFF. */
  int (*erase)(void *user, uint32_t slot, uint32_t offset);
  /* Write; without spare into anything, with it into erased bytes only. */
  int (*write)(void *user, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t size);
  /* Return once all that was written and erased would outlive a loss of power. */
  int (*sync)(void *user);
  void *user;
} ct_store;

/* What a container is known by. */
typedef struct {
  uint32_t size;
  uint8_t digest[32]; /* SHA-256 of all its bytes */
} ct_identity;

int ct_identity_equal(const ct_identity *a, const ct_identity *b);

/* The commit record of a slot: 1 if it is valid. Says nothing of the container. */
int ct_store_record(const ct_store *store, uint32_t slot, ct_identity *out, uint32_t *out_sequence);

/* Whether the slot holds this container, by its SHA-256; size at most store->bytes. */
int ct_store_holds(const ct_store *store, uint32_t slot, const ct_identity *identity);

/* Make a slot ready for a container of at most store->bytes: its record goes. *out_resumed: 1 if it
 * already holds part of this very container; else what was in it is worth nothing now. */
int ct_store_begin(const ct_store *store, uint32_t slot, const ct_identity *identity,
                   int *out_resumed);

/* Write a block, 1..CT_BLOCK bytes at a multiple of CT_BLOCK, into a slot that was begun. bytes holds
 * 0xFF up to the next multiple of CT_WRITE_STEP. Read back and compared. */
int ct_store_put(const ct_store *store, uint32_t slot, uint32_t offset, const uint8_t *bytes,
                 uint32_t size);

/* Write the record of a slot that was begun, after all else has been made lasting. sequence: higher
 * than that of the other slot. */
int ct_store_commit(const ct_store *store, uint32_t slot, const ct_identity *identity,
                    uint32_t sequence);

#endif
