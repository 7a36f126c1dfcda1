/* See core.h. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "operations.h"

#define PURE(name, ...) op_##name,
#define SPECIAL(name) op_##name,
enum operation { OPERATIONS OPERATION_COUNT };
#undef PURE
#undef SPECIAL

#define PURE(name, ...) #name " "
#define SPECIAL(name) #name " "
const char *operation_names(void) { return OPERATIONS; }
#undef PURE
#undef SPECIAL

int machine_size(void) { return (int)sizeof(struct machine); }

/* ---- refusals ---- */

/* Note the first failure; returns false so that callers can pass it on. */
__attribute__((format(printf, 3, 4)))
static bool fail(struct machine *m, uint32_t address, const char *format, ...)
{
    if (!m->error[0]) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(m->error, sizeof m->error, format, arguments);
        va_end(arguments);
        m->error_address = address;
    }
    return false;
}

/* "A4" */
static const char *register_name(int number)
{
    static char text[4][8];
    static int turn;
    char *out = text[turn++ & 3];
    snprintf(out, sizeof text[0], "%c%d", number < 32 ? 'A' : 'B', number & 31);
    return out;
}

/* ---- arithmetic that the table uses ---- */

static int max(int a, int b) { return a > b ? a : b; }
static int min(int a, int b) { return a < b ? a : b; }
static int hi16(uint32_t x) { return (int16_t)(x >> 16); }
static int lo16(uint32_t x) { return (int16_t)x; }
static int byte(uint32_t x, int place) { return (uint8_t)(x >> 8 * place); }
static int signed_byte(uint32_t x, int place) { return (int8_t)(x >> 8 * place); }
static int clamp_byte(int x) { return min(max(x, 0), 255); }
static int shift_amount(uint32_t x) { return min((int)(x & 63), 40); }

static uint32_t halves(int high, int low)
{
    return (uint32_t)high << 16 | ((uint32_t)low & 0xffff);
}

static uint32_t bytes(int b3, int b2, int b1, int b0)
{
    return ((uint32_t)b3 & 255) << 24 | ((uint32_t)b2 & 255) << 16 | ((uint32_t)b1 & 255) << 8 |
           ((uint32_t)b0 & 255);
}

static uint64_t words(int64_t high, int64_t low)
{
    return (uint64_t)high << 32 | (uint32_t)low;
}

/* To `bits` bits, signed. */
static int64_t saturate(int64_t x, int bits)
{
    const int64_t limit = INT64_C(1) << (bits - 1);
    return x >= limit ? limit - 1 : x < -limit ? -limit : x;
}

/* Bits of x left of the leftmost one that equals `wanted`; 32 if there is none. */
static int leftmost_bit(uint32_t wanted, uint32_t x)
{
    int count = 0;
    while (count < 32 && (x >> (31 - count) & 1) != wanted)
        count++;
    return count;
}

static uint64_t sign_extend_40(uint64_t x)
{
    return (x ^ UINT64_C(1) << 39) - (UINT64_C(1) << 39);
}

/* ---- operands ---- */

/* The lower 32 bits as they are, or a whole pair; a constant sign-extended. */
static uint64_t raw(const struct machine *m, const struct operand *o)
{
    switch (o->kind) {
    case REGISTER: return m->reg[o->value];
    case PAIR: return (uint64_t)m->reg[o->value + 1] << 32 | m->reg[o->value];
    default: return (uint64_t)(int64_t)o->value;
    }
}

static int64_t as_signed(const struct machine *m, const struct operand *o)
{
    const uint64_t x = raw(m, o);
    return o->kind == REGISTER ? (int32_t)x
         : o->kind == PAIR ? (int64_t)sign_extend_40(x & 0xffffffffff) : (int64_t)x;
}

static uint64_t as_unsigned(const struct machine *m, const struct operand *o)
{
    const uint64_t x = raw(m, o);
    return o->kind == PAIR ? x & 0xffffffffff : x;
}

/* ---- results on their way ---- */

