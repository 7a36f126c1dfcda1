/* The kernels of kernels.h for the TMS320C674x, hand-scheduled.
 *
 * Written after TI's "TMS320C674x DSP CPU and Instruction Set Reference Guide" (SPRUFE8): section
 * 3.8 for what may share a cycle, chapter 7, which we know from those who quote it, for the loop
 * buffer. Calls follow the C6000 EABI: arguments in A4 B4 A6 B6 A8 B8 A10 B10, A10..A15 and
 * B10..B15 kept, return address in B3. No interrupt may come: the loops hold results in flight.
 *
 * How to read a loop: "t" counts cycles of one iteration. A new iteration starts every ii cycles
 * while older ones still run, so what t and t + ii do happens in one cycle: an instruction stands
 * on a unit that no other has at the same t modulo ii, and a register holds a loaded word for ii
 * cycles, from t + 5 to t + 4 + ii. Registers only loads write may cross the files without a
 * stall; others must rest one cycle first, in a loop without fail: the buffer does not stall.
 * SPKERNEL a, 0 lets the program go on (a + 1) ii cycles after the last iteration began, while its
 * later instructions still issue.
 */
        .text

/* void ct_matmul(int32_t *acc, const uint8_t *patches, const int8_t *weights, const int32_t *bias,
 *                uint32_t pixels, uint32_t channels, uint32_t depth)
 *                A4 acc, B4 patches, A6 weights, B6 bias, A8 pixels, B8 channels, A10 depth
 *
 * One pass over all patches for each pair of channels, the first on side A, the second on side B.
 * An iteration takes 16 taps of one pixel: of each 16 bytes of a patch the first 8 lie on side A,
 * the last 8 on side B, and each side reads the other's across. 32 products in 4 cycles, the most
 * the chip can do; all eight units are busy in all four. The loop does not stop between pixels:
 * after the last taps of one the accumulators are stored and set to the bias again, and the
 * weights' pointers go back by one row.
 *
 *   side A                                       side B
 *   A4 acc of the pair, A5 stored next           B5 stored next
 *   A6 weights of the pair, A7 read next         B7 read next
 *   A9 patches read next                         B9 patches read next (8 bytes behind)
 *   A17:A16, A19:A18 weights of 16 taps          B17:B16, B19:B18
 *   A21:A20 taps 0..7                            B21:B20 taps 8..15
 *   A24..A27 products, A22, A23 their sums       B24..B27, B22, B23
 *   A28 accumulator, A2 bias                     B28, B2
 *   A29 iterations a pixel, A1 left to load      B29, B0 left to add
 *   A30 depth, A31 2 depth, A3 channels          B30 depth, B8 channels, B31 iterations in all
 *   A0 pairs of channels left
 */
        .macro  pair_setup                      ; five cycles; nothing if no pair is left
        mvc     .S2     B31, ILC
||[A0]  ldw     .D2T1   *B6++, A2               ; bias of both channels
||      mv      .L1     A6, A7
||      mv      .S1X    B4, A9
  [A0]  ldw     .D2T2   *B6++, B2
||      add     .L2X    B30, A6, B7
||      mv      .L1     A4, A5
        add     .S2     8, B4, B9
||      add     .L2X    4, A4, B5
||      mv      .L1     A29, A1
        mv      .L2     B29, B0
        add     .L1     A6, A31, A6
||      add     .S1     8, A4, A4
||      sub     .D1     A0, 1, A0
        .endm

        .global ct_matmul
        .type   ct_matmul, @function
ct_matmul:
        shru    .S1     A10, 4, A29
||      mv      .L1     A10, A30
||      mv      .L2X    A10, B30
||      mv      .S2     B8, B1
        mpy32   .M1     A8, A29, A16
||      add     .L1     A10, A10, A31
||      mv      .S1X    B8, A3
        shru    .S2     B1, 1, B1
||      mv      .L2X    A29, B29
        nop
        mv      .L1X    B1, A0
        mv      .L2X    A16, B31

        pair_setup
next_pair:
        mv      .L1     A2, A28
        mv      .L2     B2, B28

        sploop  4
        lddw    .D1T1   *A7++, A17:A16 ; t 0
||      lddw    .D2T2   *+B7[1], B19:B18
        lddw    .D1T1   *A9++[2], A21:A20 ; t 1
