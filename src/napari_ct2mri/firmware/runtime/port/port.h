/* What a board brings: a serial line, a clock, memory and the model. Everything else is the same
 * on all of them. The only state of the firmware is in port.c of a board. */
#ifndef CT_PORT_H
#define CT_PORT_H

#include "../ct.h"

/* Read exactly size bytes, waiting for them. Returns 0, or -1 if the line has ended. */
int ct_port_read(uint8_t *out_bytes, size_t size);

/* Write size bytes. Returns 0, or -1 if the line has ended. */
int ct_port_write(const uint8_t *bytes, size_t size);

/* Microseconds since some moment; wraps after 71 minutes. */
uint32_t ct_port_microseconds(void);

/* The container, at a multiple of CT_ALIGN, and the bytes there may be of it. */
const uint8_t *ct_port_model(size_t *out_size);

/* Memory for a model; arena is null if the board has too little. */
ct_memory ct_port_memory(size_t arena_bytes, size_t scratch_bytes);

/* The loop, in main.c; a port calls it when the board is ready. Returns when the line ends. */
void ct_main(void);

#endif