/* Let `value` land in register `destination` at the end of the cycle `delay` cycles from now. */
static bool write_register(struct machine *m, const struct instruction *i, int destination,
                           uint32_t value, int delay, bool pair)
{
    const int slot = (int)((m->cycle + (uint64_t)delay) % DUE);
    const bool load = delay == 4;
    for (int k = 0; k < m->due_count[slot]; k++) {
        const struct result *other = &m->due[slot][k];
        if (other->destination == destination)
            return fail(m, i->address, "two results land in %s in one cycle",
                        register_name(destination));
        /* The manual, 3.8: .M writes two results in a cycle only if one is of a 4-cycle
         * instruction, the other of a 2-cycle one, and both have 32 bits. */
        if (i->unit >= UNIT_M1 && other->unit == i->unit && other->delay != delay &&
            (pair || other->pair))
            return fail(m, i->address, "a 64-bit and another result leave one .M unit in one cycle");
    }
    m->due[slot][m->due_count[slot]++] =
        (struct result){value, (uint8_t)destination, (uint8_t)i->unit, (uint8_t)delay, pair, load};
    return true;
}

static bool write_operand(struct machine *m, const struct instruction *i, const struct operand *o,
                          uint64_t value, int delay)
{
    if (o->kind == PAIR)
        return write_register(m, i, o->value, (uint32_t)value, delay, true) &&
               write_register(m, i, o->value + 1, (uint32_t)(value >> 32), delay, true);
    if (o->kind != REGISTER)
        return fail(m, i->address, "the destination is no register");
    return write_register(m, i, o->value, (uint32_t)value, delay, false);
}

/* End of a cycle: what is due lands. */
static void land(struct machine *m)
{
    const int slot = (int)(m->cycle % DUE);
    for (int k = 0; k < m->due_count[slot]; k++) {
        const struct result *r = &m->due[slot][k];
        m->reg[r->destination] = r->value;
        m->updated[r->destination] = r->load ? 0 : m->cycle + 1;
    }
    m->due_count[slot] = 0;
}

/* ---- memory ---- */

static const struct region *find_region(const struct machine *m, uint32_t address, uint32_t size)
{
    for (int k = 0; k < m->regions; k++) {
        const struct region *r = &m->region[k];
        if (address >= r->base && size <= r->size && address - r->base <= r->size - size)
            return r;
    }
    return NULL;
}

/* The region an access touches, or NULL after saying what is wrong with it. */
static const struct region *access_region(struct machine *m, const struct instruction *i,
                                          uint32_t address, uint32_t size, bool aligned, bool store)
{
    const char *what = store ? "store" : "load";
    const struct region *r = find_region(m, address, size);
    if (aligned && address % size) {
        fail(m, i->address, "%s of %u bytes at 0x%08x, which is not aligned", what, size, address);
        return NULL;
    }
    if (!r)
        fail(m, i->address, "%s of %u bytes at 0x%08x, outside every region", what, size, address);
    else if (store && !r->writable)
        fail(m, i->address, "store at 0x%08x, which is read-only", address);
    else if (!r->bytes && size == 8)
        fail(m, i->address, "%s of 8 bytes at 0x%08x, in modelled registers", what, address);
    else
        return r;
    return NULL;
}

static uint64_t load(const struct region *r, uint32_t address, uint32_t size)
{
    uint64_t value = 0;
    if (!r->bytes)
        return r->load(address, size);
    memcpy(&value, r->bytes + (address - r->base), size); /* both little-endian; a test checks */
    return value;
}

static void store(const struct region *r, uint32_t address, uint32_t size, uint64_t value)
{
    if (!r->bytes)
        r->store(address, size, (uint32_t)value);
    else
        memcpy(r->bytes + (address - r->base), &value, size);
}

/* The address of a load or store; its base is written back where the mode says so. */
static bool memory_address(struct machine *m, const struct instruction *i, uint32_t *out_address)
{
    const uint32_t base = m->reg[i->base];
    const uint32_t step = i->scale ? m->reg[i->offset] * (uint32_t)i->scale : (uint32_t)i->offset;
    const uint32_t moved = i->mode & MODE_PLUS ? base + step : base - step;
    *out_address = i->mode & MODE_POST ? base : moved;
    return !(i->mode & MODE_MODIFY) || write_register(m, i, i->base, moved, 0, false);
}

