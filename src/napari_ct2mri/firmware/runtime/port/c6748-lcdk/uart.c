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
  MODE_13 = 1      /* MDR; samples a bit */
};

/* How far the nearest divisor of clock (Hz) is off rate, bit/s; the divisor may be out of range. */
static uint32_t nearest(uint32_t clock, uint32_t rate, uint32_t *out_divisor) {
  const uint32_t divisor = (clock + rate / 2) / rate;
  const uint32_t got = divisor == 0 ? 0 : clock / divisor;
  *out_divisor = divisor;
  return got > rate ? got - rate : rate - got;
}

uint32_t ct_uart_divisor(uint32_t rate) {
  uint32_t by_16, by_13;
  if (rate == 0 || rate > CT_UART_CLOCK) {
    return 0;
  }
  const uint32_t off_16 = nearest(CT_UART_CLOCK / 16, rate, &by_16);
  const uint32_t off_13 = nearest(CT_UART_CLOCK / 13, rate, &by_13);
  const int is_13 = off_13 < off_16;
  const uint32_t divisor = is_13 ? by_13 : by_16;
  const uint32_t off = is_13 ? off_13 : off_16;
  if (divisor == 0 || divisor > 0xFFFF || off > rate / 100 * 3) {
    return 0;
  }
  return is_13 ? divisor | CT_UART_13 : divisor;
}

void ct_uart_start(uint32_t divisor) {
  if (UART2->power & POWER_RUN) {
    while (!(UART2->status & STATUS_IDLE)) {
    }
  }
  UART2->power = 0;
  UART2->interrupts = 0;
  UART2->modem = 0;
  UART2->mode = divisor & CT_UART_13 ? MODE_13 : 0;
  UART2->line = LINE_8N1;
  UART2->divisor_low = divisor & 0xFF;
  UART2->divisor_high = divisor >> 8 & 0xFF;
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
