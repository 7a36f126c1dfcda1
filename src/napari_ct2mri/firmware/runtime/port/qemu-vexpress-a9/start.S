/* From reset to C: a stack, the vector unit, zeroed data, vectors. One core runs, the others sleep. */
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
    ldr r0, =vectors
    mcr p15, 0, r0, c12, c0, 0   /* VBAR */
    isb
    bl ct_start
sleep:
    wfi
    b sleep

/* In the mode and on the stack of the interrupted (Arm DDI 0406, B1.8). */
interrupt:
    sub lr, lr, #4
    srsdb sp!, #0x13             /* where to go back to, onto the supervisor's stack */
    cps #0x13
    push {r0-r3, r12, lr}
    and r1, sp, #4               /* 8 bytes aligned, as a call expects */
    sub sp, sp, r1
    push {r1, r2}
    bl ct_interrupt
    pop {r1, r2}
    add sp, sp, r1
    pop {r0-r3, r12, lr}
    rfeia sp!

    .balign 32
vectors:
    b _start
    b sleep                      /* undefined instruction */
    b sleep                      /* supervisor call */
    b sleep                      /* prefetch abort */
    b sleep                      /* data abort */
    b sleep
    b interrupt
    b sleep
