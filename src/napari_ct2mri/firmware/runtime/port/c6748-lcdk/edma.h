/* EDMA3's first channel controller of the C6748: two channels that bytes of UART2 ask for (TI SPRUH79,
 * chapter EDMA3; its events: TI SPRS590). A channel moves one byte an event. */
#ifndef CT_EDMA_H
#define CT_EDMA_H

#include <stdint.h>

typedef enum { CT_EDMA_UART2_RECEIVE = 30, CT_EDMA_UART2_SEND = 31 } ct_edma_channel;

/* Enable the controller, which is off after reset. */
void ct_edma_enable(void);

/* Stop a channel and forget events that came for it. */
void ct_edma_stop(ct_edma_channel channel);

/* At each event store the byte at source to the next of size bytes, 1..65535, from the first again
 * after the last. */
void ct_edma_fill_ring(ct_edma_channel channel, const volatile uint32_t *source, uint8_t *ring,
                       uint32_t size);

/* The address that the next byte goes to. The one before it may still be on its way. */
uint32_t ct_edma_next(ct_edma_channel channel);

/* Whether nothing is on its way: all bytes lie there that an earlier ct_edma_next had passed. */
int ct_edma_is_idle(void);

/* Let events through, those from now on. */
void ct_edma_resume(ct_edma_channel channel);

/* Store the first of size bytes to target now, the next at each event. */
void ct_edma_send(ct_edma_channel channel, const uint8_t *bytes, uint32_t size,
                  volatile uint32_t *target);

/* Whether all of ct_edma_send's bytes are stored. */
int ct_edma_is_done(ct_edma_channel channel);

#endif
