# Bare-metal Cortex-A9 in QEMU; Debian: gcc-arm-none-eabi, qemu-system-arm.
# Without an MMU memory is strongly ordered, where an unaligned access would fault.
CC = arm-none-eabi-gcc
CFLAGS = -O3 -mcpu=cortex-a9 -mfpu=neon -mfloat-abi=hard -mno-unaligned-access \
         -ffreestanding -fno-tree-loop-distribute-patterns
LDFLAGS = -nostdlib -T port/qemu-vexpress-a9/board.ld
LDLIBS = -lgcc
SOURCES = port/freestanding.c port/qemu-vexpress-a9/port.c port/qemu-vexpress-a9/start.S
