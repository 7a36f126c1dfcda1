# TMS320C6748 with the GNU C6000 compiler, which nobody packages: scripts/build-tic6x of
# napari-ct2mri builds it. cl6x.cmd maps the memory for TI's linker.
CC = tic6x-elf-gcc
CFLAGS = -O2 -march=c674x -ffreestanding -fno-tree-loop-distribute-patterns -ffunction-sections
LDFLAGS = -nostdlib -T port/c6748-lcdk/board.ld -Wl,--gc-sections -Wl,--no-warn-rwx-segments
LDLIBS = -lgcc
KERNELS = kernels_c674x.S port/c6748-lcdk/kernels_rest.c
SOURCES = port/freestanding.c port/c6748-lcdk/port.c port/c6748-lcdk/uart.c \
          port/c6748-lcdk/edma.c port/c6748-lcdk/start.S
