/* QEMU's vexpress-a9: one Cortex-A9, 512 MiB from 0x60000000, two banks of NOR flash, a slot in each
 * (Arm's Versatile Express Cortex-A9 CoreTile and Motherboard Express reference manuals). The UART is
 * emptied into a ring by its interrupt, so that a slice arrives while one is computed; QEMU keeps back
 * what the FIFO has no room for. */
#include "../port.h"

/* PL011 UART 0 (Arm DDI 0183), SP804 timer 0 (Arm DDI 0271), which counts down at 1 MHz, the
 * motherboard's configuration registers (Arm DUI 0447), the interrupt controller (Arm IHI 0048). */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UART_DATA REGISTER(0x10009000)
#define UART_FLAGS REGISTER(0x10009018)
#define UART_LINE REGISTER(0x1000902C)
#define UART_CONTROL REGISTER(0x10009030)
#define UART_MASK REGISTER(0x10009038)
#define TIMER_LOAD REGISTER(0x10011000)
#define TIMER_VALUE REGISTER(0x10011004)
#define TIMER_CONTROL REGISTER(0x10011008)
#define CONFIG_DATA REGISTER(0x100000A0)
#define CONFIG_CONTROL REGISTER(0x100000A4)
#define GIC_CPU_CONTROL REGISTER(0x1E000100)
#define GIC_CPU_PRIORITY REGISTER(0x1E000104)
#define GIC_CPU_ACKNOWLEDGE REGISTER(0x1E00010C)
#define GIC_CPU_END REGISTER(0x1E000110)
#define GIC_CONTROL REGISTER(0x1E001000)
#define GIC_ENABLE_32_TO_63 REGISTER(0x1E001104)
#define GIC_TARGET_36_TO_39 REGISTER(0x1E001824)

enum {
  UART_BUSY = 1 << 3, UART_RX_EMPTY = 1 << 4, UART_TX_FULL = 1 << 5,
  UART_8N1_FIFO = 3 << 5 | 1 << 4,
  UART_RECEIVED = 1 << 4 | 1 << 6, /* interrupts: FIFO filled, or not and silence */
  UART_INTERRUPT = 37,
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

enum { WINDOW = 16, RING = 1 << 15 /* bytes: WINDOW frames, and as many again */ };

/* The one global: an interrupt gets no argument. It alone counts put, receive alone taken. */
static struct {
  volatile uint32_t put, taken;
  uint8_t bytes[RING];
} ring;

/* Of board.ld. */
extern uint8_t ct_spare[], ct_memory_start[], ct_memory_end[], ct_nor_start[];
void ct_start(void);     /* these two are called by start.S */
void ct_interrupt(void);

/* Empty the FIFO. start.S saves no registers of the vector unit, and so none is used here. */
__attribute__((target("general-regs-only"))) void ct_interrupt(void) {
  const uint32_t number = GIC_CPU_ACKNOWLEDGE;
  while (ring.put - ring.taken < RING && !(UART_FLAGS & UART_RX_EMPTY)) {
    ring.bytes[ring.put % RING] = (uint8_t)UART_DATA;
    ++ring.put;
  }
  if (ring.put - ring.taken == RING) {
    UART_MASK = 0; /* until receive has made room */
  }
  GIC_CPU_END = number;
}

static size_t receive(void *user, uint8_t *out, size_t room) {
  size_t count = 0;
  (void)user;
  while (count < room && ring.taken != ring.put) {
    out[count++] = ring.bytes[ring.taken % RING];
    ++ring.taken;
  }
  UART_MASK = UART_RECEIVED;
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

/* Sleep until a byte comes. An interrupt ends it though it is masked, which it is so that none comes
 * between the look and the sleep. */
static void wait(void *user) {
  (void)user;
  __asm__ volatile("cpsid i" ::: "memory");
  if (ring.taken == ring.put && is_sent(user)) {
    __asm__ volatile("wfi" ::: "memory");
  }
  __asm__ volatile("cpsie i" ::: "memory");
}

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
      .name = "qemu-vexpress-a9", .window = WINDOW,
      .store = {BANK - 2 * UNIT, UNIT, ct_spare, {ct_nor_start, ct_nor_start + BANK}, erase, write,
                sync, NULL},
      .memory = ct_memory_start, .memory_bytes = (uint32_t)(ct_memory_end - ct_memory_start),
      .receive = receive, .send = send, .is_sent = is_sent, .set_rate = set_rate,
      .overrun = overrun, .microseconds = microseconds, .wait = wait};
  UART_CONTROL = 0;
  UART_LINE = UART_8N1_FIFO;
  UART_CONTROL = UART_ENABLE;
  UART_MASK = UART_RECEIVED;
  GIC_TARGET_36_TO_39 = 1 << 8 * (UART_INTERRUPT % 4); /* to the first core */
  GIC_ENABLE_32_TO_63 = 1 << (UART_INTERRUPT - 32);
  GIC_CONTROL = 1;
  GIC_CPU_PRIORITY = 0xFF;
  GIC_CPU_CONTROL = 1;
  __asm__ volatile("cpsie i" ::: "memory");
  TIMER_LOAD = 0xFFFFFFFF;
  TIMER_CONTROL = TIMER_RUN_32_BITS;
  ct_main(&port);
  __asm__ volatile("cpsid i" ::: "memory");
  CONFIG_DATA = 0;
  CONFIG_CONTROL = config_reboot;
}