||      lddw    .D2T2   *B9++[2], B21:B20
        lddw    .D1T1   *A7++, A19:A18 ; t 2
||      lddw    .D2T2   *B7++[2], B17:B16
||      sub     .L1     A1, 1, A1
  [!A1] sub     .S1     A7, A30, A7 ; t 3
||[!A1] sub     .S2     B7, B30, B7
  [!A1] mv      .S1     A29, A1 ; t 4
        nop
        dotpsu4 .M1     A16, A20, A24 ; t 6
||      dotpsu4 .M2     B18, B20, B24
        dotpsu4 .M1     A17, A21, A25 ; t 7
||      dotpsu4 .M2     B19, B21, B25
        dotpsu4 .M1X    A18, B20, A26 ; t 8
||      dotpsu4 .M2X    B16, A20, B26
        dotpsu4 .M1X    A19, B21, A27 ; t 9
||      dotpsu4 .M2X    B17, A21, B27
        nop     2
        add     .L1     A24, A25, A22 ; t 12
||      add     .L2     B24, B25, B22
        add     .L1     A28, A22, A28 ; t 13
||      add     .L2     B28, B22, B28
||      add     .S1     A26, A27, A23
||      add     .S2     B26, B27, B23
        add     .S1     A28, A23, A28 ; t 14
||      add     .L2     B28, B23, B28
||      sub     .S2     B0, 1, B0
  [!B0] stw     .D1T1   A28, *A5++[A3] ; t 15
||[!B0] stw     .D2T2   B28, *B5++[B8]
||[!B0] mv      .L1     A2, A28
||[!B0] mv      .L2     B2, B28
        spkernel 3, 0 ; t 16
||[!B0] mv      .S2     B29, B0

  [A0]  b       .S1     next_pair               ; beside the last t 16
        pair_setup
        b       .S2     B3
        nop     5
        .size   ct_matmul, . - ct_matmul

/* void ct_requantize(uint8_t *out, uint32_t out_step, const int32_t *acc, uint32_t acc_step,
 *                    uint32_t pixels, uint32_t channels, const ct_rescale *rescale)
 *                    A4 out, B4 out_step, A6 acc, B6 acc_step, A8 pixels, B8 channels, A10 rescale
 *
 * One pass over all pixels for each pair of channels, the first on side A, the second on side B,
 * 4 cycles a pixel. With a shift n of at least 33 the rounding of Q6 touches only the product's
 * upper word, and the zero point can join it:
 *
 *   z + ((acc m + 2^(n-1)) >> n) = (upper word of acc m + ((2 z + 1) << (n - 33))) >> (n - 32)
 *
 * which stays in 32 bits up to n = 54. The scale of negative accumulators is the smaller one (a
 * leak), so that the larger of both results is the one of the right sign. Both are compared as
 * they are clamped, two channels in a word of 16-bit halves. A pair for which this does not hold
 * sends the whole call to the portable kernel, which starts over.
 *
 *   side A                                       side B
 *   A0 channel, A1 its partner                   B0 whether there is a partner, B1 another pair
 *   A24 as B2                                    B2 = 2 z + 1
 *   A2 low, A3 high, twice each; A5 acc_step/2
 *   A7 acc read next                             B5, B7 out written next
 *   A17:A16 acc of both channels
 *   A19:A18, A21:A20 products by both scales     B19:B18, B21:B20
 *   A22, A23 rounded; A24, A25 shifted           B22, B23; B24, B25
 *   A1, A9 both channels packed; A22, A23 again: the larger, clamped, and its upper half
 *   A26, A27 multipliers                         B26, B27
 *   A28, A29 rounding and zero point             B28, B29
 *   A30, A31 shifts less 32                      B30, B31
 */
        .global ct_requantize
        .type   ct_requantize, @function
ct_requantize:
        ldw     .D1T2   *+A10[4], B2                    ; zero point
||      shru    .S2     B6, 1, B16
        ldw     .D1T1   *+A10[5], A2                    ; low
||      mvk     .S1     0, A0
        ldw     .D1T1   *+A10[6], A3                    ; high
||      mv      .L1X    B16, A5
        nop     2
        add     .L2     B2, B2, B2
        add     .L2     1, B2, B2
