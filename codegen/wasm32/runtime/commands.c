/* The command list: launches and copies of the current call, run by the executor in one go. */
#include "tvmw.h"

#include <stdlib.h>

__attribute__((import_module("webgpu"), import_name("flush"))) void webgpu_flush(const uint32_t *words, uint32_t count);

enum { OPCODE_COPY = 2 };

static uint32_t *list;
static uint32_t used, capacity;

__attribute__((noinline)) uint32_t *commands_append(uint32_t opcode, uint32_t words) {
  if (used + words + 1 > capacity) {
    uint32_t wanted = capacity ? capacity * 2 : 1024;
    while (wanted < used + words + 1) wanted *= 2;
    uint32_t *grown = realloc(list, wanted * sizeof *list);
    if (!grown) __builtin_trap();
    list = grown;
    capacity = wanted;
  }
  uint32_t *command = list + used;
  used += words + 1;
  *command = opcode | (words + 1) << 8;
  return command + 1;
}

void commands_copy(uint32_t from, uint32_t from_offset, uint32_t to, uint32_t to_offset, uint32_t bytes) {
  if (!bytes) return;
  uint32_t *words = commands_append(OPCODE_COPY, 5);
  words[0] = from;
  words[1] = from_offset;
  words[2] = to;
  words[3] = to_offset;
  words[4] = (bytes + 3) & ~3u;
}

void commands_flush(void) {
  uint32_t count = replay_runs() ? 0 : used;
  used = 0;
  if (count) webgpu_flush(list, count);
}

void commands_drop(void) { used = 0; }
