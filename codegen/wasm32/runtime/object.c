/* Reference-counted objects and the values that refer to them. */
#include "tvmw.h"

#include <stdlib.h>
#include <string.h>

void *object_new(size_t bytes, int32_t type, void (*destroy)(Object *)) {
  Object *object = calloc(1, bytes);
  if (!object) __builtin_trap();
  object->refs = 1;
  object->type = type;
  object->destroy = destroy;
  return object;
}

void object_retain(Object *object) { object->refs++; }

__attribute__((noinline)) void object_release(Object *object) {
  if (--object->refs) return;
  if (object->destroy) object->destroy(object);
  free(object);
}

Any any_none(void) { return (Any){.type = TYPE_NONE}; }

Any any_int(int64_t value) { return (Any){.type = TYPE_INT, .i = value}; }

Any any_object(void *object) {
  Any value = {.type = ((Object *)object)->type};
  value.object = object;
  return value;
}

Any any_copy(Any value) {
  if (value.type >= TYPE_FIRST_OBJECT) object_retain(value.object);
  return value;
}

void any_clear(Any *slot) {
  Any old = *slot;
  *slot = any_none();
  if (old.type >= TYPE_FIRST_OBJECT) object_release(old.object);
}

Shape *shape_new(uint32_t ndim) {
  Shape *shape = object_new(sizeof(Shape) + ndim * sizeof(int64_t), TYPE_SHAPE, NULL);
  shape->data = shape->values;
  shape->size = ndim;
  return shape;
}

static void tensor_destroy(Object *self) {
  Object *owner = ((Tensor *)self)->owner;
  if (owner) object_release(owner);
}

Tensor *tensor_new(void *data, int device, DType dtype, int ndim, const int64_t *shape, Object *owner) {
  Tensor *tensor = object_new(sizeof(Tensor) + (size_t)ndim * sizeof(int64_t), TYPE_TENSOR, tensor_destroy);
  tensor->dl = (DLTensor){.data = data, .device_type = device, .ndim = ndim, .dtype = dtype, .shape = tensor->dims};
  memcpy(tensor->dims, shape, (size_t)ndim * sizeof(int64_t));
  tensor->owner = owner;
  if (owner) object_retain(owner);
  return tensor;
}

int64_t byte_count(DType dtype, int ndim, const int64_t *shape) {
  const uint64_t most = UINT32_MAX - 255;
  uint64_t bits = (uint64_t)dtype.bits * dtype.lanes;
  for (int k = 0; k < ndim; k++) {
    if (shape[k] < 0 || __builtin_mul_overflow(bits, (uint64_t)shape[k], &bits)) return -1;
  }
  uint64_t bytes = bits / 8 + (bits % 8 != 0);
  return bytes > most ? -1 : (int64_t)bytes;
}
