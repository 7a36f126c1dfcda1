/* The host as a board: standard input and output are its serial line, a file its flash. */
#define _POSIX_C_SOURCE 200112L

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../port.h"

static struct {
  uint8_t *bytes;
  size_t size;
} container;

int ct_port_read(uint8_t *out_bytes, size_t size) {
  return fread(out_bytes, 1, size, stdin) == size ? 0 : -1;
}

int ct_port_write(const uint8_t *bytes, size_t size) {
  return fwrite(bytes, 1, size, stdout) == size && fflush(stdout) == 0 ? 0 : -1;
}

uint32_t ct_port_microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint32_t)((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

const uint8_t *ct_port_model(size_t *out_size) {
  *out_size = container.size;
  return container.bytes;
}

static void *allocate(size_t size) {
  void *block;
  return posix_memalign(&block, CT_ALIGN, size > 0 ? size : 1) == 0 ? block : NULL;
}

ct_memory ct_port_memory(size_t arena_bytes, size_t scratch_bytes) {
  ct_memory memory = {allocate(arena_bytes), allocate(scratch_bytes)};
  if (memory.arena == NULL || memory.scratch == NULL) {
    free(memory.arena);
    free(memory.scratch);
    memory.arena = NULL;
  }
  return memory;
}

static int read_container(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    return -1;
  }
  long size = -1;
  if (fseek(file, 0, SEEK_END) == 0) {
    size = ftell(file);
  }
  if (size >= 0 && fseek(file, 0, SEEK_SET) == 0) {
    container.size = (size_t)size;
    container.bytes = allocate(container.size);
  }
  const int whole = container.bytes != NULL &&
                    fread(container.bytes, 1, container.size, file) == container.size;
  fclose(file);
  return whole ? 0 : -1;
}

int main(int argc, char **argv) {
  if (argc != 2 || read_container(argv[1]) != 0) {
    fprintf(stderr, "usage: %s model.ctm\n", argv[0]);
    return 1;
  }
  ct_main();
  return 0;
}
