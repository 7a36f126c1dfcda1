/* See uart.h. */
#include "uart.h"

/* TI SPRUH79, table "UART registers"; each in the low byte of a word. */
typedef struct {
  volatile uint32_t data;       /* 0x00, RBR to read and THR to write */
  volatile uint32_t interrupts; /* 0x04, IER */
  volatile uint32_t fifo;       /* 0x08, FCR to write */
  volatile uint32_t line;       /* 0x0C, LCR */
  volatile uint32_t modem;      /* 0x10, MCR */
  volatile uint32_t status;     /* 0x14, LSR */
  volatile uint32_t unused[2];  /* 0x18, MSR and SCR */
  volatile uint32_t divisor_low, divisor_high; /* 0x20, 0x24, DLL and DLH, their own addresses */
  volatile uint32_t revision[2];
  volatile uint32_t power;      /* 0x30, PWREMU_MGMT */
  volatile uint32_t mode;       /* 0x34, MDR */
} ct_uart_registers;

typedef char ct_uart_registers_size[sizeof(ct_uart_registers) == 0x38 ? 1 : -1];

#define UART2 ((ct_uart_registers *)0x01D0D000)

enum {
  FIFO_BYTES = 16,
  FIFO_ENABLE = 1, /* FCR; must be set alone before the other bits take */
  FIFO_CLEAR = 6,  /* both directions */
  LINE_8N1 = 3,    /* LCR */
  STATUS_READY = 1, STATUS_ERRORS = 0x1E, STATUS_SENT = 0x20, STATUS_IDLE = 0x40, /* LSR */
  POWER_RUN = 0x6001, /* transmitter and receiver out of reset, running when debugged */
  MODE_16 = 0      /* MDR; samples a bit */
};

uint32_t ct_uart_divisor(uint32_t rate) {
  if (rate == 0 || rate > CT_UART_CLOCK / 16) {
    return 0;
  }
  const uint32_t divisor = (CT_UART_CLOCK / 16 + rate / 2) / rate;
  if (divisor > 0xFFFF) {
    return 0;
  }
  const uint32_t got = CT_UART_CLOCK / 16 / divisor;
  const uint32_t off = got > rate ? got - rate : rate - got;
  return off <= rate / 100 * 3 ? divisor : 0;
}

void ct_uart_start(uint32_t divisor) {
  if (UART2->power & POWER_RUN) {
    while (!(UART2->status & STATUS_IDLE)) {
    }
  }
  UART2->power = 0;
  UART2->interrupts = 0;
  UART2->modem = 0;
  UART2->mode = MODE_16;
  UART2->line = LINE_8N1;
  UART2->divisor_low = divisor & 0xFF;
  UART2->divisor_high = divisor >> 8;
  UART2->fifo = FIFO_ENABLE;
  UART2->fifo = FIFO_ENABLE | FIFO_CLEAR;
  UART2->power = POWER_RUN;
}

size_t ct_uart_read(uint8_t *out, size_t capacity, uint32_t *errors) {
  size_t count = 0;
  while (count < capacity) {
    const uint32_t status = UART2->status; /* reading it clears its error bits */
    *errors |= (status & STATUS_ERRORS) >> 1;
    if (!(status & STATUS_READY)) {
      break;
    }
    out[count++] = (uint8_t)UART2->data;
  }
  return count;
}

void ct_uart_write(const uint8_t *bytes, size_t count) {
  while (count > 0) {
    while (!(UART2->status & STATUS_SENT)) {
    }
    /* the FIFO is empty now, and so takes as much as it holds */
    for (size_t room = FIFO_BYTES; room > 0 && count > 0; --room, --count) {
      UART2->data = *bytes++;
    }
  }
}
