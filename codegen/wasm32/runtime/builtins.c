/* vm.builtin.*: what compiled Relax functions call. A name's dots are underscores here; the compiler refuses the rest. */
#include "tvmw.h"

#include <string.h>

#define BUILTIN(name) int vm_builtin_##name(void *self, const Any *args, int32_t n, Any *ret)

static const char *text_of(Any value) { return value.type == TYPE_STR ? ((Str *)value.object)->data : ""; }

BUILTIN(null_value) {
  *ret = any_none();
  return 0;
}

BUILTIN(copy) {
  *ret = any_copy(args[0]);
  return 0;
}

static void tuple_destroy(Object *self) {
  Tuple *tuple = (Tuple *)self;
  for (uint32_t k = 0; k < tuple->size; k++) any_clear(tuple->items + k);
}

BUILTIN(make_tuple) {
  Tuple *tuple = object_new(sizeof(Tuple) + (size_t)n * sizeof(Any), TYPE_TUPLE, tuple_destroy);
  tuple->size = (uint32_t)n;
  for (int32_t k = 0; k < n; k++) tuple->items[k] = any_copy(args[k]);
  *ret = any_object(tuple);
  return 0;
}

BUILTIN(tuple_getitem) {
  const Tuple *tuple = (Tuple *)args[0].object;
  if (args[0].type != TYPE_TUPLE || (uint64_t)args[1].i >= tuple->size) {
    return fail("InputError", "item %l of a tuple that has none", args[1].i);
  }
  *ret = any_copy(tuple->items[args[1].i]);
  return 0;
}

/* Memory */

static int device_at(int64_t index) { return index < 0 ? DEVICE_CPU : DEVICE_WEBGPU; }

/* (context, shape, device index or -1 for the host, dtype, scope) */
BUILTIN(alloc_storage) {
  const Shape *shape = (Shape *)args[1].object;
  int64_t bytes = byte_count(args[3].dtype, (int)shape->size, shape->data);
  if (bytes < 0) {
    return fail("DeviceError", "a %t buffer of shape %v is too large", args[3].dtype, (int)shape->size, shape->data);
  }
  Storage *storage = storage_new(bytes, device_at(args[2].i));
  if (!storage) return -1;
  *ret = any_object(storage);
  return 0;
}

/* (storage, byte offset, shape, dtype) */
BUILTIN(alloc_tensor) {
  Storage *storage = (Storage *)args[0].object;
  const Shape *shape = (Shape *)args[2].object;
  int64_t bytes = byte_count(args[3].dtype, (int)shape->size, shape->data);
  if (args[1].i) return fail("UnsupportedError", "a tensor that starts inside its storage");
  if (bytes < 0 || bytes > storage->bytes) {
    return fail("InternalError", "a %t tensor of shape %v in a storage of %l bytes", args[3].dtype, (int)shape->size,
                shape->data, storage->bytes);
  }
  *ret = any_object(tensor_new(storage_data(storage), storage_device(storage), args[3].dtype, (int)shape->size,
                               shape->data, &storage->base));
  return 0;
}

BUILTIN(reshape) {
  Tensor *tensor = (Tensor *)args[0].object;
  const Shape *shape = (Shape *)args[1].object;
  const DLTensor *dl = &tensor->dl;
  int64_t have = byte_count(dl->dtype, dl->ndim, dl->shape), want = byte_count(dl->dtype, (int)shape->size, shape->data);
  if (have != want) {
    return fail("InputError", "a tensor of shape %v can't become one of shape %v", dl->ndim, dl->shape,
                (int)shape->size, shape->data);
  }
  /* A view of a view keeps the storage, not the view; a view of an executor's own buffer keeps the tensor. */
  Object *owner = tensor->owner ? tensor->owner : &tensor->base;
  *ret = any_object(tensor_new(dl->data, dl->device_type, dl->dtype, (int)shape->size, shape->data, owner));
  return 0;
}

/* Shapes */

static int dims_of(Any value, const int64_t **dims) {
  if (value.type == TYPE_SHAPE) {
    *dims = ((Shape *)value.object)->data;
    return (int)((Shape *)value.object)->size;
  }
  if (value.type == TYPE_TENSOR) {
    *dims = ((Tensor *)value.object)->dl.shape;
    return ((Tensor *)value.object)->dl.ndim;
  }
  return -1;
}

BUILTIN(shape_of) {
  const int64_t *dims;
  int ndim = dims_of(args[0], &dims);
  if (ndim < 0) return fail("InputError", "a tensor was expected");
  Shape *shape = shape_new((uint32_t)ndim);
  memcpy(shape->values, dims, (size_t)ndim * sizeof *dims);
  *ret = any_object(shape);
  return 0;
}

/* (tensor of int64): its values */
BUILTIN(tensor_to_shape) {
  const Tensor *tensor = (Tensor *)args[0].object;
  const DLTensor *dl = &tensor->dl;
  if (args[0].type != TYPE_TENSOR || dl->ndim != 1 || dl->dtype.code != 0 || dl->dtype.bits != 64) {
    return fail("InputError", "a shape is a vector of int64");
  }
  const int64_t *values = replay_read(tensor);
  if (!values) return -1;
  Shape *shape = shape_new((uint32_t)dl->shape[0]);
  memcpy(shape->values, values, shape->size * sizeof *values);
  *ret = any_object(shape);
  return 0;
}

