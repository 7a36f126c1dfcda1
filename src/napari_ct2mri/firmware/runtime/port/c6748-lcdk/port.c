/* TI's LCDK with a C6748: one C674x at 456 MHz, 256 KiB of L2, 128 MiB of DDR2, the serial line on the
 * USB socket. The model lies in DDR2 at a fixed place. Polled, without interrupts. */
#include "../port.h"
#include "uart.h"

enum { CPU_MHZ = 456, RATE = 115200 /* bit/s, at which the boot ROM has loaded us */ };

/* Of board.ld. */
extern uint8_t ct_model_start[], ct_model_end[], ct_arena_start[], ct_arena_end[];
extern uint8_t ct_fast_start[], ct_fast_end[];
void ct_start(void); /* called by start.S */

int ct_port_read(uint8_t *out_bytes, size_t size) {
  uint32_t errors = 0; /* those who talk over this line check what they get */
  while (size > 0) {
    const size_t count = ct_uart_read(out_bytes, size, &errors);
    out_bytes += count;
    size -= count;
  }
  return 0;
}

int ct_port_write(const uint8_t *bytes, size_t size) {
  ct_uart_write(bytes, size);
  return 0;
}

/* The C674x counts its cycles in TSCH:TSCL (TI SPRUFE8, section 2.9.14), since start.S wrote to it.
 * Reading the low word holds the high one until it is read. In 32 bits, since a division of 64 brings
 * half of libgcc along: 2^32 = 9418787 * 456 + 424. */
uint32_t ct_port_microseconds(void) {
  uint32_t low, high;
  __asm__ volatile("mvc .s2 TSCL, %0" : "=b"(low));
  __asm__ volatile("mvc .s2 TSCH, %0" : "=b"(high));
  return high * 9418787 + low / CPU_MHZ + (high * 424 + low % CPU_MHZ) / CPU_MHZ;
}

const uint8_t *ct_port_model(size_t *out_size) {
  *out_size = (size_t)(ct_model_end - ct_model_start);
  return ct_model_start;
}

ct_memory ct_port_memory(size_t arena_bytes, size_t scratch_bytes) {
  ct_memory memory = {NULL, NULL};
  if (arena_bytes <= (size_t)(ct_arena_end - ct_arena_start) &&
      scratch_bytes <= (size_t)(ct_fast_end - ct_fast_start)) {
    memory.arena = ct_arena_start;
    memory.scratch = ct_fast_start;
  }
  return memory;
}

void ct_start(void) {
  ct_uart_start(ct_uart_divisor(RATE));
  ct_main();
}
