; start.S for TI's assembler; what each step is for is said there. Never assembled by us.
        .global _start
        .ref    ct_start, ct_stack_end, ct_zero_start, ct_zero_end, __TI_STATIC_BASE

MAR192  .set    0x01848300

        .sect   ".start"
_start:
        mvc     .S2     CSR, B0
        and     .L2     -2, B0, B0
        mvc     .S2     B0, CSR
        mvk     .S2     0, B0
        mvc     .S2     B0, IER

        mvkl    .S2     ct_stack_end - 8, B15
||      mvkl    .S1     ct_zero_start, A4
        mvkh    .S2     ct_stack_end - 8, B15
||      mvkh    .S1     ct_zero_start, A4
        mvkl    .S2     __TI_STATIC_BASE, B14
||      mvkl    .S1     ct_zero_end, A5
        mvkh    .S2     __TI_STATIC_BASE, B14
||      mvkh    .S1     ct_zero_end, A5
        mvk     .S2     0, B0
||      mvk     .L1     0, A0
        mvc     .S2     B0, AMR
        mvc     .S2     B0, TSCL

zero:
        cmpltu  .L1     A4, A5, A1
  [A1]  b       .S1     zero
||[A1]  stw     .D1T1   A0, *A4++
        nop     5

        mvkl    .S1     MAR192, A4
        mvkh    .S1     MAR192, A4
        mvk     .S1     7, A1
||      mvk     .S2     1, B4
cacheable:
  [A1]  b       .S1     cacheable
||      stw     .D1T2   B4, *A4++
        sub     .L1     A1, 1, A1
        nop     4

        callp   .S2     ct_start, B3
        b       .S1     _start
        nop     5
