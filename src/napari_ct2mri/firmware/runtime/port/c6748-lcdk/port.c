/* TI's LCDK with a C6748: one C674x at 456 MHz, 256 KiB of L2, 128 MiB of DDR2, the serial line on the
 * USB socket. Both slots lie in DDR2: a broken push keeps the old model, a loss of power none.
 * No interrupts: EDMA3 serves the line. */
#include "../port.h"
#include "uart.h"

enum {
  CPU_MHZ = 456,
  WINDOW = 12,      /* frames, which CT_UART_IN holds, and requests beside them */
  SLOT = 32 << 20   /* bytes, journal and record included */
};

static const uint32_t rates[] = {115200, 921600, 2000000, 3000000}; /* the boot ROM loads at the first */

/* Of board.ld. */
extern uint8_t ct_slots_start[], ct_memory_start[], ct_memory_end[];
extern uint8_t ct_fast_start[], ct_fast_end[];
void ct_start(void); /* called by start.S */

static size_t receive(void *user, uint8_t *out, size_t room) {
  return ct_uart_read(user, out, room);
}

static size_t send(void *user, const uint8_t *bytes, size_t size) {
  return ct_uart_write(user, bytes, size);
}

static int is_sent(void *user) { return ct_uart_is_sent(user); }

static void set_rate(void *user, uint32_t rate) { ct_uart_start(user, ct_uart_divisor(rate)); }

static uint32_t overrun(void *user) { return ((const ct_uart *)user)->overruns; }

/* The C674x counts its cycles in TSCH:TSCL (TI SPRUFE8, section 2.9.14), since start.S wrote to it.
 * Reading the low word holds the high one until it is read. In 32 bits, since a division of 64 brings
 * half of libgcc along: 2^32 = 9418787 * 456 + 424. */
static uint32_t microseconds(void *user) {
  uint32_t low, high;
  (void)user;
  __asm__ volatile("mvc .s2 TSCL, %0" : "=b"(low));
  __asm__ volatile("mvc .s2 TSCH, %0" : "=b"(high));
  return high * 9418787 + low / CPU_MHZ + (high * 424 + low % CPU_MHZ) / CPU_MHZ;
}

static void wait(void *user) { (void)user; }

static int write(void *user, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t size) {
  uint8_t *to = ct_slots_start + (size_t)slot * SLOT + offset;
  (void)user;
  for (uint32_t i = 0; i < size; ++i) {
    to[i] = bytes[i];
  }
  return 0;
}

static int erase(void *user, uint32_t slot, uint32_t offset) {
  uint8_t *to = ct_slots_start + (size_t)slot * SLOT + offset;
  (void)user;
  for (uint32_t i = 0; i < CT_BLOCK; ++i) {
    to[i] = 0xFF;
  }
  return 0;
}

static int sync(void *user) {
  (void)user;
  return 0;
}

/* Returns when the board is to start again; start.S then does so. */
void ct_start(void) {
  static ct_uart uart;
  const ct_port port = {
      .name = "c6748-lcdk", .rates = rates, .rate_count = sizeof rates / sizeof *rates,
      .window = WINDOW,
      .store = {SLOT - 2 * CT_BLOCK, CT_BLOCK, NULL, {ct_slots_start, ct_slots_start + SLOT}, erase,
                write, sync, NULL},
      .memory = ct_memory_start, .memory_bytes = (uint32_t)(ct_memory_end - ct_memory_start),
      .fast = ct_fast_start, .fast_bytes = (uint32_t)(ct_fast_end - ct_fast_start), .user = &uart,
      .receive = receive, .send = send, .is_sent = is_sent, .set_rate = set_rate,
      .overrun = overrun, .microseconds = microseconds, .wait = wait};
  ct_uart_start(&uart, ct_uart_divisor(rates[0]));
  ct_main(&port);
}
