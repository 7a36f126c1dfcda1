/* What a freestanding compiler may call without being asked (C99 leaves it free to): copies and
 * fills of its own. Compile with -fno-tree-loop-distribute-patterns, or they call themselves. */
#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memset(void *target, int value, size_t size);

void *memcpy(void *restrict target, const void *restrict source, size_t size) {
  unsigned char *to = target;
  const unsigned char *from = source;
  for (size_t i = 0; i < size; ++i) {
    to[i] = from[i];
  }
  return target;
}

void *memset(void *target, int value, size_t size) {
  unsigned char *to = target;
  for (size_t i = 0; i < size; ++i) {
    to[i] = (unsigned char)value;
  }
  return target;
}
