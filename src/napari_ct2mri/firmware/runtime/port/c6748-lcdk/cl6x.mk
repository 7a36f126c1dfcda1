# TI's C6000 code generation tools, from the project's folder:
#     make -f port/c6748-lcdk/cl6x.mk [CL6X=/where/it/is/bin/cl6x]
# Written after TI SPRUI04 and SPRUI03; NEVER COMPILED by us. The portable kernels, since
# kernels_c674x.S is in GNU syntax. port.c reads the cycle counter by GNU inline assembly; a cl6x
# that refuses it has TSCL and TSCH in <c6x.h>.
CL6X ?= cl6x
PORT = port/c6748-lcdk
BUILD = build/c6748-lcdk-cl6x
SOURCES = kernels.c layers.c container.c sha256.c codec.c frame.c store.c session.c push.c run.c main.c \
          $(PORT)/port.c $(PORT)/uart.c $(PORT)/edma.c $(PORT)/cl6x.asm

$(BUILD)/firmware.out: $(SOURCES) $(wildcard *.h port/*.h $(PORT)/*.h) $(PORT)/cl6x.cmd
	mkdir -p $(BUILD)
	$(CL6X) -mv6740 --abi=eabi --c99 -O2 --obj_directory=$(BUILD) $(SOURCES) \
	    --run_linker --library=libc.a $(PORT)/cl6x.cmd --output_file=$@