static bool execute_load(struct machine *m, const struct instruction *i, uint32_t size,
                         bool is_signed, bool aligned)
{
    uint32_t address;
    const struct region *r;
    if (!memory_address(m, i, &address) ||
        !(r = access_region(m, i, address, size, aligned, false)))
        return false;
    uint64_t value = load(r, address, size);
    if (is_signed && size < 4) {
        const uint32_t sign = UINT32_C(1) << (8 * size - 1);
        value = ((uint32_t)value ^ sign) - sign;
    }
    return write_operand(m, i, &i->operand[0], value, 4);
}

static bool execute_store(struct machine *m, const struct instruction *i, uint32_t size, bool aligned,
                          uint64_t value)
{
    uint32_t address;
    const struct region *r;
    if (!memory_address(m, i, &address) ||
        !(r = access_region(m, i, address, size, aligned, true)))
        return false;
    store(r, address, size, value);
    return true;
}

/* ---- branches ---- */

/* To land after five delay slots. */
static bool take_branch(struct machine *m, const struct instruction *i, uint32_t target)
{
    if (m->loop.active && m->loop.loading)
        return fail(m, i->address, "a branch inside an SPLOOP body");
    if (m->branches && m->branch[m->branches - 1].cycle == m->cycle + 6)
        return fail(m, i->address, "two branches are taken in one cycle");
    if (m->branches == BRANCHES)
        return fail(m, i->address, "more than %d branches in flight", BRANCHES);
    m->branch[m->branches].cycle = m->cycle + 6;
    m->branch[m->branches++].target = target;
    return true;
}

static bool execute_call(struct machine *m, const struct instruction *i, uint32_t after)
{
    return write_operand(m, i, &i->operand[1], after, 0) &&
           take_branch(m, i, (uint32_t)raw(m, &i->operand[0]));
}

/* ---- control registers ---- */

static bool write_control(struct machine *m, const struct instruction *i, int which, uint32_t value)
{
    switch (which) {
    case AMR:
        return value ? fail(m, i->address, "circular addressing (AMR = 0x%x)", value) : true;
    case ILC:
        m->ilc = value;
        m->ilc_written = m->cycle + 1;
        return m->loop.active && m->cycle >= m->loop.start
                   ? fail(m, i->address, "ILC is written inside a loop")
                   : true;
    case RILC:
        m->rilc = value;
        return true;
    case TSCL: /* any value starts the counter, which runs here from the beginning */
        return true;
    case CSR:
        m->csr = value;
        return value & 1 ? fail(m, i->address, "interrupts (CSR = 0x%x)", value) : true;
    case IER:
        m->ier = value;
        return value ? fail(m, i->address, "interrupts (IER = 0x%x)", value) : true;
    default:
        return fail(m, i->address, "this control register cannot be written");
    }
}

static bool read_control(struct machine *m, const struct instruction *i, int which, uint32_t *value)
{
    const uint64_t now = m->cycle + m->stalls;
    switch (which) {
    case AMR: *value = 0; return true;
    case RILC: *value = m->rilc; return true;
    case CSR: *value = m->csr; return true;
    case IER: *value = m->ier; return true;
    case TSCL: *value = (uint32_t)now; return true;
    case TSCH: *value = (uint32_t)(now >> 32); return true;
    default: return fail(m, i->address, "this control register cannot be read");
    }
}

static bool execute_mvc(struct machine *m, const struct instruction *i)
{
    uint32_t value = 0;
    if (i->operand[1].kind == CONTROL)
        return write_control(m, i, i->operand[1].value, (uint32_t)raw(m, &i->operand[0]));
    return read_control(m, i, i->operand[0].value, &value) &&
           write_operand(m, i, &i->operand[1], value, 0);
}

/* ---- the loop buffer ---- */