||      pack2   .L1     A2, A2, A2
        pack2   .L1     A3, A3, A3

next_channels:
        ldw     .D1T1   *+A10[2], A18                   ; shifts, multipliers
||      add     .L2X    1, A0, B0
        ldw     .D1T1   *+A10[3], A19
||      cmpltu  .L2     B0, B8, B0
        ldw     .D1T1   *+A10[0], A16
||      add     .L2X    2, A0, B1
        ldw     .D1T1   *+A10[1], A17
||      add     .L1X    A0, B0, A1
||      cmpltu  .L2     B1, B8, B1
        mv      .L1X    B2, A24
||      mvk     .S1     21, A20
||      mvk     .S2     21, B20
        ldw     .D1T1   *+A18[A0], A30
        ldw     .D1T1   *+A19[A0], A31
        ldw     .D1T2   *+A18[A1], B30
        ldw     .D1T2   *+A19[A1], B31
        ldw     .D1T1   *+A16[A0], A26
        ldw     .D1T1   *+A17[A0], A27
        ldw     .D1T2   *+A16[A1], B26
||      cmpgt   .L1     A30, A31, A16                   ; unfit: n0 > n1,
||      addk    .S1     -33, A30
        ldw     .D1T2   *+A17[A1], B27
||      addk    .S1     -33, A31
||      cmpgtu  .L1     A30, A20, A17                   ; or a shift outside 33..54,
        cmpgtu  .L1     A31, A20, A18
||      cmpgt   .L2     B30, B31, B16
||      addk    .S2     -33, B30
||      shl     .S1     A24, A30, A28
        or      .D1     A16, A17, A16
||      cmpeq   .L1     A30, A31, A19
||      shl     .S1     A24, A31, A29
||      addk    .S2     -33, B31
||      cmpgtu  .L2     B30, B20, B17
        or      .D1     A16, A18, A16
||      cmpgtu  .L1     A27, A26, A17                   ; or n0 = n1 and m1 > m0
||      addk    .S1     1, A30                          ; from here the shifts less 32
||      cmpgtu  .L2     B31, B20, B18
||      shl     .S2     B2, B30, B28
        and     .L1     A17, A19, A17
||      addk    .S1     1, A31
||      or      .D2     B16, B17, B16
||      cmpeq   .L2     B30, B31, B19
||      shl     .S2     B2, B31, B29
        or      .L1     A16, A17, A16
||      shl     .S1     A0, 2, A7
||      or      .D2     B16, B18, B16
||      cmpgtu  .L2     B27, B26, B17
||      add     .S2     1, B30, B30
        add     .S1     A6, A7, A7
||      add     .D1     A4, A0, A9
||      and     .L2     B17, B19, B17
||      add     .D2     B31, 1, B31
        or      .L2     B16, B17, B16
||      mv      .S2X    A8, B19
        mv      .L2X    A9, B5
||      mvc     .S2     B19, ILC
        or      .L1X    A16, B16, A1
||      add     .L2     1, B5, B7
  [A1]  b       .S1     ct_requantize_portable
        nop     5

        sploop  4
        lddw    .D1T1   *A7++[A5], A17:A16              ; t 0
        nop     4
        mpy32   .M1     A16, A26, A19:A18               ; t 5
||      mpy32   .M2X    B26, A17, B19:B18
        mpy32   .M1     A16, A27, A21:A20               ; t 6
||      mpy32   .M2X    B27, A17, B21:B20
        nop     2
        add     .D1     A19, A28, A22                   ; t 9
||      add     .L2     B19, B28, B22
        add     .D1     A21, A29, A23                   ; t 10
||      add     .L2     B21, B29, B23
||      shr     .S1     A22, A30, A24
||      shr     .S2     B22, B30, B24
        shr     .S1     A23, A31, A25                   ; t 11
||      shr     .S2     B23, B31, B25
        spack2  .S1X    A24, B24, A1                    ; t 12
        spack2  .S1X    A25, B25, A9                    ; t 13
        max2    .L1     A1, A9, A22                     ; t 14
        max2    .L1     A22, A2, A22                    ; t 15
        min2    .L1     A22, A3, A22                    ; t 16
        packh2  .L1     A22, A22, A23                   ; t 17
