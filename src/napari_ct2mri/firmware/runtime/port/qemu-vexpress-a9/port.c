/* QEMU's vexpress-a9: one Cortex-A9, 512 MiB from 0x60000000, two banks of NOR flash, a slot in each
 * (Arm's Versatile Express Cortex-A9 CoreTile and Motherboard Express reference manuals). The UART is
 * polled: QEMU keeps back what its FIFO has no room for, so that nothing is lost meanwhile. */
#include "../port.h"

/* PL011 UART 0 (Arm DDI 0183), SP804 timer 0 (Arm DDI 0271), which counts down at 1 MHz, and the
 * motherboard's configuration registers (Arm DUI 0447). */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UART_DATA REGISTER(0x10009000)
#define UART_FLAGS REGISTER(0x10009018)
#define UART_LINE REGISTER(0x1000902C)
#define UART_CONTROL REGISTER(0x10009030)
#define TIMER_LOAD REGISTER(0x10011000)
#define TIMER_VALUE REGISTER(0x10011004)
#define TIMER_CONTROL REGISTER(0x10011008)
#define CONFIG_DATA REGISTER(0x100000A0)
#define CONFIG_CONTROL REGISTER(0x100000A4)

enum {
  UART_BUSY = 1 << 3, UART_RX_EMPTY = 1 << 4, UART_TX_FULL = 1 << 5,
  UART_8N1_FIFO = 3 << 5 | 1 << 4,
  UART_ENABLE = 1 << 0 | 1 << 8 | 1 << 9, /* UART, transmitter, receiver */
  TIMER_RUN_32_BITS = 1 << 7 | 1 << 1     /* free running, no interrupt */
};

static const uint32_t config_reboot = 0xC0900000; /* start, write, function 9 */

/* NOR: two 16-bit chips side by side, so that every command is given twice in a word (Intel's
 * command set, CFI 1; JEDEC JESD68.01). */
enum { UNIT = 256 << 10, BANK = 64 << 20, NOR_BUFFER = 2048 /* bytes written at once, both chips */ };

static const uint32_t nor_erase = 0x00200020, nor_confirm = 0x00D000D0, nor_write = 0x00E800E8,
                      nor_read = 0x00FF00FF, nor_clear = 0x00500050, nor_ready = 0x00800080,
                      nor_failed = 0x003A003A; /* erase, program, voltage, lock */

/* Of board.ld. */
extern uint8_t ct_spare[], ct_memory_start[], ct_memory_end[], ct_nor_start[];
void ct_start(void); /* called by start.S */

static size_t receive(void *user, uint8_t *out, size_t room) {
  size_t count = 0;
  (void)user;
  while (count < room && !(UART_FLAGS & UART_RX_EMPTY)) {
    out[count++] = (uint8_t)UART_DATA;
  }
  return count;
}

static size_t send(void *user, const uint8_t *bytes, size_t size) {
  size_t count = 0;
  (void)user;
  while (count < size && !(UART_FLAGS & UART_TX_FULL)) {
    UART_DATA = bytes[count++];
  }
  return count;
}

static int is_sent(void *user) {
  (void)user;
  return !(UART_FLAGS & UART_BUSY);
}

static void set_rate(void *user, uint32_t rate) {
  (void)user;
  (void)rate; /* a socket has none */
}

static uint32_t overrun(void *user) {
  (void)user;
  return 0;
}

static uint32_t microseconds(void *user) {
  (void)user;
  return 0xFFFFFFFF - TIMER_VALUE;
}

static void wait(void *user) { (void)user; }

/* ---- flash ---- */

static volatile uint32_t *nor_word(uint32_t slot, uint32_t offset) {
  return (volatile uint32_t *)(void *)(ct_nor_start + (size_t)slot * BANK + offset);
}

/* Wait until both chips are done, and show their bytes again. */
static int finish(volatile uint32_t *place) {
  uint32_t status;
  do {
    status = *place;
  } while ((status & nor_ready) != nor_ready);
  *place = nor_clear;
  *place = nor_read;
  return status & nor_failed ? -1 : 0;
}

static int erase(void *user, uint32_t slot, uint32_t offset) {
  volatile uint32_t *place = nor_word(slot, offset);
  (void)user;
  *place = nor_erase;
  *place = nor_confirm;
  return finish(place);
}

static uint32_t word_of(const uint8_t *bytes, uint32_t left) {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    word |= (uint32_t)(i < left ? bytes[i] : 0xFF) << 8 * i;
  }
  return word;
}

/* Up to NOR_BUFFER bytes, which lie in one multiple of it. */
static int write_buffer(uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t size) {
  volatile uint32_t *place = nor_word(slot, offset);
  const uint32_t words = (size + 3) / 4;
  *place = nor_write;
  while ((*place & nor_ready) != nor_ready) {
  }
  *place = (words - 1) << 16 | (words - 1);
  for (uint32_t i = 0; i < words; ++i) {
    place[i] = word_of(bytes + 4 * i, size - 4 * i);
  }
  *place = nor_confirm;
  return finish(place);
}

static int write(void *user, uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t size) {
  (void)user;
  while (size > 0) {
    const uint32_t room = NOR_BUFFER - offset % NOR_BUFFER;
    const uint32_t count = size < room ? size : room;
    if (write_buffer(slot, offset, bytes, count) != 0) {
      return -1;
    }
    offset += count;
    bytes += count;
    size -= count;
  }
  return 0;
}

static int sync(void *user) {
  (void)user;
  return 0; /* finish has waited */
}

void ct_start(void) {
  const ct_port port = {
      .name = "qemu-vexpress-a9", .window = 16,
      .store = {BANK - 2 * UNIT, UNIT, ct_spare, {ct_nor_start, ct_nor_start + BANK}, erase, write,
                sync, NULL},
      .memory = ct_memory_start, .memory_bytes = (uint32_t)(ct_memory_end - ct_memory_start),
      .receive = receive, .send = send, .is_sent = is_sent, .set_rate = set_rate,
      .overrun = overrun, .microseconds = microseconds, .wait = wait};
  UART_CONTROL = 0;
  UART_LINE = UART_8N1_FIFO;
  UART_CONTROL = UART_ENABLE;
  TIMER_LOAD = 0xFFFFFFFF;
  TIMER_CONTROL = TIMER_RUN_32_BITS;
  ct_main(&port);
  CONFIG_DATA = 0;
  CONFIG_CONTROL = config_reboot;
}