/* SPLOOP or SPLOOPD issues: the next cycle's packet is the body's first. */
static bool start_loop(struct machine *m, const struct instruction *i, bool delayed)
{
    struct loop *loop = &m->loop;
    const int interval = i->operand[0].value;
    if (i->predicate >= 0)
        return fail(m, i->address, "a predicated SPLOOP: reloading is not modelled");
    if (loop->active)
        return fail(m, i->address, "SPLOOP while another loop is in the buffer");
    if (interval < 1 || interval > LOOP_INTERVAL)
        return fail(m, i->address, "an SPLOOP interval of %d cycles, not 1..14", interval);
    if (!delayed && (m->cycle + 1 < m->ilc_written + 4 || !m->ilc))
        return fail(m, i->address, m->ilc ? "SPLOOP less than 4 cycles after ILC was written"
                                          : "SPLOOP with ILC = 0");
    *loop = (struct loop){.active = true, .loading = true, .fetching = true, .delayed = delayed,
                          .interval = interval, .start = m->cycle + 1};
    return true;
}

/* At a stage boundary, `now` cycles into the loop: does another iteration begin?
 * ILC counts them; SPLOOPD does not look at it in its first four cycles (the manual, 7.5). */
static void stage_boundary(struct machine *m, int now)
{
    struct loop *loop = &m->loop;
    if (loop->delayed && now < 4) {
        loop->iterations++;
    } else if (m->ilc) {
        m->ilc--;
        loop->iterations++;
    } else {
        loop->ended = true;
        loop->end = m->cycle;
    }
}

/* Keep what the program's packet issues, but for the units masked, as the body's next cycle. */
static bool load_body(struct machine *m, const struct instruction *const *packet, int count, int masked)
{
    struct loop *loop = &m->loop;
    if (loop->length == LOOP_CYCLES)
        return fail(m, m->pc, "an SPLOOP body of more than 48 cycles");
    const struct instruction **body = loop->body[loop->length];
    int kept = 0;
    for (int k = 0; k < count; k++)
        if (packet[k]->unit != NO_UNIT && !(masked >> packet[k]->unit & 1))
            body[kept++] = packet[k];
    loop->count[loop->length++] = kept;
    return true;
}

/* SPKERNEL fstg, fcyc: this packet was the body's last; fetch goes on fstg ii + fcyc cycles into the
 * epilogue (the manual, 7.9.4), but not before the stage that loads it is over (7.9.5). */
static bool end_body(struct machine *m, const struct instruction *i)
{
    struct loop *loop = &m->loop;
    if (!loop->active || !loop->loading)
        return fail(m, i->address, "SPKERNEL without SPLOOP");
    if (loop->length <= loop->interval)
        return fail(m, i->address, "an SPLOOP body of %d cycles at an interval of %d",
                    loop->length, loop->interval);
    loop->loading = loop->fetching = false;
    loop->resume = i->operand[0].kind == CONSTANT
                       ? i->operand[0].value * loop->interval + i->operand[1].value : 0;
    loop->loaded = (loop->length + loop->interval - 1) / loop->interval * loop->interval;
    return true;
}

/* Add what the buffer issues in this cycle, but for the units masked. */
static int replay(const struct machine *m, int now, int masked, const struct instruction **batch)
{
    const struct loop *loop = &m->loop;
    const int late = now - loop->length; /* iterations begun at `late` or before have ended */
    int count = 0;
    for (int k = late < 0 ? 1 : max(1, late / loop->interval + 1); k < loop->iterations; k++) {
        const int place = now - k * loop->interval;
        if (place < 0 || place >= loop->length)
            continue;
        for (int n = 0; n < loop->count[place]; n++)
            if (!(masked >> loop->body[place][n]->unit & 1)) {
                if (count == UNITS)
                    return UNITS + 1;
                batch[count++] = loop->body[place][n];
            }
    }
    return count;
}

/* Does the program fetch again in the cycle that begins, and has the last iteration ended? */
static void advance_loop(struct machine *m)
{
    struct loop *loop = &m->loop;
    if (!loop->active || loop->loading || !loop->ended)
        return;
    const uint64_t length = (uint64_t)((loop->iterations - 1) * loop->interval + loop->length);
    loop->active = m->cycle < loop->start + length;
    loop->fetching = loop->fetching || !loop->active ||
                     (m->cycle >= loop->end + (uint64_t)loop->resume &&
                      m->cycle >= loop->start + (uint64_t)loop->loaded);
}

/* ---- one cycle ---- */

static bool is_store(int operation) { return operation >= op_stb && operation <= op_stndw; }

static bool is_unaligned(int operation)
{
    return operation == op_ldnw || operation == op_ldndw || operation == op_stnw || operation == op_stndw;
}

