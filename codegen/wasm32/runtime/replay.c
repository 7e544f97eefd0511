/* Data of the device on the host. WebAssembly can't wait for the GPU, so a call that needs such data is left, and the
   executor makes it again when the data is there. Given the same values, host data and blocks of memory, it comes the
   same way to the same place; what the GPU has run already is not given to it again. */
#include "tvmw.h"

#include <stdlib.h>

typedef struct {
  void *data;
  uint32_t bytes;
} Read;

/* The data that the call has asked for so far, the last of it perhaps not supplied yet. */
static Read *reads;
static uint32_t read_count, read_cursor, read_capacity;

/* The blocks that the call acquired, in order. */
static Block **blocks;
static uint32_t block_count, block_cursor, block_capacity;

static int waits, supplied, changed;

static struct {
  uint32_t handle, bytes;
  void *destination;
} wanted;

__attribute__((visibility("default"))) const void *tvmw_wanted(void) { return &wanted; }

__attribute__((visibility("default"))) void tvmw_supplied(void) {
  if (!waits || supplied) return;
  supplied = 1;
  read_count++;
}

static void *grown(void *items, uint32_t count, uint32_t *capacity, size_t bytes) {
  if (count < *capacity) return items;
  *capacity = *capacity ? *capacity * 2 : 16;
  items = realloc(items, *capacity * bytes);
  if (!items) __builtin_trap();
  return items;
}

void replay_begin(void) {
  if (!supplied) replay_end();
  read_cursor = block_cursor = 0;
  waits = supplied = changed = 0;
}

void replay_end(void) {
  for (uint32_t k = 0; k < read_count + (waits && !supplied); k++) free(reads[k].data);
  read_count = read_cursor = block_count = block_cursor = 0;
  waits = supplied = 0;
}

int replay_waits(void) { return waits; }

int replay_runs(void) { return read_cursor < read_count; }

void replay_forbid(void) { changed = 1; }

const void *replay_read(const Tensor *tensor) {
  const DLTensor *dl = &tensor->dl;
  if (dl->device_type == DEVICE_CPU) return dl->data;
  int64_t bytes = byte_count(dl->dtype, dl->ndim, dl->shape);
  if (!bytes) return dl;
  if (replay_runs()) {
    const void *data = reads[read_cursor++].data;
    if (!replay_runs()) commands_drop(); /* all up to here has run */
    return data;
  }
  if (changed) {
    fail("UnsupportedError", "a shape or condition that is computed after a KV cache has grown in the same call");
    return NULL;
  }
  uint32_t padded = (uint32_t)(bytes + 3) & ~3u;
  reads = grown(reads, read_count, &read_capacity, sizeof *reads);
  reads[read_count] = (Read){.data = malloc(padded), .bytes = padded};
  if (!reads[read_count].data) __builtin_trap();
  wanted.handle = (uint32_t)(uintptr_t)dl->data;
  wanted.bytes = padded;
  wanted.destination = reads[read_count].data;
  waits = 1;
  return NULL;
}

Block *replay_block(void) { return block_cursor < block_count ? blocks[block_cursor++] : NULL; }

void replay_keep(Block *block) {
  blocks = grown(blocks, block_count, &block_capacity, sizeof *blocks);
  blocks[block_count++] = block;
  block_cursor = block_count;
}

int replay_needs(const Block *block) {
  for (uint32_t k = 0; k < block_count; k++) {
    if (blocks[k] == block) return 1;
  }
  return 0;
}
