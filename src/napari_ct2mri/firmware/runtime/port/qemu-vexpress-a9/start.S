/* From reset to C: a stack, the vector unit, zeroed data. One core runs, the others sleep. */
    .syntax unified
    .cpu cortex-a9
    .fpu neon
    .section .start, "ax"
    .global _start
_start:
    mrc p15, 0, r0, c0, c0, 5    /* MPIDR: number of this core */
    ands r0, r0, #3
    bne sleep
    ldr sp, =ct_stack_end
    mrc p15, 0, r0, c1, c0, 2    /* CPACR: coprocessors 10 and 11, the vector unit */
    orr r0, r0, #0xF00000
    mcr p15, 0, r0, c1, c0, 2
    isb
    mov r0, #0x40000000          /* FPEXC.EN */
    vmsr fpexc, r0
    ldr r0, =ct_zero_start
    ldr r1, =ct_zero_end
    mov r2, #0
zero:
    cmp r0, r1
    strlo r2, [r0], #4
    blo zero
    bl ct_start
sleep:
    wfi
    b sleep
