/* QEMU's vexpress-a9: one Cortex-A9, 512 MiB from 0x60000000 (Arm's Versatile Express Cortex-A9
 * CoreTile and Motherboard Express reference manuals). The model lies in RAM at a fixed place, put
 * there by QEMU's loader. */
#include "../port.h"

/* PL011 UART 0 (Arm DDI 0183) and SP804 timer 0 (Arm DDI 0271), which counts down at 1 MHz. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UART_DATA REGISTER(0x10009000)
#define UART_FLAGS REGISTER(0x10009018)
#define UART_CONTROL REGISTER(0x10009030)
#define TIMER_LOAD REGISTER(0x10011000)
#define TIMER_VALUE REGISTER(0x10011004)
#define TIMER_CONTROL REGISTER(0x10011008)

enum {
  UART_RX_EMPTY = 1 << 4,
  UART_TX_FULL = 1 << 5,
  UART_ENABLE = 1 << 0 | 1 << 8 | 1 << 9, /* UART, transmitter, receiver */
  TIMER_RUN_32_BITS = 1 << 7 | 1 << 1     /* free running, no interrupt */
};

/* Of board.ld. */
extern uint8_t ct_model_start[], ct_model_end[], ct_arena_start[], ct_arena_end[];
void ct_start(void); /* called by start.S */

int ct_port_read(uint8_t *out_bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    while (UART_FLAGS & UART_RX_EMPTY) {
    }
    out_bytes[i] = (uint8_t)UART_DATA;
  }
  return 0;
}

int ct_port_write(const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    while (UART_FLAGS & UART_TX_FULL) {
    }
    UART_DATA = bytes[i];
  }
  return 0;
}

uint32_t ct_port_microseconds(void) { return 0xFFFFFFFF - TIMER_VALUE; }

const uint8_t *ct_port_model(size_t *out_size) {
  *out_size = (size_t)(ct_model_end - ct_model_start);
  return ct_model_start;
}

ct_memory ct_port_memory(size_t arena_bytes, size_t scratch_bytes) {
  const size_t there = (size_t)(ct_arena_end - ct_arena_start);
  const size_t arena = (arena_bytes + CT_ALIGN - 1) / CT_ALIGN * CT_ALIGN;
  ct_memory memory = {NULL, NULL};
  if (arena <= there && scratch_bytes <= there - arena) {
    memory.arena = ct_arena_start;
    memory.scratch = ct_arena_start + arena;
  }
  return memory;
}

void ct_start(void) {
  UART_CONTROL = UART_ENABLE;
  TIMER_LOAD = 0xFFFFFFFF;
  TIMER_CONTROL = TIMER_RUN_32_BITS;
  ct_main();
}
