/* See session.h: frames in and out, and the requests that touch neither slots nor slices. */
#include "session.h"

/* L6. */
enum {
  TRIAL_US = 500000,
  DEAF_US = 2000000,  /* of bytes that are no frame, which end a raised rate */
  PAUSE_US = 1000000  /* without bytes: what comes then is counted anew */
};

static void begin(ct_session *session, ct_frame_writer *writer, uint8_t to, uint8_t seq,
                  uint8_t type) {
  const ct_request *request = &session->request;
  const int is_last = request->is_there && !request->is_answered && request->type == to &&
                      request->seq == seq;
  ct_frame_begin(writer, is_last ? session->request.answer : session->frame, type, seq);
}

void ct_begin_answer(ct_session *session, ct_frame_writer *writer, uint8_t type, uint8_t seq) {
  begin(session, writer, type, seq, type == CT_SLICE ? CT_ACK : type | CT_ANSWER);
}

void ct_end_answer(ct_session *session, ct_frame_writer *writer) {
  ct_frame_end(writer);
  session->out = writer->bytes;
  session->left = writer->size;
  if (writer->bytes == session->request.answer) {
    session->request.is_answered = 1;
    session->request.size = writer->size;
  }
}

static void refuse(ct_session *session, ct_link_error error, uint32_t detail) {
  const uint8_t type = session->reader.bytes[0], seq = session->reader.bytes[1];
  ct_frame_writer writer;
  begin(session, &writer, type, seq, CT_ERROR);
  ct_frame_add16(&writer, error);
  ct_frame_add(&writer, &type, 1);
  ct_frame_add32(&writer, detail);
  ct_end_answer(session, &writer);
}

/* ---- requests ---- */

static void add_name(ct_frame_writer *writer, const char *name) {
  uint8_t bytes[16] = {0};
  for (unsigned i = 0; i < sizeof bytes && name[i] != '\0'; ++i) {
    bytes[i] = (uint8_t)name[i];
  }
  ct_frame_add(writer, bytes, sizeof bytes);
}

static void add_model(ct_frame_writer *writer, const ct_active *active) {
  static const ct_identity none;
  const int runs = active->slot != CT_NO_SLOT;
  const ct_model *model = &active->model;
  const ct_identity *identity = runs ? &active->identity : &none;
  ct_frame_add16(writer, runs ? model->height : 0);
  ct_frame_add16(writer, runs ? model->width : 0);
  ct_frame_add16(writer, runs ? model->channels : 0);
  ct_frame_add16(writer, runs ? model->window_count : 0);
  ct_frame_add16(writer, runs ? model->layer_count : 0);
  ct_frame_add16(writer, runs ? model->takes_pictures != 0 : 0);
  ct_frame_add32(writer, identity->size);
  ct_frame_add(writer, identity->digest, sizeof identity->digest);
}

static void add_board(ct_frame_writer *writer, const ct_session *session) {
  const ct_port *port = session->port;
  const uint8_t bytes[2] = {(uint8_t)session->active.slot, (uint8_t)port->rate_count};
  add_name(writer, port->name);
  ct_frame_add32(writer, port->store.bytes);
  ct_frame_add32(writer, port->memory_bytes);
  ct_frame_add16(writer, port->window);
  ct_frame_add(writer, bytes, sizeof bytes);
  for (uint32_t i = 0; i < CT_MAX_RATES; ++i) {
    ct_frame_add32(writer, i < port->rate_count ? port->rates[i] : 0);
  }
}

/* What a session begins with: nothing in progress but a push (L5). */
static void forget(ct_session *session) {
  ct_statistics *statistics = &session->statistics;
  session->request.is_there = 0;
  session->slice.is_begun = session->slice.is_whole = 0;
  ct_cancel_runs(session);
  statistics->slices = statistics->busy = statistics->count = statistics->digests = 0;
  statistics->counts_layers = 0;
  statistics->dropped = session->reader.dropped;
  statistics->overrun = session->port->overrun(session->port->user);
}

