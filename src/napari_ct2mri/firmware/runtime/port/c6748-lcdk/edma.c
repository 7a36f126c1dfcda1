/* See edma.h. */
#include "edma.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* TI SPRUH79: the power and sleep controller that feeds EDMA3, one register a module. */
#define PSC_COMMAND REGISTER(0x01C10120)
#define PSC_STATUS REGISTER(0x01C10128)
#define PSC_MODULE_STATUS(module) REGISTER(0x01C10800 + 4 * (module))
#define PSC_MODULE_CONTROL(module) REGISTER(0x01C10A00 + 4 * (module))

/* TI SPRUH79: EDMA3 channel controller 0; but for the first, a bit a channel. */
#define QUEUES REGISTER(0x01C0024C) /* of channels 24..31, four bits each */
#define MISSED_CLEAR REGISTER(0x01C00308)
#define EVENT_CLEAR REGISTER(0x01C01008)
#define EVENT_SET REGISTER(0x01C01010)
#define ENABLE_CLEAR REGISTER(0x01C01028)
#define ENABLE_SET REGISTER(0x01C01030)
#define SECONDARY_CLEAR REGISTER(0x01C01040)
#define PENDING REGISTER(0x01C01068)
#define PENDING_CLEAR REGISTER(0x01C01070)

/* TI SPRUH79: the transfer controller that queue 0 feeds, TCSTAT. */
#define TRANSFERS REGISTER(0x01C08100)

/* What a channel does next: as many transfers of count_a bytes as count_b says. */
typedef struct {
  volatile uint32_t options;
  volatile uint32_t source;
  volatile uint32_t counts;      /* a in the low half, b in the high */
  volatile uint32_t target;
  volatile uint32_t steps;       /* of source in the low half, of target in the high */
  volatile uint32_t link_reload; /* low half: the set that is loaded after the last */
  volatile uint32_t steps_c;
  volatile uint32_t count_c;
} ct_parameters;

typedef char ct_parameters_size[sizeof(ct_parameters) == 32 ? 1 : -1];

#define PARAMETERS ((ct_parameters *)0x01C04000)

enum {
  CONTROLLER = 0, TRANSFERRER = 1, /* modules of the PSC */
  MODULE_ENABLED = 3,
  RELOAD = 64,         /* a set that belongs to no channel */
  NO_LINK = 0xFFFF,
  TRANSFERS_BUSY = 0x77, /* one asked for, reading, waiting for a write's end, some to write */
  TELL_END = 1 << 20   /* options: set the bit of the code in PENDING after the last transfer */
};

static uint32_t bit(ct_edma_channel channel) { return (uint32_t)1 << channel; }

static uint32_t link_to(uint32_t set) { return 0x4000 + 32 * set; }

static void enable_module(uint32_t module) {
  PSC_MODULE_CONTROL(module) = (PSC_MODULE_CONTROL(module) & ~(uint32_t)0x1F) | MODULE_ENABLED;
}

void ct_edma_enable(void) {
  while (PSC_STATUS & 1) {
  }
  enable_module(CONTROLLER);
  enable_module(TRANSFERRER);
  PSC_COMMAND = 1; /* the domain that both are in */
  while (PSC_STATUS & 1) {
  }
  while ((PSC_MODULE_STATUS(CONTROLLER) & 0x3F) != MODULE_ENABLED ||
         (PSC_MODULE_STATUS(TRANSFERRER) & 0x3F) != MODULE_ENABLED) {
  }
  QUEUES = 0;
}

void ct_edma_stop(ct_edma_channel channel) {
  ENABLE_CLEAR = bit(channel);
  EVENT_CLEAR = bit(channel);
  SECONDARY_CLEAR = bit(channel);
  MISSED_CLEAR = bit(channel);
  PENDING_CLEAR = bit(channel);
}

void ct_edma_resume(ct_edma_channel channel) { ENABLE_SET = bit(channel); }

static void set(uint32_t number, uint32_t options, uint32_t source, uint32_t target,
                uint32_t count, uint32_t steps, uint32_t link) {
  ct_parameters *to = &PARAMETERS[number];
  to->options = options;
  to->source = source;
  to->counts = count << 16 | 1;
  to->target = target;
  to->steps = steps;
  to->link_reload = link;
  to->steps_c = 0;
  to->count_c = 1;
}

void ct_edma_fill_ring(ct_edma_channel channel, const volatile uint32_t *source, uint8_t *ring,
                       uint32_t size) {
  const uint32_t sets[2] = {RELOAD, channel};
  ct_edma_stop(channel);
  for (unsigned i = 0; i < 2; ++i) {
    set(sets[i], 0, (uint32_t)(uintptr_t)source, (uint32_t)(uintptr_t)ring, size,
        (uint32_t)1 << 16, link_to(RELOAD));
  }
  ct_edma_resume(channel);
}

uint32_t ct_edma_next(ct_edma_channel channel) { return PARAMETERS[channel].target; }

int ct_edma_is_idle(void) { return (TRANSFERS & TRANSFERS_BUSY) == 0; }

void ct_edma_send(ct_edma_channel channel, const uint8_t *bytes, uint32_t size,
                  volatile uint32_t *target) {
  ct_edma_stop(channel);
  set(channel, TELL_END | (uint32_t)channel << 12, (uint32_t)(uintptr_t)bytes,
      (uint32_t)(uintptr_t)target, size, 1, NO_LINK);
  ct_edma_resume(channel);
  EVENT_SET = bit(channel);
}

int ct_edma_is_done(ct_edma_channel channel) { return (PENDING & bit(channel)) != 0; }
