/* board.ld for TI's linker; what is where and why is said there. Written after its manual (SPRUI03);
 * never linked by us. */
--entry_point=_start

MEMORY
{
    ROM:   origin = 0x11800000, length = 0x00004000
    L2:    origin = 0x11804000, length = 0x0003C000
    SLOTS: origin = 0xC0000000, length = 0x04000000
    MEMORY: origin = 0xC4000000, length = 0x04000000
}

SECTIONS
{
    .stack { . += 0x4000; ct_stack_end = .; } > ROM
    .start > L2, ALIGN(32)
    .text  > L2, ALIGN(32)
    .const > L2, ALIGN(64)
    .switch > L2
    GROUP { .neardata .fardata .rodata } > L2
    GROUP
    {
        .bss    { ct_zero_start = .; *(.bss) }
        .far    { *(.far); ct_zero_end = .; }
        .fast   { ct_fast_start = .; }
    } > L2, ALIGN(64)
}

ct_fast_end    = 0x11840000;
ct_slots_start = 0xC0000000;
ct_memory_start = 0xC4000000;
ct_memory_end  = 0xC8000000;
