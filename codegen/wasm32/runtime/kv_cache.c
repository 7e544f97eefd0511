/* vm.builtin.attention_kv_cache_*: a tensor that grows along its first dimension, as in relax.frontend.nn.KVCache. */
#include "tvmw.h"

#include <string.h>

typedef struct {
  Object base;
  Tensor *data;
  int64_t filled;
} KvCache;

static void destroy(Object *self) {
  Tensor *data = ((KvCache *)self)->data;
  if (data) object_release(&data->base);
}

static KvCache *cache_of(Any value) {
  if (value.type == TYPE_KV_CACHE) return (KvCache *)value.object;
  fail("InputError", "a KV cache was expected, but the argument is something else");
  return NULL;
}

static int64_t row_bytes(const DLTensor *t) { return byte_count(t->dtype, t->ndim - 1, t->shape + 1); }

static uint32_t handle_of(const Tensor *tensor) { return (uint32_t)(uintptr_t)tensor->dl.data; }

static Tensor *reserve(const DLTensor *like, int64_t rows) {
  int64_t shape[8];
  if (like->ndim < 1 || like->ndim > 8) {
    fail("UnsupportedError", "a KV cache of rank %d", like->ndim);
    return NULL;
  }
  memcpy(shape, like->shape, (size_t)like->ndim * sizeof *shape);
  shape[0] = rows;
  Storage *storage = storage_new(byte_count(like->dtype, like->ndim, shape), DEVICE_WEBGPU);
  if (!storage) return NULL;
  Tensor *tensor = tensor_new(storage_data(storage), DEVICE_WEBGPU, like->dtype, like->ndim, shape, &storage->base);
  object_release(&storage->base);
  return tensor;
}

static int append(KvCache *cache, const Tensor *value) {
  const DLTensor *have = &cache->data->dl, *more = &value->dl;
  if (have->ndim != more->ndim || memcmp(&have->dtype, &more->dtype, sizeof(DType)) ||
      memcmp(have->shape + 1, more->shape + 1, (size_t)(have->ndim - 1) * sizeof(int64_t))) {
    return fail("InputError", "a %t KV cache of shape %v can't take %t rows of shape %v", have->dtype, have->ndim,
                have->shape, more->dtype, more->ndim, more->shape);
  }
  replay_forbid();
  int64_t bytes = row_bytes(have), filled = cache->filled + more->shape[0], rows = have->shape[0];
  if (bytes % 4) return fail("UnsupportedError", "a KV cache whose rows are not a multiple of 4 bytes");
  if (filled > rows) {
    while (rows < filled) rows = rows ? rows * 2 : 1;
    Tensor *grown = reserve(have, rows);
    if (!grown) return -1;
    commands_copy(handle_of(cache->data), 0, handle_of(grown), 0, (uint32_t)(cache->filled * bytes));
    object_release(&cache->data->base);
    cache->data = grown;
  }
  commands_copy(handle_of(value), 0, handle_of(cache->data), (uint32_t)(cache->filled * bytes),
                (uint32_t)(more->shape[0] * bytes));
  cache->filled = filled;
  return 0;
}

/* (initial rows, shape of the reserve, rows filled or -1 for all) */
int vm_builtin_attention_kv_cache_create(void *self, const Any *args, int32_t n, Any *ret) {
  Tensor *initial = (Tensor *)args[0].object;
  Shape *shape = (Shape *)args[1].object;
  DLTensor like = initial->dl;
  like.ndim = (int32_t)shape->size;
  like.shape = shape->data;
  Tensor *data = reserve(&like, shape->data[0]);
  if (!data) return -1;
  KvCache *cache = object_new(sizeof *cache, TYPE_KV_CACHE, destroy);
  cache->data = data;
  if (args[2].i && append(cache, initial)) {
    object_release(&cache->base);
    return -1;
  }
  if (args[2].i >= 0) cache->filled = args[2].i;
  *ret = any_object(cache);
  return 0;
}

int vm_builtin_attention_kv_cache_append(void *self, const Any *args, int32_t n, Any *ret) {
  KvCache *cache = cache_of(args[0]);
  if (!cache || append(cache, (Tensor *)args[1].object)) return -1;
  *ret = any_copy(args[0]);
  return 0;
}

int vm_builtin_attention_kv_cache_view(void *self, const Any *args, int32_t n, Any *ret) {
  KvCache *cache = cache_of(args[0]);
  if (!cache) return -1;
  const Shape *shape = (Shape *)args[1].object;
  const DLTensor *have = &cache->data->dl;
  if ((int32_t)shape->size != have->ndim || shape->data[0] != cache->filled ||
      memcmp(shape->data + 1, have->shape + 1, (shape->size - 1) * sizeof(int64_t))) {
    return fail("InputError", "the KV cache holds %l rows of shape %v; a view of shape %v was asked for", cache->filled,
                have->ndim - 1, have->shape + 1, (int)shape->size, shape->data);
  }
  *ret = any_object(
      tensor_new(have->data, DEVICE_WEBGPU, have->dtype, have->ndim, shape->data, cache->data->owner));
  return 0;
}
