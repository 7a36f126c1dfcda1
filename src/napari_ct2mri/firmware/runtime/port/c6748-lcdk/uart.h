/* UART2 of the C6748, the USB socket of the LCDK: 8 data bits, no parity, 1 stop bit, both directions
 * by EDMA3, so that the processor may compute for long while bytes come and go.
 *
 * A 16550 with 16-byte FIFOs whose registers stand 4 bytes apart (TI SPRUH79, chapter UART). It
 * is clocked with half the CPU's rate, and the boot ROM, having booted over it, leaves its module
 * enabled and its pins connected.
 */
#ifndef CT_UART_H
#define CT_UART_H

#include <stddef.h>
#include <stdint.h>

enum {
  CT_UART_CLOCK = 228000000, /* Hz, at 456 MHz */
  CT_UART_13 = 0x10000,      /* 13 samples a bit instead of 16 */
  CT_UART_IN = 1 << 14,      /* bytes that may wait for the processor; more overwrite them unnoticed */
  CT_UART_OUT = 1 << 12      /* bytes that may wait for the line */
};

/* The rings lie in L2, which the hardware keeps coherent with what EDMA3 does. */
typedef struct {
  uint8_t in[CT_UART_IN];
  uint8_t out[CT_UART_OUT];
  uint32_t taken, landed; /* of in, modulo its size: bytes taken, bytes known to lie there */
  uint32_t seen, idle; /* where in was filled up to at the last look; looks since, a byte waiting */
  uint32_t put, left;  /* of out: bytes written and bytes sent, counting up */
  uint32_t sending;    /* bytes of out under way */
  uint32_t errors;     /* status bits not looked at yet */
  uint32_t overruns;   /* times that the FIFO was found to have been full; bytes are lost each time */
} ct_uart;

/* The divisor, 1..65535, that comes nearest to rate (bit/s), with CT_UART_13 if 13 samples a bit come
 * nearer than 16; 0 if none comes within 3 %, which is what a receiver forgives. */
uint32_t ct_uart_divisor(uint32_t rate);

/* Set the rate by its divisor, empty FIFOs and rings, and start. Waits for the last byte to leave the
 * FIFO; who wants all of out to leave asks ct_uart_is_sent before. */
void ct_uart_start(ct_uart *uart, uint32_t divisor);

/* Take what has arrived, at most room bytes, without waiting; returns the number. Where the line was
 * disturbed, what was in the FIFO is dropped; if nothing else is there, a zero byte tells of it. */
size_t ct_uart_read(ct_uart *uart, uint8_t *out, size_t room);

/* Send what there is room for, at most size bytes, without waiting; returns the number. */
size_t ct_uart_write(ct_uart *uart, const uint8_t *bytes, size_t size);

/* Whether the last byte has left. */
int ct_uart_is_sent(ct_uart *uart);

#endif