||[B0]  stb     .D2T1   A22, *B7++[B4]
        spkernel 3, 0                                   ; t 18
||      stb     .D2T1   A23, *B5++[B4]

  [B1]  b       .S1     next_channels                   ; beside the last t 16
||[!B1] b       .S2     B3
||      add     .D1     A0, 2, A0
        nop     5
        .size   ct_requantize, . - ct_requantize

/* void ct_requantize_tanh(uint8_t *out, uint32_t out_step, const int32_t *acc, uint32_t acc_step,
 *                         uint32_t pixels, uint32_t channels, const ct_rescale *rescale,
 *                         const uint16_t *table)
 *                         A4 out, B4 out_step, A6 acc, B6 acc_step, A8 pixels, B8 channels,
 *                         A10 rescale, B10 table
 *
 * One pass over all pixels for each channel, 4 cycles a pixel: v on side A, its sign and the result
 * on side B. As in ct_requantize the upper word of a product is enough from n = 33 on; below, acc and
 * n grow by k = 33 - n first. Where acc 2^k leaves 32 bits it saturates, and so does v of either.
 * The last layer has no slope, so that both pairs of a channel are equal; where they are not, or n is
 * outside 20..54, the portable kernel does the whole call. With s = -1 where v < 0, else 0, and
 * d = T[i] (128 - f) + T[i+1] f, Q12 comes down to
 *
 *   128 +- ((d + 2^14) >> 15) = ((d ^ s) + (128 << 15) + 2^14) >> 15
 *
 * since -((x + 2^14) >> 15) = (-x + 2^14 - 1) >> 15 and d ^ -1 = -d - 1.
 *
 *   side A                                       side B
 *   A0 channel                                   B0 whether another follows
 *   A2 table, A3 0x007F007F, A9 128              B5 (128 << 15) + 2^14
 *   A5 acc_step, A7 acc read next                B7 out written next
 *   A16 acc, A17 times 2^k, A19:A18 product      B21, B23, B24 s
 *   A20 rounded, A21 v, A22 |v|                  B16 T[i+1] and T[i]
 *   A23 a = min(|v|, 32767) twice                B22 d, B25, B26, B27 result
 *   A24 i, A25 address of T[i]
 *   A27 f twice, A29 f and f - 128
 *   A26 multiplier, A28 rounding, A30 shift less 32, A31 k
 */
        .global ct_requantize_tanh
        .type   ct_requantize_tanh, @function
ct_requantize_tanh:
        mvk     .S1     0, A0
||      mvk     .S2     0x4000, B5
||      mv      .L1X    B6, A5
        mvkh    .S2     0x400000, B5
||      mvk     .S1     0x7F, A3
        mvk     .S1     128, A9
        pack2   .L1     A3, A3, A3

next_tanh:
        ldw     .D1T1   *+A10[0], A16                   ; multipliers, shifts
||      add     .L2X    1, A0, B0
        ldw     .D1T1   *+A10[1], A17
||      cmpltu  .L2     B0, B8, B0
        ldw     .D1T1   *+A10[2], A18
||      mv      .L1X    B10, A2
        ldw     .D1T1   *+A10[3], A19
||      mv      .L2X    A8, B19
        mvk     .S1     33, A20
||      mvc     .S2     B19, ILC
        ldw     .D1T1   *+A16[A0], A26
        ldw     .D1T1   *+A17[A0], A27
        ldw     .D1T1   *+A18[A0], A30
        ldw     .D1T1   *+A19[A0], A31
        mvk     .S1     34, A22
        addaw   .D1     A6, A0, A7
||      mvk     .S1     0, A24
        cmpeq   .L1     A26, A27, A16                   ; fit: both pairs equal,
||      mvk     .S1     1, A28
        sub     .L1     A20, A30, A20
||      mv      .D1     A30, A23
        cmpeq   .L1     A30, A31, A17
||      addk    .S1     -20, A23
        max2    .L1     A20, A24, A31                   ; k
||      and     .D1     A16, A17, A16
        cmpgtu  .L1     A23, A22, A17                   ; and n in 20..54
||      add     .S1     A30, A31, A30
        andn    .L1     A16, A17, A16
||      addk    .S1     -33, A30
||      add     .D1     A4, A0, A18
        xor     .L1     1, A16, A1
