/* The board's end of the link: docs/link-protocol.md, whose rules "L" are cited. A state machine: bytes
 * come in any portions, answers go out as the line takes them, nothing waits. All state is in one
 * ct_session of the caller.
 *
 * session.c: frames in and out, requests; push.c: containers in and out (L7 to L11, L16); run.c: slices
 * through the model (L12 to L15); main.c: the loop. */
#ifndef CT_SESSION_H
#define CT_SESSION_H

#include "codec.h"
#include "ct.h"
#include "frame.h"
#include "port/port.h"
#include "store.h"

enum { CT_PROTOCOL = 1 };

/* L2. */
typedef enum {
  CT_HELLO = 0x01,
  CT_RATE = 0x02,
  CT_BEGIN = 0x03,
  CT_WRITE = 0x04,
  CT_COPY = 0x05,
  CT_HASH = 0x06,
  CT_COMMIT = 0x07,
  CT_RUN = 0x08,
  CT_SLICE = 0x09,
  CT_STATS = 0x0A,
  CT_TEST = 0x0B,
  CT_RESET = 0x0C,
  CT_DIGEST = 0x0D,
  CT_READ = 0x0E,
  CT_ANSWER = 0x80, /* is set in answers */
  CT_ACK = 0x84,
  CT_ERROR = 0xFF
} ct_frame_type;

/* L4; CT_L_CONTAINER + a ct_status. */
typedef enum {
  CT_L_OK = 0,
  CT_L_VERSION = 1,
  CT_L_TYPE = 2,
  CT_L_LENGTH = 3,
  CT_L_RANGE = 4,
  CT_L_ORDER = 5,
  CT_L_SIZE = 6,
  CT_L_NO_MODEL = 7,
  CT_L_DIGEST = 8,
  CT_L_MEMORY = 9,
  CT_L_GOLDEN = 10,
  CT_L_STORE = 11,
  CT_L_KIND = 12,
  CT_L_CODEC = 13,
  CT_L_RATE = 14,
  CT_L_CONTAINER = 100
} ct_link_error;

/* The model that runs. */
typedef struct {
  ct_link_error status; /* 0, or why there is none */
  uint32_t slot;        /* CT_NO_SLOT: none */
  ct_identity identity;
  uint32_t sequence;    /* the highest of all records that are valid */
  uint32_t kept;        /* slot that a push spares: this one's, or of the newest that was refused */
  ct_model model;
  ct_memory memory;
  uint8_t *plane;       /* a plane as it arrives, int16 or uint8 [height][width] */
  uint8_t *input;       /* network bytes [height][width][channels] */
  uint8_t *mr[2];       /* the last two MRs, [height][width] */
} ct_active;

typedef struct {
  int is_open;          /* BEGIN since power-on */
  uint32_t slot;
  ct_identity identity;
  uint32_t next;        /* L9 */
  uint8_t block[CT_BLOCK]; /* the one that next lies in, from its first byte on */
} ct_push;

/* What is known of the slice that arrives, L12. */
typedef struct {
  int is_begun;      /* and not dropped */
  int is_plane_done; /* the last part of plane has come */
  int is_whole;      /* network bytes of all its planes are in place */
  uint16_t id;
  uint32_t plane, next;
  uint32_t row;      /* of the plane: rows below it are network bytes */
  uint8_t kind;      /* of the plane, a bit of flags or none */
  ct_decoder decoder;
} ct_slice;

/* An MR in mr[]: bytes next..end of its encoded form go out after an answer to seq. */
typedef struct {
  int is_wanted;
  uint8_t seq;
  uint32_t mr;    /* number in mr[] */
  uint32_t next, end;
} ct_sending;

/* What is in mr[]. */
typedef struct {
  int is_there;
  uint32_t id, microseconds;
  uint32_t size; /* encoded; once it was answered */
} ct_done;