/* (tensor of one element): whether it is not zero */
BUILTIN(read_if_cond) {
  const Tensor *tensor = (Tensor *)args[0].object;
  const uint8_t *bytes = args[0].type == TYPE_TENSOR ? replay_read(tensor) : NULL;
  if (!bytes) return args[0].type == TYPE_TENSOR ? -1 : fail("InputError", "a condition is a tensor");
  int64_t size = byte_count(tensor->dl.dtype, tensor->dl.ndim, tensor->dl.shape), set = 0;
  for (int64_t k = 0; k < size; k++) set |= bytes[k];
  *ret = any_int(set != 0);
  ret->type = TYPE_BOOL;
  return 0;
}

/* (context, size): int64 slots in linear memory */
BUILTIN(alloc_shape_heap) {
  Storage *storage = storage_new(args[1].i * (int64_t)sizeof(int64_t), DEVICE_CPU);
  if (!storage) return -1;
  DType int64 = {.code = 0, .bits = 64, .lanes = 1};
  *ret = any_object(tensor_new(storage->host, DEVICE_CPU, int64, 1, &args[1].i, &storage->base));
  object_release(&storage->base);
  return 0;
}

static int64_t *heap_of(Any value) { return ((Tensor *)value.object)->dl.data; }

/* (heap, rank, then code and operand for each dimension) */
BUILTIN(make_shape) {
  enum { IMMEDIATE, LOAD };
  const int64_t *heap = args[0].type == TYPE_TENSOR ? heap_of(args[0]) : NULL;
  Shape *shape = shape_new((uint32_t)args[1].i);
  for (uint32_t k = 0; k < shape->size; k++) {
    int64_t operand = args[3 + 2 * k].i;
    shape->values[k] = args[2 + 2 * k].i == LOAD ? heap[operand] : operand;
  }
  *ret = any_object(shape);
  return 0;
}

/* (heap, code, operand) */
BUILTIN(make_prim_value) {
  *ret = any_int(args[1].i ? heap_of(args[0])[args[2].i] : args[2].i);
  return 0;
}

static int match(int64_t value, int64_t *heap, int64_t code, int64_t operand, const char *context) {
  enum { EQUALS_IMMEDIATE, STORE, NOTHING, EQUALS_LOAD };
  if (code == STORE) heap[operand] = value;
  if (code == STORE || code == NOTHING) return 0;
  int64_t wanted = code == EQUALS_LOAD ? heap[operand] : operand;
  return value == wanted ? 0 : fail("InputError", "%s: %l where %l was expected", context, value, wanted);
}

/* (tensor or shape, heap, rank, code and operand for each dimension, context) */
BUILTIN(match_shape) {
  const int64_t *dims;
  int ndim = dims_of(args[0], &dims);
  const char *context = text_of(args[n - 1]);
  if (ndim != args[2].i) return fail("InputError", "%s: rank %d where %l was expected", context, ndim, args[2].i);
  int64_t *heap = args[1].type == TYPE_TENSOR ? heap_of(args[1]) : NULL;
  for (int k = 0; k < ndim; k++) {
    if (match(dims[k], heap, args[3 + 2 * k].i, args[4 + 2 * k].i, context)) return -1;
  }
  return 0;
}

/* (value, heap, code, operand, context) */
BUILTIN(match_prim_value) {
  int64_t *heap = args[1].type == TYPE_TENSOR ? heap_of(args[1]) : NULL;
  return match(args[0].i, heap, args[2].i, args[3].i, text_of(args[n - 1]));
}

/* Checks of a value against its annotation; the last argument is the context of an error */

/* (tensor, rank or -1, [dtype,] context) */
BUILTIN(check_tensor_info) {
  const char *context = text_of(args[n - 1]);
  if (args[0].type != TYPE_TENSOR) return fail("InputError", "%s: a tensor was expected", context);
  const DLTensor *dl = &((Tensor *)args[0].object)->dl;
  if (args[1].i >= 0 && dl->ndim != args[1].i) {
    return fail("InputError", "%s: rank %d where %l was expected", context, dl->ndim, args[1].i);
  }
  if (n == 4 && args[2].type == TYPE_DTYPE && args[2].dtype.bits &&
      memcmp(&args[2].dtype, &dl->dtype, sizeof(DType))) {
    return fail("InputError", "%s: dtype %t where %t was expected", context, dl->dtype, args[2].dtype);
  }
  return 0;
}

/* (shape, rank or -1, context) */
BUILTIN(check_shape_info) {
  const char *context = text_of(args[n - 1]);
  if (args[0].type != TYPE_SHAPE) return fail("InputError", "%s: a shape was expected", context);
  int32_t rank = (int32_t)((Shape *)args[0].object)->size;
  if (args[1].i < 0 || args[1].i == rank) return 0;
  return fail("InputError", "%s: rank %d where %l was expected", context, rank, args[1].i);
}

/* (value, dtype, context) */
BUILTIN(check_prim_value_info) {
  if (args[0].type >= TYPE_INT && args[0].type <= TYPE_FLOAT) return 0;
  return fail("InputError", "%s: a number was expected", text_of(args[n - 1]));
}

/* (tuple, size, context) */
BUILTIN(check_tuple_info) {
  if (args[0].type == TYPE_TUPLE && ((Tuple *)args[0].object)->size == args[1].i) return 0;
  return fail("InputError", "%s: a tuple of %l was expected", text_of(args[n - 1]), args[1].i);
}

BUILTIN(check_func_info) {
  if (args[0].type == TYPE_FUNCTION) return 0;
  return fail("InputError", "%s: a function was expected", text_of(args[n - 1]));
}

/* (context, function, arguments) */
BUILTIN(invoke_closure) {
  const Function *function = (Function *)args[1].object;
  if (args[1].type != TYPE_FUNCTION) return fail("InternalError", "a closure was expected");
  return function->call((void *)function, args + 2, n - 2, ret);
}
