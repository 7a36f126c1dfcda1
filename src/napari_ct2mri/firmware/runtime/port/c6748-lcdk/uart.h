/* UART2 of the C6748, the USB socket of the LCDK: 8 data bits, no parity, 1 stop bit, polled.
 *
 * A 16550 with 16-byte FIFOs whose registers stand 4 bytes apart (TI SPRUH79, chapter UART). It
 * is clocked with half the CPU's rate, and the boot ROM, having booted over it, leaves its module
 * enabled and its pins connected.
 */
#ifndef CT_UART_H
#define CT_UART_H

#include <stddef.h>
#include <stdint.h>

enum { CT_UART_CLOCK = 228000000 }; /* Hz, at 456 MHz */

/* What can happen to bytes on their way; bits, since several can. */
enum {
  CT_UART_OVERRUN = 1, /* the FIFO was full: bytes are lost */
  CT_UART_PARITY = 2,
  CT_UART_FRAMING = 4, /* no stop bit: another rate, or noise */
  CT_UART_BREAK = 8
};

enum { CT_UART_13 = 0x10000 }; /* 13 samples a bit instead of 16 */

/* The divisor, 1..65535, that comes nearest to rate (bit/s), with CT_UART_13 if 13 samples a bit come
 * nearer than 16; 0 if none comes within 3 %, which is what a receiver forgives. */
uint32_t ct_uart_divisor(uint32_t rate);

/* Set the rate by its divisor, empty both FIFOs and start. Waits for the last byte to leave. */
void ct_uart_start(uint32_t divisor);

/* Take what has arrived, without waiting. Returns the number of bytes stored, 0..capacity, and adds to
 * *errors what happened to them; a byte with an error is stored like any other. */
size_t ct_uart_read(uint8_t *out, size_t capacity, uint32_t *errors);

/* Send count bytes; waits while the FIFO is full. */
void ct_uart_write(const uint8_t *bytes, size_t count);

#endif
