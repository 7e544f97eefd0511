/* Device memory: a released buffer waits, by size class, for the next request of its class. */
#include "tvmw.h"

#include <stdlib.h>

__attribute__((import_module("webgpu"), import_name("alloc"))) uint32_t webgpu_alloc(uint32_t bytes);
__attribute__((import_module("webgpu"), import_name("free"))) void webgpu_free(uint32_t handle);
__attribute__((import_module("webgpu"), import_name("write"))) void webgpu_write(uint32_t handle, uint32_t offset,
                                                                                 const void *data, uint32_t bytes);

/* Classes are multiples of 256 bytes with four significant bits, so that at most an eighth is lost. */
enum { UNIT_BITS = 8, CLASSES = 22 * 8 };

static Block *unused[CLASSES];

static uint32_t class_of(uint32_t bytes, uint32_t *class_bytes) {
  uint32_t last = bytes ? (bytes - 1) >> UNIT_BITS : 0; /* index of the last unit */
  uint32_t shift = last < 16 ? 0 : 28 - (uint32_t)__builtin_clz(last);
  *class_bytes = ((last >> shift) + 1) << shift << UNIT_BITS;
  return shift * 8 + (last >> shift);
}

static Block *taken(Block *block) {
  uint32_t class_bytes;
  Block **place = &unused[class_of(block->bytes, &class_bytes)];
  while (*place && *place != block) place = &(*place)->next;
  if (*place) *place = block->next;
  return block;
}

Block *device_acquire(int64_t bytes) {
  if (bytes < 0 || bytes > UINT32_MAX - 255) {
    fail("DeviceError", "a buffer of 4 GiB or more was asked for");
    return NULL;
  }
  uint32_t class_bytes, index = class_of((uint32_t)bytes, &class_bytes);
  if (!class_bytes) class_bytes = (uint32_t)(bytes + 255) & ~255u; /* the top class is 4 GiB, one too many */
  Block *block = replay_block();
  if (block) return taken(block);
  block = unused[index];
  if (block) {
    unused[index] = block->next;
    replay_keep(block);
    return block;
  }
  uint32_t handle = webgpu_alloc(class_bytes);
  if (!handle) {
    commands_flush(); /* it may name the buffers that trimming destroys */
    device_trim();
    handle = webgpu_alloc(class_bytes);
  }
  if (!handle) {
    fail("DeviceError", "out of device memory: no buffer of %l bytes to be had", (int64_t)class_bytes);
    return NULL;
  }
  block = malloc(sizeof *block);
  if (!block) __builtin_trap();
  *block = (Block){.handle = handle, .bytes = class_bytes};
  replay_keep(block);
  return block;
}

/* In order of handles, so that equal calls get equal buffers and the executor's bind groups are found again. */
void device_release(Block *block) {
  uint32_t class_bytes, index = class_of(block->bytes, &class_bytes);
  Block **place = &unused[index];
  while (*place && (*place)->handle < block->handle) place = &(*place)->next;
  block->next = *place;
  *place = block;
}

void device_trim(void) {
  for (uint32_t index = 0; index < CLASSES; index++) {
    Block **place = &unused[index];
    while (*place) {
      Block *block = *place;
      if (replay_needs(block)) {
        place = &block->next;
        continue;
      }
      *place = block->next;
      webgpu_free(block->handle);
      free(block);
    }
  }
}

uint64_t device_unused(void) {
  uint64_t bytes = 0;
  for (uint32_t index = 0; index < CLASSES; index++)
    for (const Block *block = unused[index]; block; block = block->next) bytes += block->bytes;
  return bytes;
}

void device_write(uint32_t handle, const void *data, uint32_t bytes) {
  commands_flush();
  if (!replay_runs()) webgpu_write(handle, 0, data, bytes);
}

static void storage_destroy(Object *self) {
  Storage *storage = (Storage *)self;
  if (storage->block) device_release(storage->block);
  free(storage->host);
}

Storage *storage_new(int64_t bytes, int device) {
  Block *block = NULL;
  void *host = NULL;
  if (device == DEVICE_WEBGPU) {
    block = device_acquire(bytes);
    if (!block) return NULL;
  } else {
    host = aligned_alloc(64, ((size_t)bytes + 64) & ~(size_t)63); /* generated code assumes 64 */
    if (!host) {
      fail("DeviceError", "out of linear memory: %l bytes asked for", bytes);
      return NULL;
    }
  }
  Storage *storage = object_new(sizeof *storage, TYPE_STORAGE, storage_destroy);
  storage->block = block;
  storage->host = host;
  storage->bytes = bytes;
  return storage;
}

void *storage_data(const Storage *storage) {
  return storage->block ? (void *)(uintptr_t)storage->block->handle : storage->host;
}

int storage_device(const Storage *storage) { return storage->block ? DEVICE_WEBGPU : DEVICE_CPU; }