||      shl     .S1     A28, A30, A28
  [A1]  b       .S1     ct_requantize_tanh_portable
||      add     .D1     A30, 1, A30
||      mv      .L2X    A18, B7
        nop     5

        sploop  4
        ldw     .D1T1   *A7++[A5], A16                  ; t 0
        nop     4
        sshl    .S1     A16, A31, A17                   ; t 5
        nop
        mpy32   .M1     A17, A26, A19:A18               ; t 7
        nop     3
        add     .L1     A19, A28, A20                   ; t 11
        shr     .S1     A20, A30, A21                   ; t 12
        abs     .L1     A21, A22                        ; t 13
        spack2  .S1     A22, A22, A23                   ; t 14
        extu    .S1     A23, 16, 23, A24                ; t 15
        and     .L1     A23, A3, A27                    ; t 16
||      shr     .S2X    A21, 31, B21
        addah   .D1     A2, A24, A25                    ; t 17
        ldnw    .D1T2   *A25, B16                       ; t 18
        sub2    .D1     A27, A9, A29                    ; t 19
        mv      .L2     B21, B23                        ; t 20
        nop     2
        dotpn2  .M2X    B16, A29, B22                   ; t 23
        mv      .D2     B23, B24                        ; t 24
        nop     2
        xor     .L2     B22, B24, B25                   ; t 27
        nop
        add     .L2     B25, B5, B26                    ; t 29
        shr     .S2     B26, 15, B27                    ; t 30
        spkernel 6, 0                                   ; t 31
||      stb     .D2T2   B27, *B7++[B4]

  [B0]  b       .S1     next_tanh                       ; beside the last t 28
||[!B0] b       .S2     B3
        add     .L1     1, A0, A0
        nop     4
        .size   ct_requantize_tanh, . - ct_requantize_tanh

/* void ct_gather(uint8_t *patches, uint32_t depth, const uint8_t *source, uint32_t step,
 *                uint32_t run, uint32_t pixels, uint8_t floor)
 *                A4 patches, B4 depth, A6 source, B6 step, A8 run, B8 pixels, A10 floor
 *
 * A run is cut into blocks of 16 bytes if addresses and steps are multiples of 8 and it has such a
 * length, else of 8, 4 or 1 bytes. An inner loop takes two cycles a block, as many bytes as there
 * are: two aligned accesses share a cycle, one that is not aligned has it alone. It goes over the
 * pixels, or over the blocks of one pixel if those are more; an outer one over the others. What
 * blocks leave of a run becomes a run itself, of one block that ends with the other.
 *
 *   side A                                       side B
 *   A0 outer turns left                          B1 bytes that blocks leave
 *   A1, A2: blocks of 8, of 4                    B0: blocks of 1
 *   A3 blocks in a run, A19 log2 of A21          B30 inner turns
 *   A21 bytes in a block, A9 in a run before the last
 *   A5, A7 inner steps of source, patches        B5 as A5
 *   A26, A27 outer steps, A24, A25 next turn
 *   A28, A29 inner steps in units of 8 bytes     B28, B29
 *   A22 source, A23 patches of this turn         B22, B23, 8 bytes on for blocks of 16
 *   A20 floor four times                         B20
 *   A17:A16 loaded, A19:A18 raised               B17:B16, B19:B18
 */
        .macro  blocks  bytes, load, loaded, raised, store
gather_\bytes:
        mv      .L2X    A22, B22
next_\bytes:
        sploop  2
        \load   .D2T2   *B22, \loaded                   ; t 0
||      add     .S2     B22, B5, B22
        nop     4
        maxu4   .L2     B16, B20, B18                   ; t 5
        maxu4   .L2     B17, B20, B19                   ; t 6
        spkernel 3, 0                                   ; t 7
||      \store  .D1T2   \raised, *A23
||      add     .S1     A23, A7, A23

  [A0]  b       .S1     next_\bytes
||      mvc     .S2     B30, ILC
||      mv      .L2X    A24, B22
        mv      .L1     A25, A23
||      add     .S1     A24, A26, A24
||      sub     .D1     A0, 1, A0
        add     .L1     A25, A27, A25
        nop     3
  [B1]  b       .S1     gather_run
