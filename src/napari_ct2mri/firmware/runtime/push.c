/* See session.h: containers into a slot, L7 to L11, and out of one, L16. */
#include "session.h"

enum { JUMP = 31, MOST_HASHES = 128, HASH_BYTES = 8, MOST_READ = 1024 };

static void read_identity(ct_identity *out, const uint8_t *payload) {
  out->size = ct_get32(payload);
  for (unsigned i = 0; i < sizeof out->digest; ++i) {
    out->digest[i] = payload[4 + i];
  }
}

static uint32_t blocks(uint32_t size) { return (size + CT_BLOCK - 1) / CT_BLOCK; }

/* Of a number of identities the newest whole one that this board can run becomes the active one. */
void ct_load_newest(ct_session *session) {
  const ct_store *store = &session->port->store;
  ct_active *active = &session->active;
  ct_identity identity[2];
  uint32_t sequence[2] = {0, 0}, detail;
  int is_valid[2];
  for (uint32_t i = 0; i < 2; ++i) {
    is_valid[i] = ct_store_record(store, i, &identity[i], &sequence[i]);
    if (is_valid[i] && sequence[i] > active->sequence) {
      active->sequence = sequence[i];
    }
  }
  const uint32_t newest = is_valid[1] && (!is_valid[0] || sequence[1] > sequence[0]);
  active->status = CT_L_NO_MODEL;
  active->slot = active->kept = CT_NO_SLOT;
  for (uint32_t i = 0; i < 2 && active->slot == CT_NO_SLOT; ++i) {
    const uint32_t slot = newest ^ i;
    if (!is_valid[slot] || !ct_store_holds(store, slot, &identity[slot])) {
      continue;
    }
    active->identity = identity[slot];
    const ct_link_error error = ct_use(session, slot, &detail);
    if (error == CT_L_OK) {
      active->status = CT_L_OK;
      active->slot = active->kept = slot;
    } else if (active->kept == CT_NO_SLOT) {
      active->status = error;
      active->kept = slot;
    }
  }
}

