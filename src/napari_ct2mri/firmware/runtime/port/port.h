/* What a board brings: a serial line, a clock, memory, two slots. Everything else is the same on all
 * of them. A port fills in one ct_port and gives it to ct_main. */
#ifndef CT_PORT_H
#define CT_PORT_H

#include "../ct.h"
#include "../store.h"

enum { CT_MAX_RATES = 8 };

typedef struct {
  const char *name;       /* up to 16 characters */
  const uint32_t *rates;  /* bit/s, exact; the first after reset. null: the line has no rate */
  uint32_t rate_count;    /* 0..CT_MAX_RATES */
  uint32_t window;        /* frames that it buffers while nobody looks, 1..64 */
  ct_store store;
  uint8_t *memory;        /* of all that a model needs, at a multiple of CT_ALIGN */
  uint32_t memory_bytes;
  uint8_t *fast;          /* for its scratch, at a multiple of CT_ALIGN; null: in memory */
  uint32_t fast_bytes;
  void *user;             /* passed to every function */
  /* Take what has arrived, at most room bytes; 0: nothing. What came broken counts, too, at least as
   * a zero byte: a board tells by it that a host calls at another rate (L6). None of these waits, but
   * for wait. */
  size_t (*receive)(void *user, uint8_t *out, size_t room);
  /* Send what the line takes now; returns the number of bytes, 0..size. */
  size_t (*send)(void *user, const uint8_t *bytes, size_t size);
  /* Whether the last byte has left. */
  int (*is_sent)(void *user);
  void (*set_rate)(void *user, uint32_t rate);
  /* How often since reset bytes are known to have been lost, as nobody took them in time. A port
   * counts what its hardware tells it of; frames that lack bytes are dropped in any case. */
  uint32_t (*overrun)(void *user);
  /* Since some moment; wraps after 71 minutes. */
  uint32_t (*microseconds)(void *user);
  /* Nothing to do: return when something may have come or left. Where there are rates, after some
   * milliseconds at most, since a rate is tried by the clock (L6). */
  void (*wait)(void *user);
} ct_port;

/* The loop, in main.c; a port calls it when the board is ready. Returns when the board is to start
 * again as after power-on. */
void ct_main(const ct_port *port);

#endif