||[!B1] b       .S2     B3
        add     .L1     A4, A9, A4
||      add     .D1     A6, A9, A6
||      mv      .S1     A21, A8
        nop     4
        .endm

        .global ct_gather
        .type   ct_gather, @function
ct_gather:
        shl     .S1     A10, 8, A20
        or      .L1     A20, A10, A20
        pack2   .L1     A20, A20, A20

gather_run:
        or      .L1X    A4, B4, A17
||      or      .L2X    B6, A6, B17
||      mv      .S1X    B4, A31
        cmpgtu  .L1     8, A8, A2
||      cmpgtu  .L2X    4, A8, B0
||      and     .S1     15, A8, A18
||      mv      .D1X    B6, A30
        or      .L1X    A17, B17, A17
||      mv      .L2X    A20, B20
||      mvk     .S1     4, A19
||      mv      .D1     A6, A24
        and     .L1     7, A17, A17
||      mv      .L2     B8, B30
||      mvk     .S1     16, A21
||      mv      .D1     A4, A25
        or      .L1     A17, A18, A1                    ; not 16 at a time
||      mv      .S1     A30, A5
||      mv      .D1     A31, A7
  [A1]  mvk     .S1     3, A19
||[A1]  mvk     .L1     8, A21
  [A2]  mvk     .S1     2, A19
||[A2]  mvk     .L1     4, A21
||[A2]  mvk     .D1     0, A1
  [B0]  mvk     .S1     0, A19
||[B0]  mvk     .L1     1, A21
||[B0]  mvk     .D1     0, A2
        shru    .S1     A8, A19, A3
||      sub     .L1     A8, A21, A9
||      mv      .D1     A21, A26
        cmpgtu  .L1X    A3, B8, A0                      ; more blocks than pixels
||      shl     .S1     A3, A19, A18
||      mv      .D1     A21, A27
  [A0]  mv      .L1     A21, A5
||[A0]  mv      .S1     A21, A7
||[A0]  mv      .D1     A30, A26
||[A0]  mv      .L2X    A3, B30
||[A1]  b       .S2     gather_8
        sub     .L1     A8, A18, A18
||[A0]  mv      .S1     A31, A27
||[A2]  b       .S2     gather_4
  [A0]  mv      .L1X    B8, A0
||[!A0] mv      .D1     A3, A0
||      shru    .S1     A5, 3, A28
||      mv      .L2X    A5, B5
||[B0]  b       .S2     gather_1
        shru    .S1     A7, 3, A29
||      mv      .L1     A24, A22
||      sub     .D1     A0, 1, A0
||      mv      .L2X    A18, B1
||      mvc     .S2     B30, ILC
        mv      .L1     A25, A23
||      mv      .L2X    A28, B28
        add     .L1     A24, A26, A24
||      add     .S1     A25, A27, A25
||      mv      .L2X    A29, B29
        add     .L2X    8, A22, B22                     ; here blocks of 8, 4 and 1 have left
        add     .L2X    8, A23, B23
next_16:
        sploop  2
        lddw    .D1T1   *A22++[A28], A17:A16            ; t 0
        lddw    .D2T2   *B22++[B28], B17:B16            ; t 1
        nop     3
        maxu4   .L1     A16, A20, A18                   ; t 5
        maxu4   .L1     A17, A20, A19                   ; t 6
||      maxu4   .L2     B16, B20, B18
        stdw    .D1T1   A19:A18, *A23++[A29]            ; t 7
||      maxu4   .L2     B17, B20, B19
        spkernel 3, 0                                   ; t 8
||      stdw    .D2T2   B19:B18, *B23++[B29]

  [A0]  b       .S1     next_16                         ; beside the last t 8
||[!A0] b       .S2     B3
        mvc     .S2     B30, ILC
||      mv      .L1     A24, A22
||      mv      .S1     A25, A23
||      sub     .D1     A0, 1, A0
        add     .L2X    8, A24, B22
||      add     .L1     A24, A26, A24
        add     .L2X    8, A25, B23
||      add     .L1     A25, A27, A25
        nop     2

        blocks  8, ldndw, B17:B16, B19:B18, stndw
        blocks  4, ldnw, B16, B18, stnw
        blocks  1, ldbu, B16, B18, stb
        .size   ct_gather, . - ct_gather
