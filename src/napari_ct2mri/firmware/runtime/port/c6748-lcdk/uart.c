/* See uart.h. */
#include "uart.h"

#include "edma.h"

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
  FIFO_ENABLE = 1, /* FCR; must be set alone before the other bits take */
  FIFO_CLEAR = 6,  /* both directions */
  FIFO_EVENTS = 8, /* DMA mode, an event for every byte received and when the last has left */
  LINE_8N1 = 3,    /* LCR */
  STATUS_READY = 0x01, STATUS_OVERRUN = 0x02, STATUS_IDLE = 0x40, /* LSR */
  STATUS_DISTURBED = 0x9E, /* overrun, parity, framing, break; one of them in the FIFO */
  POWER_RUN = 0x6001, /* transmitter and receiver out of reset, running when debugged */
  MODE_13 = 1,     /* MDR; samples a bit */
  STUCK_LOOKS = 64 /* many times what EDMA3 takes to move a byte */
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

/* Reading the status clears what it says of errors: nobody else reads it. */
static uint32_t look(ct_uart *uart) {
  const uint32_t status = UART2->status;
  uart->errors |= status & STATUS_DISTURBED;
  return status;
}

static void fill_ring(ct_uart *uart) {
  uart->taken = uart->landed = uart->seen = uart->idle = 0;
  ct_edma_fill_ring(CT_EDMA_UART2_RECEIVE, &UART2->data, uart->in, CT_UART_IN);
}

void ct_uart_start(ct_uart *uart, uint32_t divisor) {
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
  UART2->fifo = FIFO_ENABLE | FIFO_CLEAR | FIFO_EVENTS;
  ct_edma_enable();
  ct_edma_stop(CT_EDMA_UART2_SEND);
  uart->put = uart->left = uart->sending = uart->errors = 0;
  fill_ring(uart); /* events that come before it are lost */
  UART2->power = POWER_RUN;
}

/* A byte with an error makes no event, and stops those behind it: the processor throws out what is
 * in the FIFO. Frames that lose bytes thereby fail their check. */
static void recover(ct_uart *uart) {
  uart->overruns += uart->errors & STATUS_OVERRUN ? 1 : 0;
  uart->errors = 0;
  ct_edma_stop(CT_EDMA_UART2_RECEIVE);
  while (look(uart) & STATUS_READY) {
    (void)UART2->data;
  }
  uart->errors = uart->idle = 0;
  ct_edma_resume(CT_EDMA_UART2_RECEIVE);
}

/* Set the next bytes of out on their way, up to the ring's end, once those before have gone. */
static void go_on(ct_uart *uart) {
  if (uart->sending > 0 && ct_edma_is_done(CT_EDMA_UART2_SEND)) {
    uart->left += uart->sending;
    uart->sending = 0;
  }
  if (uart->sending == 0 && uart->left != uart->put) {
    const uint32_t start = uart->left % CT_UART_OUT, there = uart->put - uart->left;
    uart->sending = there < CT_UART_OUT - start ? there : CT_UART_OUT - start;
    (void)*(volatile uint8_t *)&uart->out[start + uart->sending - 1]; /* all is stored by now */
    ct_edma_send(CT_EDMA_UART2_SEND, uart->out + start, uart->sending, &UART2->data);
  }
}

/* EDMA3 moves its place on when it asks for a byte to be moved; the byte lies there some time later (TI
 * SPRUH79, EDMA3, "Parameter Set Updates"). How long that takes nobody says, nor how soon we look
 * again, so that the place of the look before would prove nothing. Where the transfer controller has
 * nothing in hand after the place was read, all before it lie there; where it has, a later look finds
 * them: it has nothing to do for most of a byte's time, and who waits for bytes keeps looking. */
static uint32_t find_end(ct_uart *uart) {
  const uint32_t end =
      (ct_edma_next(CT_EDMA_UART2_RECEIVE) - (uint32_t)(uintptr_t)uart->in) % CT_UART_IN;
  if (ct_edma_is_idle()) {
    uart->landed = end;
  }
  return end;
}

size_t ct_uart_read(ct_uart *uart, uint8_t *out, size_t room) {
  size_t count = 0;
  go_on(uart); /* who has no more to send still looks for what comes */
  const uint32_t status = look(uart);
  const uint32_t end = find_end(uart);
  /* a byte that lies there for many looks, while none is moved, is one whose event was lost */
  uart->idle = (status & STATUS_READY) != 0 && end == uart->seen ? uart->idle + 1 : 0;
  uart->seen = end;
  const int is_disturbed = uart->errors != 0 || uart->idle == STUCK_LOOKS;
  if (is_disturbed) {
    recover(uart);
  }
  while (count < room && uart->taken != uart->landed) {
    out[count++] = uart->in[uart->taken];
    uart->taken = (uart->taken + 1) % CT_UART_IN;
  }
  if (is_disturbed && count < room && uart->taken == end) {
    out[count++] = 0; /* a slower host reads as breaks alone: L6 must hear of them */
  }
  return count;
}

size_t ct_uart_write(ct_uart *uart, const uint8_t *bytes, size_t size) {
  size_t count = 0;
  go_on(uart);
  while (count < size && uart->put - uart->left < CT_UART_OUT) {
    uart->out[uart->put++ % CT_UART_OUT] = bytes[count++];
  }
  go_on(uart);
  return count;
}

int ct_uart_is_sent(ct_uart *uart) {
  go_on(uart);
  return uart->left == uart->put && (look(uart) & STATUS_IDLE) != 0;
}
