/* See session.h: slices through the model, L12 to L15. */
#include "session.h"

/* Flags of SLICE and RUN. */
enum {
  PICTURE = 1, LAST = 2, SHIFT = 4, NETWORK = 8, /* SLICE */
  DIGESTS = 1, AGAIN = 0x80,                     /* RUN */
  MR_BYTES = 1024
};

static void copy(uint8_t *target, const uint8_t *source, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    target[i] = source[i];
  }
}

/* ---- memory ---- */

static uint8_t *reserve(const ct_port *port, uint64_t *used, uint64_t size) {
  uint8_t *start = port->memory + (*used <= port->memory_bytes ? *used : 0);
  *used += (size + CT_ALIGN - 1) / CT_ALIGN * CT_ALIGN;
  return start;
}

/* Open the container in a slot, active.identity.size bytes of it, and give it memory. */
ct_link_error ct_use(ct_session *session, uint32_t slot, uint32_t *detail) {
  const ct_port *port = session->port;
  ct_active *active = &session->active;
  ct_model *model = &active->model;
  uint64_t used = 0;
  const ct_status status = ct_open(model, port->store.slots[slot], active->identity.size);
  if (status != CT_OK) {
    return (ct_link_error)(CT_L_CONTAINER + (int)status);
  }
  const uint64_t pixels = (uint64_t)model->height * model->width;
  active->memory.arena = reserve(port, &used, model->arena_bytes);
  active->memory.scratch = model->scratch_bytes <= port->fast_bytes
                               ? port->fast
                               : reserve(port, &used, model->scratch_bytes);
  active->plane = reserve(port, &used, 2 * pixels);
  active->input = reserve(port, &used, pixels * model->channels);
  active->mr[0] = reserve(port, &used, pixels);
  active->mr[1] = reserve(port, &used, pixels);
  *detail = used > UINT32_MAX ? UINT32_MAX : (uint32_t)used;
  return used <= port->memory_bytes ? CT_L_OK : CT_L_MEMORY;
}

void ct_cancel_runs(ct_session *session) {
  ct_runs *runs = &session->runs;
  runs->sending.is_wanted = runs->waiting.is_wanted = 0;
  runs->done[0].is_there = runs->done[1].is_there = 0;
  if (runs->state == CT_RUN_COMPUTING) {
    runs->is_canceled = 1;
  } else {
    runs->state = CT_RUN_IDLE;
  }
}

void ct_forget_runs(ct_session *session) {
  ct_cancel_runs(session);
  session->slice.is_begun = session->slice.is_whole = 0;
  session->statistics.count = session->statistics.digests = 0;
}

int ct_is_busy(const ct_session *session) { return session->runs.state != CT_RUN_IDLE; }

int ct_is_sending(const ct_session *session) {
  return session->runs.sending.is_wanted || session->runs.waiting.is_wanted;
}

/* ---- slices in ---- */

static uint32_t windows(const ct_session *session, uint32_t kind) {
  return kind & NETWORK ? 1 : session->active.model.window_count;
}

static uint8_t look_up(const ct_table *table, int32_t value) {
  const int32_t place = value - table->first, last = (int32_t)table->count - 1;
  return table->bytes[place < 0 ? 0 : place > last ? last : place];
}

/* Pixels first..end of the plane to network bytes of window number window. */
static void convert(ct_session *session, size_t first, size_t end, uint32_t window) {
  const ct_active *active = &session->active;
  const ct_model *model = &active->model;
  const ct_slice *slice = &session->slice;
  const size_t step = model->channels;
  uint8_t *out =
      active->input + slice->plane * windows(session, slice->kind) + window;
  const int16_t *hu = (const int16_t *)(const void *)active->plane; /* aligned by reserve */
  for (size_t i = first; i < end; ++i) {
    if (slice->kind & NETWORK) {
      out[i * step] = active->plane[i];
    } else if (slice->kind & PICTURE) {
      out[i * step] = look_up(&model->tables[model->window_count], active->plane[i]);
    } else {
      out[i * step] = look_up(&model->tables[window], hu[i]);
    }
  }
}

