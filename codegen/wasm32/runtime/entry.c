/* The exports: parameters and arguments come in as values, are checked against the entry's signature, and results go out. */
#include "tvmw.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { CALL_AGAIN = 1 };
enum { VALUE_NONE, VALUE_TENSOR, VALUE_INT, VALUE_FLOAT, VALUE_OBJECT };

typedef struct {
  uint32_t kind, handle;
  Object *object;
  DType dtype;
  uint32_t ndim;
  const int64_t *shape;
  union {
    int64_t i;
    double f;
    uint32_t offset;
  };
} Value;
_Static_assert(sizeof(Value) == 32 && offsetof(Value, i) == 24, "the executor's value");

extern void __wasm_call_ctors(void);

EXPORT void _initialize(void) { __wasm_call_ctors(); }

EXPORT const char *tvmw_error(void) { return error_text(); }

EXPORT void tvmw_trim(void) { device_trim(); }

EXPORT uint64_t tvmw_unused(void) { return device_unused(); }

EXPORT void tvmw_release(Object *object) { object_release(object); }

/* A tensor whose data starts inside its buffer is copied to one of its own: a binding always begins at 0. */
static Tensor *tensor_from(const Value *value, const char *name) {
  int64_t bytes = byte_count(value->dtype, (int)value->ndim, value->shape);
  if (bytes < 0 || !value->handle || value->offset % 4) {
    fail("InputError", "%s: not a tensor in device memory", name);
    return NULL;
  }
  if (!value->offset) {
    return tensor_new((void *)(uintptr_t)value->handle, DEVICE_WEBGPU, value->dtype, (int)value->ndim, value->shape, NULL);
  }
  Storage *storage = storage_new(bytes, DEVICE_WEBGPU);
  if (!storage) return NULL;
  commands_copy(value->handle, value->offset, storage->block->handle, 0, (uint32_t)bytes);
  Tensor *tensor = tensor_new(storage_data(storage), DEVICE_WEBGPU, value->dtype, (int)value->ndim, value->shape,
                              &storage->base);
  object_release(&storage->base);
  return tensor;
}

/* Symbols */

#define MOST_SYMBOLS 64

typedef struct {
  int64_t values[MOST_SYMBOLS];
  const char *from[MOST_SYMBOLS]; /* the input that fixed it, or NULL */
} Symbols;

static int bind_dim(const Entry *entry, Symbols *symbols, const Input *input, int axis, int64_t value) {
  int64_t wanted = input->dims[axis];
  if (wanted == DIM_ANY) return 0;
  if (wanted >= 0) {
    if (value == wanted) return 0;
    return fail("InputError", "input \"%s\": dimension %d is %l, expected %l", input->name, axis, value, wanted);
  }
  int64_t symbol = ~wanted;
  if (symbols->from[symbol] && symbols->values[symbol] != value) {
    return fail("InputError", "input \"%s\": dimension %d (%s) is %l, but input \"%s\" has %s = %l", input->name, axis,
                entry->symbol_names[symbol], value, symbols->from[symbol], entry->symbol_names[symbol],
                symbols->values[symbol]);
  }
  symbols->values[symbol] = value;
  symbols->from[symbol] = input->name;
  return 0;
}

static int check_tensor(const Entry *entry, Symbols *symbols, const Input *input, const DLTensor *dl) {
  if (input->dtype.bits && memcmp(&input->dtype, &dl->dtype, sizeof(DType))) {
    return fail("InputError", "input \"%s\": dtype is %t, expected %t", input->name, dl->dtype, input->dtype);
  }
  if (input->ndim < 0) return 0;
  if (dl->ndim != input->ndim) {
    return fail("InputError", "input \"%s\": shape %v has rank %d, expected %d", input->name, dl->ndim, dl->shape,
                dl->ndim, input->ndim);
  }
  for (int axis = 0; axis < dl->ndim; axis++) {
    if (bind_dim(entry, symbols, input, axis, dl->shape[axis])) return -1;
  }
  return 0;
}

static int argument(const Entry *entry, Symbols *symbols, const Input *input, const Value *value, Any *out) {
  static const uint32_t kinds[] = {[INPUT_TENSOR] = VALUE_TENSOR, [INPUT_INT] = VALUE_INT, [INPUT_SHAPE] = VALUE_INT,
                                   [INPUT_OBJECT] = VALUE_OBJECT};
  static const char *const names[] = {[INPUT_TENSOR] = "a tensor", [INPUT_INT] = "an integer",
                                      [INPUT_SHAPE] = "an integer", [INPUT_OBJECT] = "an object of an earlier result"};
  if (value->kind != kinds[input->kind] || (value->kind == VALUE_OBJECT && !value->object)) {
    return fail("InputError", "input \"%s\": expected %s", input->name, names[input->kind]);
  }
  if (value->kind == VALUE_INT) {
    for (int axis = 0; axis < input->ndim; axis++) {
      if (bind_dim(entry, symbols, input, axis, value->i)) return -1;
    }
    *out = any_int(value->i);
    if (input->kind == INPUT_SHAPE) {
      Shape *shape = shape_new(1);
      shape->values[0] = value->i;
      *out = any_object(shape);
    }
    return 0;
  }
  Object *object = value->object;
  if (object) {
    object_retain(object);
  } else {
    Tensor *tensor = tensor_from(value, input->name);
    if (!tensor) return -1;
    object = &tensor->base;
  }
  *out = any_object(object);
  if (input->kind == INPUT_OBJECT) return 0;
  if (object->type != TYPE_TENSOR) return fail("InputError", "input \"%s\": expected a tensor", input->name);
  return check_tensor(entry, symbols, input, &((Tensor *)object)->dl);
}