/* How many of the operands, from the first, are read. */
static int source_count(int operation)
{
    switch (operation) {
#define PURE(name, delay, sources, ...) case op_##name: return sources;
#define SPECIAL(name)
        OPERATIONS
#undef PURE
#undef SPECIAL
    case op_clr: case op_set: case op_ext: case op_extu: case op_b: case op_bnop: case op_mvc: return 1;
    case op_stb: case op_sth: case op_stw: case op_stdw: case op_stnw: case op_stndw: return 1;
    default: return 0;
    }
}

static int side(int number) { return number / 32; }

/* Units, data paths, cross paths and register reads of what issues in one cycle (the manual, 3.8). */
static bool check_resources(struct machine *m, const struct instruction *const *batch, int count,
                            bool *out_stall)
{
    int units = 0, paths = 0, accesses = 0, unaligned = 0;
    int crossing[2] = {-1, -1};
    uint8_t reads[REGISTERS] = {0};
    *out_stall = false;
    for (int k = 0; k < count; k++) {
        const struct instruction *i = batch[k];
        if (i->unit == NO_UNIT)
            continue;
        if (units >> i->unit & 1)
            return fail(m, i->address, "two instructions on one unit in one cycle");
        units |= 1 << i->unit;
        if (i->path) {
            if (paths >> i->path & 1)
                return fail(m, i->address, "two accesses on data path T%d in one cycle", i->path);
            paths |= 1 << i->path;
            accesses++;
            unaligned += is_unaligned(i->operation);
            reads[i->base]++;
            if (i->scale)
                reads[i->offset]++;
        }
        const int sources = source_count(i->operation);
        for (int n = 0; n < sources; n++) {
            const struct operand *o = &i->operand[n];
            if (o->kind != REGISTER && o->kind != PAIR)
                continue;
            reads[o->value]++;
            if (i->path || side(o->value) == (i->unit & 1))
                continue;
            int *crosses = &crossing[i->unit & 1];
            if (*crosses >= 0 && *crosses != o->value)
                return fail(m, i->address, "%s and %s cross to one side in one cycle",
                            register_name(*crosses), register_name(o->value));
            *crosses = o->value;
            *out_stall |= m->updated[o->value] == m->cycle && m->cycle;
        }
    }
    if (unaligned && accesses > 1)
        return fail(m, batch[0]->address, "an access without alignment beside another access");
    for (int r = 0; r < REGISTERS; r++)
        if (reads[r] > 4)
            return fail(m, batch[0]->address, "%s is read %d times in one cycle, not at most 4",
                        register_name(r), reads[r]);
    return true;
}

static bool execute_pure(struct machine *m, const struct instruction *i, int delay, int sources,
                         bool pairs, int bits, uint64_t value)
{
    for (int n = 0; n < sources; n++)
        if (i->operand[n].kind == CONTROL || i->operand[n].kind == NOTHING ||
            (i->operand[n].kind == PAIR && !pairs))
            return fail(m, i->address, "an operand of a form that is not known here");
    if (i->operand[sources].kind == PAIR && bits == 32)
        return fail(m, i->address, "a destination of a form that is not known here");
    return write_operand(m, i, &i->operand[sources],
                         bits == 40 ? value & 0xffffffffff : value, delay);
}

/* CLR, SET, EXT, EXTU: two bit positions, as constants or as bits 9..5 and 4..0 of a register. */
static bool execute_bit_field(struct machine *m, const struct instruction *i)
{
    const struct operand *o = i->operand;
    const bool constants = o[3].kind != NOTHING;
    const uint32_t x = (uint32_t)raw(m, &o[0]), fields = (uint32_t)raw(m, &o[1]);
    const uint32_t first = constants ? fields & 31 : fields >> 5 & 31;
    const uint32_t second = constants ? (uint32_t)raw(m, &o[2]) & 31 : fields & 31;
    const uint32_t mask = first > second ? 0 : (UINT32_MAX << first) & (UINT32_MAX >> (31 - second));
    const uint32_t value = i->operation == op_clr ? x & ~mask
                         : i->operation == op_set ? x | mask
                         : i->operation == op_ext ? (uint32_t)((int32_t)(x << first) >> second)
                                                  : x << first >> second;
    return write_operand(m, i, &o[constants ? 3 : 2], value, 0);
}