static void convert_rows(ct_session *session) {
  ct_slice *slice = &session->slice;
  const size_t width = session->active.model.width;
  for (uint32_t window = 0; window < windows(session, slice->kind); ++window) {
    convert(session, slice->row * width, slice->decoder.codec.row * width, window);
  }
  slice->row = slice->decoder.codec.row;
}

/* Plane i becomes what plane i + 1 was; the last stays, to be overwritten. */
static void shift(ct_session *session, uint32_t step) {
  const ct_model *model = &session->active.model;
  const size_t pixels = (size_t)model->height * model->width;
  uint8_t *bytes = session->active.input;
  for (size_t i = 0; i < pixels; ++i, bytes += model->channels) {
    for (uint32_t c = 0; c + step < model->channels; ++c) {
      bytes[c] = bytes[c + step];
    }
  }
}

static void begin_plane(ct_session *session, uint32_t plane, uint8_t kind) {
  const ct_model *model = &session->active.model;
  ct_slice *slice = &session->slice;
  const ct_plane to = {session->active.plane, model->width, model->height,
                       kind & (PICTURE | NETWORK) ? CT_U8 : CT_S16};
  slice->plane = plane;
  slice->kind = kind;
  slice->next = slice->row = 0;
  slice->is_plane_done = 0;
  (void)ct_decode_start(&slice->decoder, &to); /* the sides are those of a model that was opened */
}

static void begin_slice(ct_session *session, uint16_t id) {
  session->slice.is_begun = 1;
  session->slice.is_whole = 0;
  session->slice.id = id;
}

/* Take bytes of the plane in progress, at slice->next. */
static ct_link_error take(ct_session *session, const uint8_t *bytes, uint32_t count, int is_last,
                          uint32_t planes, uint32_t *detail) {
  ct_slice *slice = &session->slice;
  const ct_codec_status status = ct_decode(&slice->decoder, bytes, count);
  if (status > CT_CODEC_MORE || (is_last && status != CT_CODEC_DONE)) {
    slice->is_begun = 0;
    *detail = status;
    return CT_L_CODEC;
  }
  slice->next += count;
  convert_rows(session);
  slice->is_plane_done = is_last;
  slice->is_whole = is_last && slice->plane == planes - 1;
  return CT_L_OK;
}

typedef struct {
  uint8_t plane, flags, kind;
  uint16_t id;
  uint32_t offset, planes, count;
  const uint8_t *bytes;
} ct_part;

static ct_link_error read_part(const ct_session *session, const uint8_t *payload, uint32_t size,
                               ct_part *part, uint32_t *detail) {
  const ct_model *model = &session->active.model;
  if (size < 8) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (session->active.slot == CT_NO_SLOT) {
    return CT_L_NO_MODEL;
  }
  part->plane = payload[0];
  part->flags = payload[1];
  part->kind = part->flags & NETWORK ? NETWORK : part->flags & PICTURE;
  part->id = ct_get16(payload + 2);
  part->offset = ct_get32(payload + 4);
  part->planes = model->channels / windows(session, part->kind);
  part->bytes = payload + 8;
  part->count = size - 8;
  if (part->kind == PICTURE && !model->takes_pictures) {
    return CT_L_KIND;
  }
  *detail = part->plane;
  return part->plane < part->planes && part->offset < (uint32_t)1 << 24 ? CT_L_OK : CT_L_RANGE;
}

static int is_expected(const ct_slice *slice, const ct_part *part) {
  if (!slice->is_begun || slice->is_whole || part->id != slice->id) {
    return 0;
  }
  if (slice->is_plane_done) {
    return part->plane == slice->plane + 1 && part->offset == 0;
  }
  return part->plane == slice->plane && part->offset == slice->next &&
         (part->offset == 0 || part->kind == slice->kind);
}