/* Parameters and constants */

static Any *params;

EXPORT int tvmw_bind_params(const Value *values, uint32_t n) {
  if (n != tvmw_param_count) {
    return fail("PackageError", "%d parameters given, %d needed", n, tvmw_param_count);
  }
  if (!params) params = calloc(n + 1, sizeof *params);
  if (!params) __builtin_trap();
  for (uint32_t k = 0; k < n; k++) {
    Tensor *tensor = values[k].kind == VALUE_TENSOR ? tensor_from(values + k, "parameter") : NULL;
    if (!tensor) return fail("PackageError", "parameter %d is not a tensor in device memory", k);
    any_clear(params + k);
    params[k] = any_object(tensor);
  }
  commands_flush();
  return 0;
}

static int place_constants(void) {
  static uint32_t placed;
  for (; placed < tvmw_tensor_constant_count; placed++) {
    const TensorConstant *constant = tvmw_tensor_constants + placed;
    int64_t bytes = byte_count(constant->dtype, constant->ndim, constant->shape);
    Storage *storage = storage_new(bytes, DEVICE_WEBGPU);
    if (!storage) return -1;
    device_write(storage->block->handle, constant->data, (uint32_t)(bytes + 3) & ~3u);
    tvmw_constants[constant->constant] = any_object(tensor_new(storage_data(storage), DEVICE_WEBGPU, constant->dtype,
                                                               constant->ndim, constant->shape, &storage->base));
    object_release(&storage->base);
  }
  return 0;
}

/* Results */

static struct {
  uint32_t count, padding;
  Value values[];
} *results;
static uint32_t result_capacity;

EXPORT const void *tvmw_results(void) { return results; }

static void reserve_results(uint32_t count) {
  if (results && count <= result_capacity) return;
  result_capacity = count * 2;
  results = realloc(results, sizeof *results + result_capacity * sizeof(Value));
  if (!results) __builtin_trap();
}

static Value *next_result(void) {
  reserve_results(results->count + 1);
  return memset(results->values + results->count++, 0, sizeof(Value));
}

static void put_result(Any any) {
  if (any.type == TYPE_TUPLE) {
    const Tuple *tuple = (Tuple *)any.object;
    for (uint32_t k = 0; k < tuple->size; k++) put_result(tuple->items[k]);
    return;
  }
  Value *value = next_result();
  if (any.type == TYPE_NONE) return;
  if (any.type == TYPE_INT || any.type == TYPE_BOOL || any.type == TYPE_FLOAT) {
    value->kind = any.type == TYPE_FLOAT ? VALUE_FLOAT : VALUE_INT;
    value->i = any.i;
    return;
  }
  value->kind = VALUE_OBJECT;
  value->object = any_copy(any).object;
  if (any.type != TYPE_TENSOR) return;
  const DLTensor *dl = &((Tensor *)any.object)->dl;
  value->kind = VALUE_TENSOR;
  value->handle = (uint32_t)(uintptr_t)dl->data;
  value->dtype = dl->dtype;
  value->ndim = (uint32_t)dl->ndim;
  value->shape = dl->shape;
}

EXPORT int tvmw_call(uint32_t index, const Value *values, uint32_t n) {
  if (index >= tvmw_entry_count) return fail("InputError", "there is no entry %d", index);
  const Entry *entry = tvmw_entries + index;
  if (n != entry->inputs) {
    return fail("InputError", "%s takes %d inputs, not %d", entry->name, entry->inputs, n);
  }
  if (entry->params && !params) return fail("PackageError", "parameters were not bound");
  if (place_constants()) return -1;

  replay_begin();
  uint32_t total = n + entry->params;
  Any *args = calloc(total + 1, sizeof *args), ret = any_none();
  if (!args) __builtin_trap();
  Symbols symbols = {0};
  int status = 0;
  for (uint32_t k = 0; k < n && !status; k++) {
    status = argument(entry, &symbols, entry->input_table + k, values + k, args + k);
  }
  for (uint32_t k = 0; k < entry->params; k++) args[n + k] = any_copy(params[entry->param_indices[k]]);
  if (!status) status = vm_call(entry->function, args, total, &ret);
  for (uint32_t k = 0; k < total; k++) any_clear(args + k);
  free(args);
  workspaces_drop();
  if (status && replay_waits()) {
    commands_flush();
    return CALL_AGAIN;
  }
  if (status) commands_drop();
  replay_end();
  if (status) return status;
  commands_flush();
  reserve_results(8);
  results->count = 0;
  put_result(ret);
  any_clear(&ret);
  return 0;
}
