/* From the boot ROM's jump to C: a stack, zeroed data, the cycle counter, DDR2 behind the caches. When
 * C returns it starts again, which is this board's RESET: the slots in DDR2 stay.
 *
 * The boot ROM has loaded every section to its place, and has set clocks, DDR2 and the UART's pins
 * as the AIS image told it. Interrupts go off first thing, since the kernels bear none, and whoever
 * loaded the program, a debugger for one, may have left them on; the caches of level 1 are on. MAR192..199 make 16 MiB each of DDR2 cacheable (TI SPRUFK5). The stack pointer and the data
 * page pointer are the ABI's B15 and B14 (TI SPRAB89).
 */
        .equ    MAR192, 0x01848300

        .section .start, "ax"
        .global _start
_start:
        mvc     .S2     CSR, B0
        and     .L2     -2, B0, B0                      ; GIE
        mvc     .S2     B0, CSR
        mvk     .S2     0, B0
        mvc     .S2     B0, IER

        mvkl    .S2     ct_stack_end - 8, B15
||      mvkl    .S1     ct_zero_start, A4
        mvkh    .S2     ct_stack_end - 8, B15
||      mvkh    .S1     ct_zero_start, A4
        mvkl    .S2     __c6xabi_DSBT_BASE, B14
||      mvkl    .S1     ct_zero_end, A5
        mvkh    .S2     __c6xabi_DSBT_BASE, B14
||      mvkh    .S1     ct_zero_end, A5
        mvk     .S2     0, B0
||      mvk     .L1     0, A0
        mvc     .S2     B0, AMR                         ; linear addressing
        mvc     .S2     B0, TSCL                        ; any write starts the counter

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