typedef struct {
  enum { CT_RUN_IDLE, CT_RUN_ASKED, CT_RUN_COMPUTING, CT_RUN_COMPUTED } state;
  int is_canceled;    /* by HELLO: nobody waits for it any more */
  uint8_t seq, flags;
  uint32_t id;
  uint32_t microseconds;
  uint32_t mark;      /* when the layer began */
  ct_done done[2];
  uint32_t last;      /* number of the newer one */
  ct_sending sending; /* goes out now */
  ct_sending waiting; /* goes out next, its answer first */
  ct_encoder encoder; /* of what goes out */
} ct_runs;

typedef struct {
  uint32_t slices, busy; /* busy: microseconds */
  uint32_t dropped, overrun; /* before HELLO */
  int counts_layers;
  uint32_t count;        /* of layers */
  uint32_t layer[CT_MAX_LAYERS];
  uint32_t digests;      /* layers with one */
  uint8_t digest[CT_MAX_LAYERS][32];
} ct_statistics;

/* L6. */
typedef struct {
  enum { CT_RATE_STEADY, CT_RATE_ASKED, CT_RATE_TRIED } state;
  uint32_t now, other;   /* bit/s; asked for, or that before the trial */
  uint32_t since;        /* microseconds, of the trial, or of the last HELLO in it */
  int is_noise;          /* bytes have come since the last frame */
  uint32_t first, last;  /* microseconds, of these; first after a pause among them */
} ct_rate_change;

/* L3: the last request and what becomes of it. */
typedef struct {
  int is_there, is_answered;
  uint8_t type, seq;
  uint32_t crc;
  uint32_t size;         /* bytes of its answer */
  uint8_t answer[CT_FRAME_ENCODED];
} ct_request;

typedef struct {
  const ct_port *port;
  ct_active active;
  ct_push push;
  ct_slice slice;
  ct_runs runs;
  ct_statistics statistics;
  ct_rate_change rate;
  ct_request request;
  int is_resetting;      /* once the answer is out */
  ct_frame_reader reader;
  int is_held;           /* a frame is read that waits for the processor */
  uint8_t input[256];    /* as received; input_at..input_end is not read yet */
  uint32_t input_at, input_end;
  uint8_t frame[CT_FRAME_ENCODED]; /* of a stream: ACK, SLICE */
  const uint8_t *out;    /* goes out now, left bytes of it */
  uint32_t left;
} ct_session;

/* As after power-on: the newest whole model, L11. port must stay. */
void ct_session_start(ct_session *session, const ct_port *port);

/* Do what can be done now: take bytes, answer, send, compute. Returns 0 if there was nothing to do, 1
 * if there was, -1 if the board is to start again (L14 RESET). */
int ct_session_step(ct_session *session);

/* What follows the files say to each other. A handler answers session->reader's frame by ct_begin_answer, ct_frame_add, ct_end_answer, or returns an
 * error with *detail; payload has size bytes. */

typedef ct_link_error ct_handler(ct_session *session, const uint8_t *payload, uint32_t size,
                                 uint32_t *detail);

/* To a frame of this type and seq. */
void ct_begin_answer(ct_session *session, ct_frame_writer *writer, uint8_t type, uint8_t seq);
void ct_end_answer(ct_session *session, ct_frame_writer *writer);
int ct_session_pump(ct_session *session); /* all but computing; 1 if anything was done */

/* push.c */
void ct_load_newest(ct_session *session);
ct_handler ct_on_begin, ct_on_write, ct_on_copy, ct_on_hash, ct_on_commit, ct_on_read;

/* run.c */
ct_link_error ct_use(ct_session *session, uint32_t slot, uint32_t *detail);
void ct_forget_runs(ct_session *session); /* the model is another now */
void ct_cancel_runs(ct_session *session); /* a session begins */
int ct_is_busy(const ct_session *session);    /* the arena is in use */
int ct_is_sending(const ct_session *session); /* an MR goes out */
int ct_compute(ct_session *session);      /* 1 if anything was done */
int ct_send_mr(ct_session *session);      /* the next frame; 1 if there was one */
ct_handler ct_on_slice, ct_on_run, ct_on_test, ct_on_stats, ct_on_digest;

#endif
