/* An interpreter of TMS320C674x machine code: test equipment.
 *
 * It executes decoded instructions cycle by cycle as the chip's pipeline does, under ideal
 * memory, and stops with a sentence at anything the chip would not do as written. What it models:
 * execute packets, delay slots, predication, cross paths and their stalls, the SPLOOP buffer,
 * bounded memory, windows of modelled registers. What it does not, and refuses: interrupts,
 * circular addressing, floating point, compact instructions, SPLOOPW and reloaded loops.
 * Sources: TI SPRUFE8 ("the manual"), chapters 2 (data paths), 3.8 (resource constraints),
 * 4 (instructions), 5 (pipeline), 7 (software pipelined loop buffer; this one as others quote it, see
 * test_loop_buffer.py).
 */
#ifndef C674X_CORE_H
#define C674X_CORE_H

#include <stdbool.h>
#include <stdint.h>

enum { REGISTERS = 64 };   /* A0..A31 are 0..31, B0..B31 are 32..63 */
enum { UNITS = 8 };        /* L1 L2 S1 S2 D1 D2 M1 M2 are 0..7; an odd number is side B */
enum { NO_UNIT = -1, UNIT_D1 = 4, UNIT_M1 = 6 };
enum { REGIONS = 16, BRANCHES = 8 };
enum { DUE = 8 };          /* results in flight land at most 4 cycles ahead */
enum { LOOP_CYCLES = 48, LOOP_INTERVAL = 14 };

enum kind { NOTHING, REGISTER, PAIR, CONSTANT, CONTROL };
enum control { AMR, ILC, RILC, TSCL, TSCH, CSR, IER };

struct operand {
    int32_t kind;          /* enum kind */
    int32_t value;         /* the register, a pair's lower register, the constant, enum control */
};

/* *+-R, *++R and so on; the bits of the manual's mode field (table 3-11). */
enum { MODE_PLUS = 1, MODE_MODIFY = 8, MODE_POST = 2 };

struct instruction {
    uint32_t address;
    int32_t operation;         /* place in operations.h */
    int32_t unit;
    int32_t path;              /* side of the data path of a load or store: 1, 2; else 0 */
    int32_t predicate;         /* register, or -1 */
    int32_t if_zero;           /* the predicate asks for zero */
    int32_t parallel;          /* issues with the instruction before */
    struct operand operand[4]; /* in the assembler's order, without the memory operand */
    int32_t base, mode;        /* memory operand: base register; MODE_ bits */
    int32_t offset, scale;     /* bytes (scale 0), or a register that counts `scale` bytes */
};

/* A window onto modelled registers. */
typedef uint32_t (*window_load)(uint32_t address, uint32_t size);
typedef void (*window_store)(uint32_t address, uint32_t size, uint32_t value);

struct region {
    uint32_t base, size;
    bool writable;
    uint8_t *bytes;            /* NULL: a window */
    window_load load;
    window_store store;
};

struct result {                /* on its way to a register */
    uint32_t value;
    uint8_t destination, unit, delay;
    bool pair, load;
};

struct loop {
    bool active, loading, delayed, ended, fetching;
    int interval;              /* ii, cycles between two iterations */
    int length;                /* cycles of one iteration loaded so far */
    int iterations;            /* started so far */
    int resume;                /* cycles from the loop's end to the next fetch (SPKERNEL) */
    int loaded;                /* cycles of the stages that loaded the body */
    uint64_t start, end;       /* cycle of the first packet; of the boundary where it ended */
    const struct instruction *body[LOOP_CYCLES][UNITS];
    int count[LOOP_CYCLES];
};

struct machine {
    uint32_t reg[REGISTERS];
    uint32_t ilc, rilc;
    uint32_t csr, ier;
    uint64_t ilc_written;      /* cycle of the last MVC to ILC, plus one */
    uint64_t cycle, stalls;    /* counted under ideal memory; a stall is not among the cycles */
    uint64_t packets, instructions;
    uint32_t packet;           /* address of the execute packet fetched last */
    uint64_t *profile;         /* cycles by the word in which their packet begins, or NULL */
    uint64_t updated[REGISTERS]; /* cycle in which a result other than a load's landed, plus one */
    struct result due[DUE][2 * UNITS];
    int due_count[DUE];
    struct { uint64_t cycle; uint32_t target; } branch[BRANCHES];
    int branches;
    int idle;                  /* cycles left of a multi-cycle NOP */
    uint32_t pc;
    struct loop loop;
    struct region region[REGIONS];
    int regions;
    const struct instruction *code;
    int code_count;
    const int32_t *code_at;    /* by (address - code_base) / 4: place in code, or -1 */
    uint32_t code_base, code_words;
    char error[256];
    uint32_t error_address;
};

/* Names of the operations in order, separated by spaces. */
const char *operation_names(void);

/* Run from `pc` until a branch lands on `stop`, then let results in flight land.
 * Returns 0, or -1 with `error` and `error_address` set; also at `limit` cycles. */
int machine_run(struct machine *m, uint32_t pc, uint32_t stop, uint64_t limit);

int machine_size(void);        /* to check the caller's view of the structs */

#endif
