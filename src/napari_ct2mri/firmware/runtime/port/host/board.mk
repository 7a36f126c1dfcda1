# The machine that compiles: gcc or clang, any POSIX system. make -B CC=clang works too.
CFLAGS = -O3 -march=native
LDLIBS = -pthread
SOURCES = port/host/port.c
