/* What each instruction computes: the table of the interpreter (test equipment), after
 * "TMS320C674x DSP CPU and Instruction Set Reference Guide" (TI, SPRUFE8), chapter 4.
 *
 * PURE(name, delay slots, sources, pairs, result bits, value): operations on register values alone.
 *   The first `sources` operands, in the order the assembler writes them, are read when the
 *   instruction issues; the operand after them is written `delay slots` cycles later.
 *   pairs         1 if a register pair may stand among the sources (a 40-bit number), else 0
 *   result bits   what a pair receives if the destination is one: 40 bits, zero above (SPRUFE8
 *                 section 2.2), or 64; a register receives the lower 32. 32: no pair.
 *   value         from these views of the sources:
 *     a, b        uint32_t, the lower 32 bits
 *     sa, sb      int32_t, the same bits
 *     la, lb      int64_t: a register sign-extended, a pair's 40 bits sign-extended, a constant
 *     ua, ub      uint64_t: a register zero-extended, a pair's 40 bits zero-extended, a constant
 *
 * SPECIAL(name): operations that touch more than registers; core.c spells them out.
 */
#define OPERATIONS                                                                              \
    /* .L .S .D: whole words */                                                                 \
    PURE(abs, 0, 1, 0, 32, sa == INT32_MIN ? INT32_MAX : sa < 0 ? -sa : sa)                     \
    PURE(add, 0, 2, 1, 40, la + lb)                                                             \
    PURE(addu, 0, 2, 1, 40, ua + ub)                                                            \
    PURE(sub, 0, 2, 1, 40, la - lb)                                                             \
    PURE(subu, 0, 2, 1, 40, ua - ub)                                                            \
    PURE(neg, 0, 1, 1, 40, -la)                                                                 \
    PURE(mv, 0, 1, 1, 40, la)                                                                   \
    PURE(mvk, 0, 1, 0, 32, a)                                                                   \
    PURE(zero, 0, 0, 0, 32, 0)                                                                  \
    PURE(and, 0, 2, 0, 32, a & b)                                                               \
    PURE(andn, 0, 2, 0, 32, a & ~b)                                                             \
    PURE(or, 0, 2, 0, 32, a | b)                                                                \
    PURE(xor, 0, 2, 0, 32, a ^ b)                                                               \
    PURE(not, 0, 1, 0, 32, ~a)                                                                  \
    PURE(cmpeq, 0, 2, 1, 32, la == lb)                                                          \
    PURE(cmpgt, 0, 2, 1, 32, la > lb)                                                           \
    PURE(cmplt, 0, 2, 1, 32, la < lb)                                                           \
    PURE(cmpgtu, 0, 2, 1, 32, ua > ub)                                                          \
    PURE(cmpltu, 0, 2, 1, 32, ua < ub)                                                          \
    PURE(lmbd, 0, 2, 0, 32, leftmost_bit(a & 1, b))                                             \
    PURE(norm, 0, 1, 0, 32, leftmost_bit(1, a ^ (uint32_t)(sa >> 31)) - 1)                      \
    PURE(sadd, 0, 2, 0, 32, saturate(la + lb, 32))                                              \
    PURE(ssub, 0, 2, 0, 32, saturate(la - lb, 32))                                              \
    PURE(sshl, 0, 2, 0, 32, saturate(la << (b & 31), 32))                                       \
    PURE(sat, 0, 1, 1, 32, saturate(la, 32))                                                    \
    PURE(subc, 0, 2, 0, 32, a >= b ? ((a - b) << 1) + 1 : a << 1)                               \
    PURE(shl, 0, 2, 1, 40, ua << shift_amount(b))                                               \
    PURE(shr, 0, 2, 1, 40, la >> shift_amount(b))                                               \
    PURE(shru, 0, 2, 1, 40, ua >> shift_amount(b))                                              \
    PURE(addab, 0, 2, 0, 32, a + b)                                                             \
    PURE(addah, 0, 2, 0, 32, a + (b << 1))                                                      \
    PURE(addaw, 0, 2, 0, 32, a + (b << 2))                                                      \
    PURE(addad, 0, 2, 0, 32, a + (b << 3))                                                      \
    PURE(subab, 0, 2, 0, 32, a - b)                                                             \
    PURE(subah, 0, 2, 0, 32, a - (b << 1))                                                      \
    PURE(subaw, 0, 2, 0, 32, a - (b << 2))                                                      \
    /* .L .S .D: packed halfwords and bytes */                                                  \
    PURE(add2, 0, 2, 0, 32, halves((int)hi16(a) + hi16(b), (int)lo16(a) + lo16(b)))             \
    PURE(sub2, 0, 2, 0, 32, halves((int)hi16(a) - hi16(b), (int)lo16(a) - lo16(b)))             \
    PURE(add4, 0, 2, 0, 32, bytes(byte(a, 3) + byte(b, 3), byte(a, 2) + byte(b, 2),             \
                                  byte(a, 1) + byte(b, 1), byte(a, 0) + byte(b, 0)))            \
    PURE(sub4, 0, 2, 0, 32, bytes(byte(a, 3) - byte(b, 3), byte(a, 2) - byte(b, 2),             \
                                  byte(a, 1) - byte(b, 1), byte(a, 0) - byte(b, 0)))            \
    PURE(max2, 0, 2, 0, 32, halves(max(hi16(a), hi16(b)), max(lo16(a), lo16(b))))               \
    PURE(min2, 0, 2, 0, 32, halves(min(hi16(a), hi16(b)), min(lo16(a), lo16(b))))               \
    PURE(maxu4, 0, 2, 0, 32, bytes(max(byte(a, 3), byte(b, 3)), max(byte(a, 2), byte(b, 2)),    \
                                   max(byte(a, 1), byte(b, 1)), max(byte(a, 0), byte(b, 0))))   \
    PURE(minu4, 0, 2, 0, 32, bytes(min(byte(a, 3), byte(b, 3)), min(byte(a, 2), byte(b, 2)),    \
                                   min(byte(a, 1), byte(b, 1)), min(byte(a, 0), byte(b, 0))))   \
    PURE(cmpeq2, 0, 2, 0, 32, (hi16(a) == hi16(b)) << 1 | (lo16(a) == lo16(b)))                 \
    PURE(cmpgt2, 0, 2, 0, 32, (hi16(a) > hi16(b)) << 1 | (lo16(a) > lo16(b)))                   \
    PURE(cmpeq4, 0, 2, 0, 32, (byte(a, 3) == byte(b, 3)) << 3 | (byte(a, 2) == byte(b, 2)) << 2 \
                                  | (byte(a, 1) == byte(b, 1)) << 1 | (byte(a, 0) == byte(b, 0)))  \
    PURE(cmpgtu4, 0, 2, 0, 32, (byte(a, 3) > byte(b, 3)) << 3 | (byte(a, 2) > byte(b, 2)) << 2  \
                                   | (byte(a, 1) > byte(b, 1)) << 1 | (byte(a, 0) > byte(b, 0)))   \
    PURE(shr2, 0, 2, 0, 32, halves(hi16(a) >> min((int)(b & 31), 15),                           \
                                   lo16(a) >> min((int)(b & 31), 15)))                          \
    PURE(shru2, 0, 2, 0, 32, halves((int)((a >> 16) >> (b & 31)), (int)((a & 0xffff) >> (b & 31)))) \
    PURE(pack2, 0, 2, 0, 32, halves(lo16(a), lo16(b)))                                          \
    PURE(packh2, 0, 2, 0, 32, halves(hi16(a), hi16(b)))                                         \
    PURE(packhl2, 0, 2, 0, 32, halves(hi16(a), lo16(b)))                                        \
    PURE(packlh2, 0, 2, 0, 32, halves(lo16(a), hi16(b)))                                        \
    PURE(swap2, 0, 1, 0, 32, halves(lo16(a), hi16(a)))                                          \
    PURE(packl4, 0, 2, 0, 32, bytes(byte(a, 2), byte(a, 0), byte(b, 2), byte(b, 0)))            \
    PURE(packh4, 0, 2, 0, 32, bytes(byte(a, 3), byte(a, 1), byte(b, 3), byte(b, 1)))            \
    PURE(spack2, 0, 2, 0, 32, halves((int)saturate(sa, 16), (int)saturate(sb, 16)))             \
    PURE(spacku4, 0, 2, 0, 32, bytes(clamp_byte(hi16(a)), clamp_byte(lo16(a)),                  \
                                     clamp_byte(hi16(b)), clamp_byte(lo16(b))))                 \
    PURE(unpkhu4, 0, 1, 0, 32, halves(byte(a, 3), byte(a, 2)))                                  \
    PURE(unpklu4, 0, 1, 0, 32, halves(byte(a, 1), byte(a, 0)))                                  \
    PURE(swap4, 0, 1, 0, 32, bytes(byte(a, 2), byte(a, 3), byte(a, 0), byte(a, 1)))             \
    PURE(shlmb, 0, 2, 0, 32, b << 8 | a >> 24)                                                  \
    PURE(shrmb, 0, 2, 0, 32, b >> 8 | a << 24)                                                  \
    PURE(dmv, 0, 2, 0, 64, (uint64_t)a << 32 | b)                                               \
    PURE(dpack2, 0, 2, 0, 64, (uint64_t)halves(hi16(a), hi16(b)) << 32 | halves(lo16(a), lo16(b)))  \
    /* .M: one word */                                                                          \
    PURE(mpy, 1, 2, 0, 32, lo16(a) * lo16(b))                                                   \
    PURE(mpyu, 1, 2, 0, 32, (a & 0xffff) * (b & 0xffff))                                        \
    PURE(mpysu, 1, 2, 0, 32, lo16(a) * (int)(b & 0xffff))                                       \
    PURE(mpyus, 1, 2, 0, 32, (int)(a & 0xffff) * lo16(b))                                       \
    PURE(mpyh, 1, 2, 0, 32, hi16(a) * hi16(b))                                                  \
    PURE(mpyhu, 1, 2, 0, 32, (a >> 16) * (b >> 16))                                             \
    PURE(mpyhl, 1, 2, 0, 32, hi16(a) * lo16(b))                                                 \
    PURE(mpyhlu, 1, 2, 0, 32, (a >> 16) * (b & 0xffff))                                         \
    PURE(mpylh, 1, 2, 0, 32, lo16(a) * hi16(b))                                                 \
    PURE(mpylhu, 1, 2, 0, 32, (a & 0xffff) * (b >> 16))                                         \
    PURE(rotl, 1, 2, 0, 32, a << (b & 31) | (uint32_t)((uint64_t)a >> (32 - (b & 31))))         \
    PURE(avgu4, 1, 2, 0, 32, bytes((byte(a, 3) + byte(b, 3) + 1) >> 1, (byte(a, 2) + byte(b, 2) + 1) >> 1, \
                                   (byte(a, 1) + byte(b, 1) + 1) >> 1, (byte(a, 0) + byte(b, 0) + 1) >> 1)) \
    PURE(xpnd2, 1, 1, 0, 32, halves(-(int)(a >> 1 & 1), -(int)(a & 1)))                         \
    PURE(xpnd4, 1, 1, 0, 32, bytes(-(int)(a >> 3 & 1), -(int)(a >> 2 & 1), -(int)(a >> 1 & 1), -(int)(a & 1))) \
    PURE(mvd, 3, 1, 0, 32, a)                                                                   \
    PURE(dotp2, 3, 2, 0, 64, (int64_t)hi16(a) * hi16(b) + (int64_t)lo16(a) * lo16(b))           \
    PURE(dotpn2, 3, 2, 0, 32, (int64_t)hi16(a) * hi16(b) - (int64_t)lo16(a) * lo16(b))          \
    PURE(dotpu4, 3, 2, 0, 32, byte(a, 3) * byte(b, 3) + byte(a, 2) * byte(b, 2)                 \
                                  + byte(a, 1) * byte(b, 1) + byte(a, 0) * byte(b, 0))          \
    PURE(dotpsu4, 3, 2, 0, 32, signed_byte(a, 3) * byte(b, 3) + signed_byte(a, 2) * byte(b, 2)  \
                                   + signed_byte(a, 1) * byte(b, 1) + signed_byte(a, 0) * byte(b, 0)) \
    /* .M: a pair, or a word of a 64-bit product */                                             \
    PURE(mpy2, 3, 2, 0, 64, words(hi16(a) * hi16(b), lo16(a) * lo16(b)))                        \
    PURE(mpyu4, 3, 2, 0, 64, words((uint32_t)byte(a, 3) * (uint32_t)byte(b, 3) << 16 | (uint32_t)(byte(a, 2) * byte(b, 2)), \
                                   (uint32_t)byte(a, 1) * (uint32_t)byte(b, 1) << 16 | (uint32_t)(byte(a, 0) * byte(b, 0)))) \
    PURE(mpysu4, 3, 2, 0, 64, words(halves(signed_byte(a, 3) * byte(b, 3), signed_byte(a, 2) * byte(b, 2)), \
                                    halves(signed_byte(a, 1) * byte(b, 1), signed_byte(a, 0) * byte(b, 0)))) \
    PURE(mpyhi, 3, 2, 0, 64, (int64_t)hi16(a) * sb)                                             \
    PURE(mpyli, 3, 2, 0, 64, (int64_t)lo16(a) * sb)                                             \
    PURE(mpyhir, 3, 2, 0, 32, ((int64_t)hi16(a) * sb + 0x4000) >> 15)                           \
    PURE(mpylir, 3, 2, 0, 32, ((int64_t)lo16(a) * sb + 0x4000) >> 15)                           \
    PURE(mpy32, 3, 2, 0, 64, (int64_t)sa * sb)                                                \
    PURE(mpy32u, 3, 2, 0, 64, (uint64_t)a * b)                                                  \
    PURE(mpy32su, 3, 2, 0, 64, (int64_t)sa * (int64_t)b)                                        \
    PURE(mpy32us, 3, 2, 0, 64, (int64_t)a * (int64_t)sb)                                        \
    /* the destination, or the program, or memory is read as well */                            \
    SPECIAL(addk) SPECIAL(mvkh) SPECIAL(mvklh)                                                  \
    SPECIAL(clr) SPECIAL(set) SPECIAL(ext) SPECIAL(extu)                                        \
    SPECIAL(nop) SPECIAL(b) SPECIAL(bnop) SPECIAL(bdec) SPECIAL(bpos) SPECIAL(callp) SPECIAL(addkpc) \
    SPECIAL(mvc)                                                                                \
    SPECIAL(ldb) SPECIAL(ldbu) SPECIAL(ldh) SPECIAL(ldhu) SPECIAL(ldw) SPECIAL(lddw) SPECIAL(ldnw) SPECIAL(ldndw) \
    SPECIAL(stb) SPECIAL(sth) SPECIAL(stw) SPECIAL(stdw) SPECIAL(stnw) SPECIAL(stndw)           \
    SPECIAL(sploop) SPECIAL(sploopd) SPECIAL(spkernel) SPECIAL(spmask)