/* Execute one instruction whose predicate holds; `after`: address of the next execute packet. */
static bool execute(struct machine *m, const struct instruction *i, uint32_t after)
{
    const struct operand *o = i->operand;
    const uint32_t a = (uint32_t)raw(m, &o[0]), b = (uint32_t)raw(m, &o[1]);
    const int32_t sa = (int32_t)a, sb = (int32_t)b;
    const int64_t la = as_signed(m, &o[0]), lb = as_signed(m, &o[1]);
    const uint64_t ua = as_unsigned(m, &o[0]), ub = as_unsigned(m, &o[1]);
    switch ((enum operation)i->operation) {
#define PURE(name, delay, sources, pairs, bits, value) \
    case op_##name: return execute_pure(m, i, delay, sources, pairs, bits, (uint64_t)(value));
#define SPECIAL(name)
    OPERATIONS
#undef PURE
#undef SPECIAL
    case op_addk: return write_operand(m, i, &o[1], b + a, 0);
    case op_mvkh: return write_operand(m, i, &o[1], (a & 0xffff0000) | (b & 0xffff), 0);
    case op_mvklh: return write_operand(m, i, &o[1], a << 16 | (b & 0xffff), 0);
    case op_clr: case op_set: case op_ext: case op_extu: return execute_bit_field(m, i);
    case op_b: case op_bnop: return take_branch(m, i, a);
    case op_bdec: return sb < 0 || (write_operand(m, i, &o[1], b - 1, 0) && take_branch(m, i, a));
    case op_bpos: return sb < 0 || take_branch(m, i, a);
    case op_callp: return execute_call(m, i, after);
    case op_addkpc: return write_operand(m, i, &o[1], a, 0);
    case op_mvc: return execute_mvc(m, i);
    case op_ldb: return execute_load(m, i, 1, true, true);
    case op_ldbu: return execute_load(m, i, 1, false, true);
    case op_ldh: return execute_load(m, i, 2, true, true);
    case op_ldhu: return execute_load(m, i, 2, false, true);
    case op_ldw: return execute_load(m, i, 4, false, true);
    case op_lddw: return execute_load(m, i, 8, false, true);
    case op_ldnw: return execute_load(m, i, 4, false, false);
    case op_ldndw: return execute_load(m, i, 8, false, false);
    case op_stb: return execute_store(m, i, 1, true, raw(m, &o[0]));
    case op_sth: return execute_store(m, i, 2, true, raw(m, &o[0]));
    case op_stw: return execute_store(m, i, 4, true, raw(m, &o[0]));
    case op_stdw: return execute_store(m, i, 8, true, raw(m, &o[0]));
    case op_stnw: return execute_store(m, i, 4, false, raw(m, &o[0]));
    case op_stndw: return execute_store(m, i, 8, false, raw(m, &o[0]));
    case op_sploop: return start_loop(m, i, false);
    case op_sploopd: return start_loop(m, i, true);
    case op_spkernel: return end_body(m, i);
    case op_nop: case op_spmask: return true;
    case OPERATION_COUNT: break;
    }
    return fail(m, i->address, "an operation without meaning here");
}

/* Issue a batch: all read the registers as they are; loads read memory before stores write it. */
static bool issue(struct machine *m, const struct instruction *const *batch, int count, uint32_t after)
{
    bool stall;
    if (!check_resources(m, batch, count, &stall))
        return false;
    if (stall && m->loop.active) /* the manual, 7.15.2: it does not wait, it raises an exception */
        return fail(m, batch[0]->address, "a cross-path stall while a loop is in the buffer");
    m->stalls += stall;
    for (int stores = 0; stores < 2; stores++)
        for (int k = 0; k < count; k++) {
            const struct instruction *i = batch[k];
            if (is_store(i->operation) != (stores == 1))
                continue;
            if (i->predicate >= 0 && (m->reg[i->predicate] == 0) != (i->if_zero != 0))
                continue;
            if (!execute(m, i, after))
                return false;
            m->instructions++;
        }
    return true;
}