static ct_link_error on_hello(ct_session *session, const uint8_t *payload, uint32_t size,
                              uint32_t *detail) {
  static const uint8_t versions[2] = {CT_PROTOCOL, CT_ABI};
  const int is_ours = size > 0 && payload[0] == CT_PROTOCOL;
  ct_frame_writer writer;
  if (size < 1 || (is_ours && size != 5)) {
    *detail = size;
    return CT_L_LENGTH;
  }
  ct_begin_answer(session, &writer, CT_HELLO, session->reader.bytes[1]);
  ct_frame_add(&writer, versions, is_ours ? 2 : 1);
  if (is_ours) {
    forget(session);
    ct_frame_add16(&writer, session->active.status);
    ct_frame_add(&writer, payload + 1, 4);
    add_board(&writer, session);
    add_model(&writer, &session->active);
  }
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

static ct_link_error on_rate(ct_session *session, const uint8_t *payload, uint32_t size,
                             uint32_t *detail) {
  const ct_port *port = session->port;
  ct_frame_writer writer;
  if (size != 4) {
    *detail = size;
    return CT_L_LENGTH;
  }
  const uint32_t rate = ct_get32(payload);
  uint32_t i = 0;
  while (i < port->rate_count && port->rates[i] != rate) {
    ++i;
  }
  if (i == port->rate_count) {
    *detail = rate;
    return CT_L_RATE;
  }
  session->rate.other = rate;
  session->rate.state = CT_RATE_ASKED;
  ct_begin_answer(session, &writer, CT_RATE, session->reader.bytes[1]);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

static ct_link_error on_reset(ct_session *session, const uint8_t *payload, uint32_t size,
                              uint32_t *detail) {
  ct_frame_writer writer;
  (void)payload;
  if (size != 0) {
    *detail = size;
    return CT_L_LENGTH;
  }
  session->is_resetting = 1;
  ct_begin_answer(session, &writer, CT_RESET, session->reader.bytes[1]);
  ct_end_answer(session, &writer);
  return CT_L_OK;
}

static ct_handler *handler_of(uint8_t type) {
  static ct_handler *const handlers[] = {
      NULL,         on_hello,   on_rate,     ct_on_begin, ct_on_write, ct_on_copy, ct_on_hash,
      ct_on_commit, ct_on_run,  ct_on_slice, ct_on_stats, ct_on_test,  on_reset,   ct_on_digest,
      ct_on_read};
  return type < sizeof handlers / sizeof *handlers ? handlers[type] : NULL;
}

/* ---- frames in ---- */

/* L3: 1 if the frame is the last request again, which is then answered again or passed over. */
static int is_repeated(ct_session *session) {
  const ct_frame_reader *reader = &session->reader;
  const ct_request *request = &session->request;
  return request->is_there && request->type == reader->bytes[0] &&
         request->seq == reader->bytes[1] && request->crc == reader->crc;
}

static void repeat_answer(ct_session *session) {
  if (session->request.is_answered) {
    session->out = session->request.answer;
    session->left = session->request.size;
  }
}

static void remember(ct_session *session) {
  ct_request *request = &session->request;
  request->is_there = 1;
  request->is_answered = 0;
  request->type = session->reader.bytes[0];
  request->seq = session->reader.bytes[1];
  request->crc = session->reader.crc;
}

static void handle(ct_session *session) {
  const ct_frame_reader *reader = &session->reader;
  const uint8_t type = reader->bytes[0];
  const int is_request = type != CT_HELLO && type != CT_WRITE && type != CT_SLICE;
  uint32_t detail = 0;
  if (type & CT_ANSWER) {
    return; /* our own voice */
  }
  if (is_request && is_repeated(session)) {
    repeat_answer(session);
    return;
  }
  if (is_request) {
    remember(session);
  }
  ct_handler *handler = handler_of(type);
  const ct_link_error error =
      handler == NULL ? CT_L_TYPE : handler(session, reader->bytes + 2, reader->size - 2, &detail);
  if (error != CT_L_OK) {
    refuse(session, error, detail);
  }
}

/* Whether the frame has to wait for the end of a computation, or of an MR that it would undo. */
static int must_wait(ct_session *session) {
  const uint8_t type = session->reader.bytes[0];
  const int needs_arena = type == CT_RUN || type == CT_TEST || type == CT_COMMIT;
  return ((needs_arena && ct_is_busy(session)) ||
          (type == CT_COMMIT && ct_is_sending(session))) &&
         !is_repeated(session);
}

/* L6: bytes are noise until a frame is whole. */
static void note_bytes(ct_session *session) {
  ct_rate_change *rate = &session->rate;
  const uint32_t now = session->port->microseconds(session->port->user);
  if (!rate->is_noise || now - rate->last > PAUSE_US) {
    rate->is_noise = 1;
    rate->first = now;
  }
  rate->last = now;
}

/* L6: HELLO shows that the host is heard, any other request that it hears the board, too. */
static void note_frame(ct_session *session) {
  ct_rate_change *rate = &session->rate;
  const uint8_t type = session->reader.bytes[0];
  rate->is_noise = 0;
  if (rate->state != CT_RATE_TRIED || type & CT_ANSWER) {
    return; /* an answer is our own voice */
  }
  if (type == CT_HELLO) {
    rate->since = session->port->microseconds(session->port->user);
  } else {
    rate->state = CT_RATE_STEADY;
  }
}

/* 1 if a whole frame stands in the reader and can be handled. */
static int read_frame(ct_session *session) {
  const ct_port *port = session->port;
  size_t used;
  while (!session->is_held) {
    if (session->input_at == session->input_end) {
      session->input_at = 0;
      session->input_end =
          (uint32_t)port->receive(port->user, session->input, sizeof session->input);
      if (session->input_end == 0) {
        return 0;
      }
      note_bytes(session);
    }
    session->is_held = ct_frame_read(&session->reader, session->input + session->input_at,
                                     session->input_end - session->input_at, &used);
    session->input_at += (uint32_t)used;
    if (session->is_held) {
      note_frame(session);
    }
  }
  if (must_wait(session)) {
    return 0;
  }
  session->is_held = 0;
  return 1;
}

/* ---- the rate of the line, L6 ---- */

static void change_rate(ct_session *session, uint32_t to) {
  ct_rate_change *rate = &session->rate;
  rate->other = rate->now;
  rate->now = to;
  rate->is_noise = 0;
  session->port->set_rate(session->port->user, to);
}

/* What came at the old rate must not pass for a word at the new one. */
static void drop_input(ct_session *session) {
  const ct_port *port = session->port;
  while (port->receive(port->user, session->input, sizeof session->input) > 0) {
  }
  session->input_at = session->input_end = 0;
  session->reader.code = session->reader.run = 0;
  session->reader.is_broken = 0;
  session->reader.size = 0;
}

/* Whether a host may be calling at the first rate, which reads as noise at this one. */
static int is_deaf(const ct_session *session) {
  const ct_rate_change *rate = &session->rate;
  return rate->is_noise && rate->last - rate->first > DEAF_US && session->port->rate_count > 0 &&
         rate->now != session->port->rates[0];
}

/* 0 while the answer to RATE must leave before anything else happens. */
static int settle_rate(ct_session *session) {
  const ct_port *port = session->port;
  ct_rate_change *rate = &session->rate;
  if (rate->state == CT_RATE_ASKED) {
    if (!port->is_sent(port->user)) {
      return 0;
    }
    drop_input(session);
    change_rate(session, rate->other);
    rate->since = port->microseconds(port->user);
    rate->state = CT_RATE_TRIED;
  } else if (rate->state == CT_RATE_TRIED &&
             port->microseconds(port->user) - rate->since > TRIAL_US) {
    change_rate(session, rate->other);
    rate->state = CT_RATE_STEADY;
    session->request.is_there = 0;
  } else if (rate->state == CT_RATE_STEADY && is_deaf(session)) {
    drop_input(session);
    change_rate(session, port->rates[0]);
    session->request.is_there = 0;
  }
  return 1;
}

/* ---- the whole ---- */

static int send(ct_session *session) {
  const ct_port *port = session->port;
  const uint32_t sent = (uint32_t)port->send(port->user, session->out, session->left);
  session->out += sent;
  session->left -= sent;
  return sent > 0;
}

int ct_session_pump(ct_session *session) {
  int done = 0;
  for (;;) {
    if (session->left > 0) {
      done |= send(session);
    }
    if (session->left > 0 || session->is_resetting || !settle_rate(session)) {
      return done;
    }
    if (read_frame(session)) {
      handle(session);
    } else if (!ct_send_mr(session)) {
      return done;
    }
    done = 1;
  }
}

static void zero(void *what, size_t size) {
  uint8_t *bytes = what;
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = 0;
  }
}

void ct_session_start(ct_session *session, const ct_port *port) {
  zero(session, sizeof *session);
  session->port = port;
  session->rate.now = port->rate_count > 0 ? port->rates[0] : 0;
  ct_load_newest(session);
}

int ct_session_step(ct_session *session) {
  const ct_port *port = session->port;
  const int pumped = ct_session_pump(session);
  if (session->is_resetting && session->left == 0 && port->is_sent(port->user)) {
    return -1;
  }
  return ct_compute(session) || pumped;
}