ct_link_error ct_on_begin(ct_session *session, const uint8_t *payload, uint32_t size,
                          uint32_t *detail) {
  const ct_store *store = &session->port->store;
  ct_push *push = &session->push;
  ct_frame_writer writer;
  int resumed;
  uint8_t byte;
  if (size != 36) {
    *detail = size;
    return CT_L_LENGTH;
  }
  read_identity(&push->identity, payload);
  push->is_open = 0;
  push->slot = session->active.kept == 0 ? 1 : 0;
  push->next = 0;
  if (push->identity.size == 0 || push->identity.size > store->bytes) {
    *detail = store->bytes;
    return CT_L_SIZE;
  }
  if (ct_store_begin(store, push->slot, &push->identity, &resumed) != 0) {
    return CT_L_STORE;
  }
  push->is_open = 1;
  byte = (uint8_t)resumed;
  ct_begin_answer(session, &writer, CT_BEGIN, session->reader.bytes[1]);
  ct_frame_add(&writer, &byte, 1);
  ct_frame_add32(&writer, blocks(push->identity.size));
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

/* Take bytes that lie in one block, at push->next. */
static ct_link_error take(ct_session *session, const uint8_t *bytes, uint32_t count) {
  ct_push *push = &session->push;
  const uint32_t start = push->next % CT_BLOCK, first = push->next - start;
  for (uint32_t i = 0; i < count; ++i) {
    push->block[start + i] = bytes[i];
  }
  push->next += count;
  if (push->next % CT_BLOCK != 0 && push->next != push->identity.size) {
    return CT_L_OK;
  }
  for (uint32_t i = start + count; i < CT_BLOCK; ++i) {
    push->block[i] = 0xFF;
  }
  if (ct_store_put(&session->port->store, push->slot, first, push->block, start + count) != 0) {
    push->next = first;
    return CT_L_STORE;
  }
  return CT_L_OK;
}

ct_link_error ct_on_write(ct_session *session, const uint8_t *payload, uint32_t size,
                          uint32_t *detail) {
  ct_push *push = &session->push;
  const uint32_t whole = push->identity.size;
  const uint8_t seq = session->reader.bytes[1], room = (uint8_t)session->port->window;
  ct_frame_writer writer;
  if (size < 5) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (!push->is_open) {
    return CT_L_ORDER;
  }
  const uint32_t place = ct_get32(payload), count = size - 4;
  const uint32_t offset = place & ~((uint32_t)1 << JUMP);
  *detail = offset;
  if (offset >= whole || count > whole - offset || offset % CT_BLOCK + count > CT_BLOCK ||
      offset % CT_WRITE_STEP != 0 ||
      (count % CT_WRITE_STEP != 0 && count != whole - offset) ||
      (place >> JUMP && offset % CT_BLOCK != 0)) {
    return CT_L_RANGE;
  }
  if (place >> JUMP) {
    push->next = offset;
  }
  if (offset == push->next && take(session, payload + 4, count) != CT_L_OK) {
    return CT_L_STORE;
  }
  ct_begin_answer(session, &writer, CT_WRITE, seq);
  ct_frame_add32(&writer, push->next);
  ct_frame_add(&writer, &room, 1);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

ct_link_error ct_on_copy(ct_session *session, const uint8_t *payload, uint32_t size,
                         uint32_t *detail) {
  const ct_store *store = &session->port->store;
  const ct_active *active = &session->active;
  const ct_push *push = &session->push;
  ct_frame_writer writer;
  if (size != 10) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (!push->is_open) {
    return CT_L_ORDER;
  }
  if (active->slot == CT_NO_SLOT) {
    return CT_L_NO_MODEL;
  }
  const uint32_t from = ct_get32(payload), to = ct_get32(payload + 4);
  const uint32_t count = ct_get16(payload + 8);
  if (count == 0 || (uint64_t)from + count > active->identity.size / CT_BLOCK ||
      (uint64_t)to + count > push->identity.size / CT_BLOCK) {
    *detail = from;
    return CT_L_RANGE;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (ct_store_put(store, push->slot, (to + i) * CT_BLOCK,
                     store->slots[active->slot] + (size_t)(from + i) * CT_BLOCK, CT_BLOCK) != 0) {
      *detail = to + i;
      return CT_L_STORE;
    }
  }
  ct_begin_answer(session, &writer, CT_COPY, session->reader.bytes[1]);
  ct_frame_add32(&writer, to);
  ct_frame_add16(&writer, count);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

static void add_hash(ct_frame_writer *writer, const uint8_t *bytes, uint32_t size) {
  uint8_t digest[32];
  ct_sha256 hash;
  ct_sha256_start(&hash);
  ct_sha256_add(&hash, bytes, size);
  ct_sha256_finish(&hash, digest);
  ct_frame_add(writer, digest, HASH_BYTES);
}

ct_link_error ct_on_hash(ct_session *session, const uint8_t *payload, uint32_t size,
                         uint32_t *detail) {
  ct_frame_writer writer;
  if (size != 7) {
    *detail = size;
    return CT_L_LENGTH;
  }
  const int of_active = payload[0] == 1;
  const uint32_t first = ct_get32(payload + 1), count = ct_get16(payload + 5);
  const uint32_t slot = of_active ? session->active.slot : session->push.slot;
  const uint32_t whole = of_active ? session->active.identity.size : session->push.identity.size;
  if (payload[0] > 1) {
    *detail = payload[0];
    return CT_L_RANGE;
  }
  if (of_active ? slot == CT_NO_SLOT : !session->push.is_open) {
    return of_active ? CT_L_NO_MODEL : CT_L_ORDER;
  }
  if (count == 0 || count > MOST_HASHES || (uint64_t)first + count > blocks(whole)) {
    *detail = first;
    return CT_L_RANGE;
  }
  ct_begin_answer(session, &writer, CT_HASH, session->reader.bytes[1]);
  ct_frame_add32(&writer, first);
  ct_frame_add16(&writer, count);
  for (uint32_t offset = first * CT_BLOCK; offset < (first + count) * CT_BLOCK && offset < whole;
       offset += CT_BLOCK) {
    const uint32_t left = whole - offset;
    add_hash(&writer, session->port->store.slots[slot] + offset,
             left < CT_BLOCK ? left : CT_BLOCK);
  }
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

/* What must hold before the record of the new slot may be written; the model is then opened. */
static ct_link_error prove(ct_session *session, uint32_t *detail) {
  const ct_push *push = &session->push;
  ct_active *active = &session->active;
  if (!ct_store_holds(&session->port->store, push->slot, &push->identity)) {
    return CT_L_DIGEST;
  }
  ct_forget_runs(session);
  active->identity = push->identity;
  const ct_link_error error = ct_use(session, push->slot, detail);
  if (error != CT_L_OK) {
    return error;
  }
  *detail = ct_self_test(&active->model, active->memory);
  return *detail == 0 ? CT_L_OK : CT_L_GOLDEN;
}

/* The active model again, whose place the refused one has taken in memory. It was accepted before; if
 * its slot reads otherwise now, no model runs, and HELLO says why. */
static void go_back(ct_session *session, const ct_identity *identity) {
  ct_active *active = &session->active;
  uint32_t unused;
  active->identity = *identity;
  if (active->slot == CT_NO_SLOT) {
    return;
  }
  const ct_link_error error = ct_use(session, active->slot, &unused);
  if (error != CT_L_OK) {
    active->slot = CT_NO_SLOT;
    active->status = error;
  }
}

ct_link_error ct_on_commit(ct_session *session, const uint8_t *payload, uint32_t size,
                           uint32_t *detail) {
  const ct_store *store = &session->port->store;
  ct_active *active = &session->active;
  ct_push *push = &session->push;
  const ct_identity before = active->identity;
  ct_identity asked;
  ct_frame_writer writer;
  if (size != 36) {
    *detail = size;
    return CT_L_LENGTH;
  }
  read_identity(&asked, payload);
  if (!push->is_open || !ct_identity_equal(&asked, &push->identity)) {
    return CT_L_ORDER;
  }
  ct_link_error error = prove(session, detail);
  if (error == CT_L_OK &&
      ct_store_commit(store, push->slot, &push->identity, active->sequence + 1) != 0) {
    error = CT_L_STORE;
  }
  if (error == CT_L_DIGEST) {
    return error; /* the active model was not touched */
  }
  if (error != CT_L_OK) {
    go_back(session, &before);
    return error;
  }
  ++active->sequence;
  active->slot = active->kept = push->slot;
  active->status = CT_L_OK;
  push->is_open = 0;
  const uint8_t slot = (uint8_t)push->slot;
  ct_begin_answer(session, &writer, CT_COMMIT, session->reader.bytes[1]);
  ct_frame_add(&writer, &slot, 1);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

ct_link_error ct_on_read(ct_session *session, const uint8_t *payload, uint32_t size,
                         uint32_t *detail) {
  const ct_active *active = &session->active;
  ct_frame_writer writer;
  if (size != 6) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (active->slot == CT_NO_SLOT) {
    return CT_L_NO_MODEL;
  }
  const uint32_t offset = ct_get32(payload), count = ct_get16(payload + 4);
  if (count == 0 || count > MOST_READ || offset > active->identity.size ||
      count > active->identity.size - offset) {
    *detail = offset;
    return CT_L_RANGE;
  }
  ct_begin_answer(session, &writer, CT_READ, session->reader.bytes[1]);
  ct_frame_add32(&writer, offset);
  ct_frame_add(&writer, session->port->store.slots[active->slot] + offset, count);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}