/* Cycles that an instruction keeps the program waiting after its own. */
static int idle_cycles(const struct instruction *i)
{
    switch (i->operation) {
    case op_nop: return i->operand[0].kind == CONSTANT ? i->operand[0].value - 1 : 0;
    case op_bnop: return i->operand[1].kind == CONSTANT ? i->operand[1].value : 0;
    case op_addkpc: return i->operand[2].kind == CONSTANT ? i->operand[2].value : 0;
    case op_callp: return 5;
    default: return 0;
    }
}

/* The execute packet at pc: its instructions into `batch`, their number or -1; pc moves on. */
static int fetch(struct machine *m, const struct instruction **batch)
{
    const uint32_t word = (m->pc - m->code_base) / 4;
    int count = 0;
    int place = m->pc < m->code_base || m->pc % 4 || word >= m->code_words ? -1 : m->code_at[word];
    if (place < 0 || m->code[place].parallel) {
        fail(m, m->pc, "the program counter is not at an execute packet");
        return -1;
    }
    do {
        if (count == UNITS) {
            fail(m, m->pc, "an execute packet of more than 8 instructions");
            return -1;
        }
        if (m->code[place].operation < 0) {
            fail(m, m->code[place].address, "an instruction that is not known here");
            return -1;
        }
        batch[count++] = &m->code[place++];
    } while (place < m->code_count && m->code[place].parallel);
    m->packet = m->pc;
    m->pc = batch[count - 1]->address + 4;
    m->packets++;
    return count;
}

/* Branches that land now. */
static bool land_branch(struct machine *m)
{
    if (!m->branches || m->branch[0].cycle != m->cycle)
        return true;
    if (m->loop.active)
        return fail(m, m->pc, "a branch lands while a loop is in the buffer");
    m->pc = m->branch[0].target;
    m->idle = 0;
    memmove(m->branch, m->branch + 1, (size_t)--m->branches * sizeof m->branch[0]);
    return true;
}

static bool run_cycle(struct machine *m)
{
    const struct instruction *batch[2 * UNITS] = {0};
    struct loop *loop = &m->loop;
    int now = 0, count = 0, masked = 0;
    if (loop->active) {
        now = (int)(m->cycle - loop->start);
        if (now % loop->interval == 0 && !loop->ended)
            stage_boundary(m, now);
        advance_loop(m);
    }
    const bool replaying = loop->active;
    const bool loading = loop->active && loop->loading;
    if (!loop->active || loop->fetching) {
        if (m->idle) {
            m->idle--;
        } else {
            if ((count = fetch(m, batch)) < 0)
                return false;
            for (int k = 0; k < count; k++) {
                m->idle = max(m->idle, idle_cycles(batch[k]));
                if (batch[k]->operation == op_spmask && batch[k]->operand[0].kind == CONSTANT)
                    masked |= batch[k]->operand[0].value;
            }
        }
    }
    if (loading && !load_body(m, batch, count, masked))
        return false;
    if (replaying) {
        const int replayed = replay(m, now, masked, batch + count);
        if (replayed > UNITS)
            return fail(m, m->pc, "the loop buffer issues more than 8 instructions in one cycle");
        count += replayed;
    }
    const uint64_t before = m->cycle + m->stalls;
    if (!issue(m, batch, count, m->pc))
        return false;
    land(m);
    m->cycle++;
    if (m->profile)
        m->profile[(m->packet - m->code_base) / 4] += m->cycle + m->stalls - before;
    advance_loop(m);
    return true;
}

int machine_run(struct machine *m, uint32_t pc, uint32_t stop, uint64_t limit)
{
    m->pc = pc;
    while (land_branch(m)) {
        if (m->pc == stop && !m->idle && !m->loop.active) {
            const uint64_t cycles = m->cycle;
            for (int k = 0; k < DUE; k++, m->cycle++)
                land(m);
            m->cycle = cycles;
            return m->branches ? (fail(m, m->pc, "a branch is in flight at the end"), -1) : 0;
        }
        if (m->cycle >= limit) {
            fail(m, m->pc, "still running after %llu cycles", (unsigned long long)limit);
            break;
        }
        if (!run_cycle(m))
            break;
    }
    return -1;
}