/* L12, shift. A slice of the same id has been begun by it already. */
static ct_link_error on_shift(ct_session *session, const ct_part *part, uint32_t *detail) {
  ct_slice *slice = &session->slice;
  if (slice->is_begun && slice->id == part->id) {
    return CT_L_OK;
  }
  *detail = part->id;
  if (!slice->is_begun || !slice->is_whole || part->id != (uint16_t)(slice->id + 1)) {
    return CT_L_ORDER;
  }
  shift(session, windows(session, part->kind));
  begin_slice(session, part->id);
  begin_plane(session, part->planes - 1, part->kind);
  return CT_L_OK;
}

static ct_link_error on_part(ct_session *session, const ct_part *part, uint32_t *detail) {
  ct_slice *slice = &session->slice;
  if (part->plane == 0 && part->offset == 0 && (!slice->is_begun || part->id != slice->id)) {
    begin_slice(session, part->id);
    begin_plane(session, 0, part->kind);
  } else if (!is_expected(slice, part)) {
    return CT_L_OK;
  } else if (part->offset == 0) {
    begin_plane(session, part->plane, part->kind);
  }
  return take(session, part->bytes, part->count, part->flags & LAST, part->planes, detail);
}

ct_link_error ct_on_slice(ct_session *session, const uint8_t *payload, uint32_t size,
                          uint32_t *detail) {
  const ct_slice *slice = &session->slice;
  ct_frame_writer writer;
  ct_part part;
  ct_link_error error = read_part(session, payload, size, &part, detail);
  if (error == CT_L_OK) {
    error = part.flags & SHIFT ? on_shift(session, &part, detail) : on_part(session, &part, detail);
  }
  if (error != CT_L_OK) {
    return error;
  }
  const uint8_t id = slice->is_begun ? (uint8_t)slice->id : 0;
  ct_begin_answer(session, &writer, CT_SLICE, session->reader.bytes[1]);
  ct_frame_add32(&writer, slice->is_begun ? slice->plane << 24 | slice->next : 0);
  ct_frame_add(&writer, &id, 1);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

/* ---- computing ---- */

static ct_link_error send_again(ct_session *session, const uint8_t *payload, uint32_t *detail) {
  ct_runs *runs = &session->runs;
  const uint32_t id = ct_get32(payload), next = ct_get32(payload + 5), end = ct_get32(payload + 9);
  const uint32_t mr = runs->done[1].is_there && runs->done[1].id == id;
  if (!runs->done[mr].is_there || runs->done[mr].id != id) {
    *detail = id;
    return CT_L_RANGE;
  }
  if (runs->waiting.is_wanted) {
    return CT_L_ORDER;
  }
  if (next > end || end > runs->done[mr].size) {
    *detail = next;
    return CT_L_RANGE;
  }
  ct_sending *sending = &runs->waiting;
  sending->is_wanted = 1;
  sending->seq = session->reader.bytes[1];
  sending->mr = mr;
  sending->next = next;
  sending->end = end;
  return CT_L_OK;
}

ct_link_error ct_on_run(ct_session *session, const uint8_t *payload, uint32_t size,
                        uint32_t *detail) {
  const ct_active *active = &session->active;
  const ct_model *model = &active->model;
  const ct_slice *slice = &session->slice;
  ct_runs *runs = &session->runs;
  const int again = size > 4 && payload[4] & AGAIN;
  if (size != (again ? 13 : 5)) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (active->slot == CT_NO_SLOT) {
    return CT_L_NO_MODEL;
  }
  if (again) {
    return send_again(session, payload, detail);
  }
  const uint32_t id = ct_get32(payload);
  if (!slice->is_begun || !slice->is_whole || slice->id != (id & 0xFFFF)) {
    *detail = slice->id;
    return CT_L_ORDER;
  }
  copy(active->memory.arena + model->input, active->input,
       (size_t)model->height * model->width * model->channels);
  runs->state = CT_RUN_ASKED;
  runs->is_canceled = 0;
  runs->seq = session->reader.bytes[1];
  runs->flags = payload[4];
  runs->id = id;
  return CT_L_OK;
}

static void after_layer(void *user, uint32_t layer, const uint8_t *bytes, size_t size) {
  ct_session *session = user;
  const ct_port *port = session->port;
  ct_statistics *statistics = &session->statistics;
  ct_runs *runs = &session->runs;
  const uint32_t taken = port->microseconds(port->user) - runs->mark;
  runs->microseconds += taken;
  if (statistics->counts_layers && !runs->is_canceled) {
    statistics->layer[layer] = taken;
    statistics->count = layer + 1;
  }
  if (runs->flags & DIGESTS && !runs->is_canceled) {
    ct_sha256 hash;
    ct_sha256_start(&hash);
    ct_sha256_add(&hash, bytes, size);
    ct_sha256_finish(&hash, statistics->digest[layer]);
    statistics->digests = layer + 1;
  }
  (void)ct_session_pump(session);
  runs->mark = port->microseconds(port->user);
}

int ct_compute(ct_session *session) {
  const ct_port *port = session->port;
  const ct_hook hook = {after_layer, session};
  ct_runs *runs = &session->runs;
  if (runs->state != CT_RUN_ASKED) {
    return 0;
  }
  runs->state = CT_RUN_COMPUTING;
  runs->microseconds = 0;
  runs->mark = port->microseconds(port->user);
  ct_run(&session->active.model, session->active.memory, &hook);
  runs->state = runs->is_canceled ? CT_RUN_IDLE : CT_RUN_COMPUTED;
  if (!runs->is_canceled) {
    ++session->statistics.slices;
    session->statistics.busy += runs->microseconds;
  }
  return 1;
}

/* ---- MRs out ---- */

/* The MR just computed into the place of the older one, once that is not being sent. */
static void keep(ct_session *session) {
  const ct_active *active = &session->active;
  const ct_model *model = &active->model;
  ct_runs *runs = &session->runs;
  const uint32_t mr = 1 - runs->last;
  if (runs->state != CT_RUN_COMPUTED || runs->waiting.is_wanted ||
      (runs->sending.is_wanted && runs->sending.mr == mr)) {
    return;
  }
  copy(active->mr[mr], active->memory.arena + model->output,
       (size_t)model->height * model->width);
  runs->state = CT_RUN_IDLE;
  runs->last = mr;
  runs->done[mr].is_there = 1;
  runs->done[mr].id = runs->id;
  runs->done[mr].microseconds = runs->microseconds;
  runs->waiting.is_wanted = 1;
  runs->waiting.seq = runs->seq;
  runs->waiting.mr = mr;
  runs->waiting.next = 0;
  runs->waiting.end = UINT32_MAX;
}

static void skip(ct_encoder *encoder, uint32_t count) {
  uint8_t part[128];
  while (count > 0) {
    const size_t size = ct_encode(encoder, part, count < sizeof part ? count : sizeof part);
    count = size > 0 ? count - (uint32_t)size : 0;
  }
}

static void answer(ct_session *session) {
  const ct_model *model = &session->active.model;
  ct_runs *runs = &session->runs;
  ct_sending *sending = &runs->sending;
  ct_done *done = &runs->done[runs->waiting.mr];
  const ct_plane plane = {session->active.mr[runs->waiting.mr], model->width, model->height, CT_U8};
  ct_frame_writer writer;
  *sending = runs->waiting;
  runs->waiting.is_wanted = 0;
  (void)ct_encode_start(&runs->encoder, &plane);
  done->size = (uint32_t)runs->encoder.size;
  sending->end = sending->end < done->size ? sending->end : done->size;
  sending->is_wanted = sending->next < sending->end;
  skip(&runs->encoder, sending->next);
  ct_begin_answer(session, &writer, CT_RUN, sending->seq);
  ct_frame_add32(&writer, done->id);
  ct_frame_add32(&writer, done->microseconds);
  ct_frame_add32(&writer, done->size);
  ct_end_answer(session, &writer);
}

static void send_part(ct_session *session) {
  ct_runs *runs = &session->runs;
  ct_sending *sending = &runs->sending;
  const uint32_t left = sending->end - sending->next;
  const uint32_t count = left < MR_BYTES ? left : MR_BYTES;
  uint8_t part[128];
  ct_frame_writer writer;
  ct_frame_begin(&writer, session->frame, CT_SLICE | CT_ANSWER, sending->seq);
  ct_frame_add32(&writer, runs->done[sending->mr].id);
  ct_frame_add32(&writer, sending->next);
  for (uint32_t done = 0; done < count;) {
    const uint32_t room = count - done < sizeof part ? count - done : (uint32_t)sizeof part;
    const uint32_t size = (uint32_t)ct_encode(&runs->encoder, part, room);
    ct_frame_add(&writer, part, size);
    done += size > 0 ? size : count; /* 0 only at the end, which end says */
  }
  sending->next += count;
  sending->is_wanted = sending->next < sending->end;
  ct_end_answer(session, &writer);
}

int ct_send_mr(ct_session *session) {
  ct_runs *runs = &session->runs;
  keep(session);
  if (runs->sending.is_wanted) {
    send_part(session);
  } else if (runs->waiting.is_wanted) {
    answer(session);
  } else {
    return 0;
  }
  return 1;
}

/* ---- what is told of it ---- */

ct_link_error ct_on_test(ct_session *session, const uint8_t *payload, uint32_t size,
                         uint32_t *detail) {
  const ct_port *port = session->port;
  const ct_active *active = &session->active;
  ct_frame_writer writer;
  (void)payload;
  if (size != 0) {
    *detail = size;
    return CT_L_LENGTH;
  }
  if (active->slot == CT_NO_SLOT) {
    return CT_L_NO_MODEL;
  }
  const uint32_t before = port->microseconds(port->user);
  const uint32_t wrong = ct_self_test(&active->model, active->memory);
  ct_begin_answer(session, &writer, CT_TEST, session->reader.bytes[1]);
  ct_frame_add32(&writer, wrong);
  ct_frame_add32(&writer, port->microseconds(port->user) - before);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

ct_link_error ct_on_stats(ct_session *session, const uint8_t *payload, uint32_t size,
                          uint32_t *detail) {
  const ct_port *port = session->port;
  ct_statistics *statistics = &session->statistics;
  ct_frame_writer writer;
  if (size != 1) {
    *detail = size;
    return CT_L_LENGTH;
  }
  statistics->counts_layers = payload[0] & 1;
  ct_begin_answer(session, &writer, CT_STATS, session->reader.bytes[1]);
  ct_frame_add32(&writer, statistics->slices);
  ct_frame_add32(&writer, statistics->busy);
  ct_frame_add32(&writer, session->reader.dropped - statistics->dropped);
  ct_frame_add32(&writer, port->overrun(port->user) - statistics->overrun);
  ct_frame_add16(&writer, statistics->count);
  for (uint32_t i = 0; i < statistics->count; ++i) {
    ct_frame_add32(&writer, statistics->layer[i]);
  }
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

ct_link_error ct_on_digest(ct_session *session, const uint8_t *payload, uint32_t size,
                           uint32_t *detail) {
  const ct_statistics *statistics = &session->statistics;
  ct_frame_writer writer;
  if (size != 4) {
    *detail = size;
    return CT_L_LENGTH;
  }
  const uint32_t first = ct_get16(payload), count = ct_get16(payload + 2);
  if (statistics->digests == 0) {
    return CT_L_ORDER;
  }
  if (count == 0 || first + count > statistics->digests) {
    *detail = statistics->digests;
    return CT_L_RANGE;
  }
  ct_begin_answer(session, &writer, CT_DIGEST, session->reader.bytes[1]);
  ct_frame_add16(&writer, first);
  ct_frame_add16(&writer, count);
  for (uint32_t i = first; i < first + count; ++i) {
    ct_frame_add(&writer, statistics->digest[i], 32);
  }
  ct_end_answer(session, &writer);
  return CT_L_OK;
}
