/* A kernel call becomes a dispatch in the command list; codegen/spirv/launch.py states the rules. */
#include "tvmw.h"

enum { OPCODE_DISPATCH = 1, KIND_UINT32 = 1, KIND_FLOAT32 = 2, MOST_WORKGROUPS = 65535 };

static int scalar_word(const Kernel *kernel, uint32_t index, Any arg, uint32_t *word) {
  uint8_t kind = kernel->scalar_kinds[index];
  if (kind == KIND_FLOAT32) {
    union {
      float value;
      uint32_t bits;
    } cast = {.value = arg.type == TYPE_FLOAT ? (float)arg.f : (float)arg.i};
    *word = cast.bits;
    return 0;
  }
  if (kind == KIND_UINT32 ? arg.i != (uint32_t)arg.i : arg.i != (int32_t)arg.i) {
    return fail("RangeError", "kernel %s, scalar %d: %l does not fit 32 bits", kernel->name, index, arg.i);
  }
  *word = (uint32_t)arg.i;
  return 0;
}

__attribute__((noinline)) int tvmw_launch(void *self, const Any *args, int32_t n, Any *ret) {
  const Kernel *kernel = ((Function *)self)->data;
  if ((uint32_t)n != kernel->bindings + kernel->scalars + kernel->tags) {
    return fail("InternalError", "kernel %s was called with %d arguments", kernel->name, n);
  }
  const Any *scalars = args + kernel->bindings, *extents = scalars + kernel->scalars;
  int64_t grid[3] = {1, 1, 1};
  for (uint32_t k = 0; k < kernel->tags; k++) {
    if (kernel->tag_axes[k] < 3) grid[kernel->tag_axes[k]] = extents[k].i;
  }
  if (grid[0] <= 0 || grid[1] <= 0 || grid[2] <= 0) return 0;
  int64_t folded = grid[0];
  if (kernel->folds_grid && folded > MOST_WORKGROUPS) {
    grid[2] = (folded + MOST_WORKGROUPS - 1) / MOST_WORKGROUPS;
    grid[0] = (folded + grid[2] - 1) / grid[2];
  }
  if (folded > UINT32_MAX || grid[0] > MOST_WORKGROUPS || grid[1] > MOST_WORKGROUPS || grid[2] > MOST_WORKGROUPS) {
    return fail("UnsupportedError", "kernel %s needs a grid of %v workgroups; WebGPU allows 65535 a dimension",
                kernel->name, 3, grid);
  }
  uint32_t words[64];
  if (kernel->scalars > 64) return fail("UnsupportedError", "kernel %s has more than 64 scalars", kernel->name);
  for (uint32_t k = 0; k < kernel->scalars; k++) {
    if (scalar_word(kernel, k, scalars[k], words + k)) return -1;
  }
  uint32_t *command = commands_append(OPCODE_DISPATCH, 4 + kernel->bindings + kernel->scalars + kernel->folds_grid);
  *command++ = kernel->index;
  for (int k = 0; k < 3; k++) *command++ = (uint32_t)grid[k];
  for (uint32_t k = 0; k < kernel->bindings; k++) *command++ = (uint32_t)(uintptr_t)args[k].pointer;
  for (uint32_t k = 0; k < kernel->scalars; k++) *command++ = words[k];
  if (kernel->folds_grid) *command = (uint32_t)folded;
  return 0;
}
