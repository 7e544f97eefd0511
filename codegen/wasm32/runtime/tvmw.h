/* The structures of the TVM FFI ABI as wasm32 host code sees them, and what the files of the runtime offer each other. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
  TYPE_NONE = 0,
  TYPE_INT = 1,
  TYPE_BOOL = 2,
  TYPE_FLOAT = 3,
  TYPE_POINTER = 4,
  TYPE_DTYPE = 5,
  TYPE_FIRST_OBJECT = 64,
  TYPE_STR = 65,
  TYPE_FUNCTION = 68,
  TYPE_SHAPE = 69,
  TYPE_TENSOR = 70,
  TYPE_TUPLE = 71,
  TYPE_STORAGE = 128, /* from here on our own */
  TYPE_KV_CACHE = 129,
};

enum { DEVICE_CPU = 1, DEVICE_WEBGPU = 15 };

typedef struct Object Object;
struct Object {
  uint64_t refs;
  int32_t type;
  uint32_t padding;
  union {
    void (*destroy)(Object *self); /* frees what the object holds, not the object itself; may be NULL */
    int64_t align;
  };
};

typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DType;

typedef struct {
  int32_t type;
  uint32_t zero;
  union {
    int64_t i;
    double f;
    void *pointer;
    Object *object;
    DType dtype;
  };
} Any;

typedef struct {
  void *data; /* on the device: a buffer handle */
  int32_t device_type, device_id, ndim;
  DType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} DLTensor;

typedef int (*PackedCall)(void *self, const Any *args, int32_t n, Any *ret);

typedef struct {
  Object base;
  PackedCall call;
  void *cpp_call;
  const void *data;
} Function;

typedef struct {
  Object base;
  const char *data;
  size_t size;
} Str;

typedef struct {
  Object base;
  int64_t *data;
  size_t size;
  int64_t values[];
} Shape;

typedef struct {
  Object base;
  DLTensor dl;
  Object *owner; /* keeps the data alive; NULL when the executor does */
  int64_t dims[];
} Tensor;

typedef struct {
  Object base;
  uint32_t size;
  Any items[];
} Tuple;

_Static_assert(sizeof(Object) == 24 && sizeof(Any) == 16 && sizeof(DLTensor) == 40, "FFI ABI");
_Static_assert(offsetof(DLTensor, shape) == 20 && offsetof(DLTensor, byte_offset) == 32, "DLPack ABI");
_Static_assert(offsetof(Tensor, dl) == 24 && offsetof(Shape, data) == 24 && offsetof(Function, call) == 24, "FFI ABI");

/* error.c: fail() records "Kind: message" and gives -1. %s text, %d int32, %l int64, %t DType, %v shape (ndim, dims). */
int fail(const char *kind, const char *format, ...);
const char *error_text(void);

/* object.c */
void *object_new(size_t bytes, int32_t type, void (*destroy)(Object *)); /* zeroed, one reference; traps without memory */
void object_retain(Object *object);
void object_release(Object *object);
Any any_none(void);
Any any_int(int64_t value);
Any any_object(void *object); /* takes over the reference */
Any any_copy(Any value);      /* a new reference */
void any_clear(Any *slot);
Shape *shape_new(uint32_t ndim);
Tensor *tensor_new(void *data, int device, DType dtype, int ndim, const int64_t *shape, Object *owner);
int64_t byte_count(DType dtype, int ndim, const int64_t *shape); /* -1 when it passes 2^32 - 256 */

/* device.c: pooled device memory */
typedef struct Block Block;
struct Block {
  uint32_t handle, bytes;
  Block *next;
};
Block *device_acquire(int64_t bytes); /* NULL after fail() */
void device_release(Block *block);
void device_trim(void);
uint64_t device_unused(void); /* bytes that wait for the next request */
void device_write(uint32_t handle, const void *data, uint32_t bytes);

typedef struct {
  Object base;
  Block *block; /* on the device, or */
  void *host;
  int64_t bytes;
} Storage;
Storage *storage_new(int64_t bytes, int device); /* NULL after fail() */
void *storage_data(const Storage *storage);
int storage_device(const Storage *storage);

/* replay.c: a call that needs data of the device is left (tvmw_call gives 1) and made again with it */
void replay_begin(void);
void replay_end(void);
int replay_waits(void); /* whether the call was left */
int replay_runs(void);  /* whether commands given now have run before */
void replay_forbid(void); /* from here on the call can't be made again: it changed what outlives it */
const void *replay_read(const Tensor *tensor); /* its data; NULL where the call is to be left, or after fail() */
Block *replay_block(void); /* what device_acquire gave at this place before, or NULL */
void replay_keep(Block *block);
int replay_needs(const Block *block);

/* ffi.c */
void workspaces_drop(void); /* frees what a failed kernel wrapper left */

/* commands.c: the command list of the current call */
uint32_t *commands_append(uint32_t opcode, uint32_t words); /* the words after the first */
void commands_copy(uint32_t from, uint32_t from_offset, uint32_t to, uint32_t to_offset, uint32_t bytes);
void commands_flush(void);
void commands_drop(void);

/* tables that the compiler generates */
typedef struct {
  const char *name;
  uint32_t index, bindings, scalars, tags, folds_grid;
  const uint8_t *scalar_kinds; /* 0 int32, 1 uint32, 2 float32 */
  const uint8_t *tag_axes;     /* 0, 1, 2: blockIdx.x, y, z; 255: of no use here */
} Kernel;

typedef struct {
  const char *name;
  PackedCall code; /* called with (context, registers, constants, functions) */
  uint32_t arguments, registers;
} VmFunction;

typedef struct {
  uint32_t constant; /* index in tvmw_constants */
  DType dtype;
  int32_t ndim;
  const int64_t *shape;
  const void *data;
} TensorConstant;

enum { INPUT_TENSOR, INPUT_INT, INPUT_SHAPE, INPUT_OBJECT };

#define DIM_ANY INT64_MIN

typedef struct {
  const char *name;
  int32_t kind, ndim; /* ndim -1: any rank */
  DType dtype;        /* bits 0: any */
  const int64_t *dims; /* a number, ~symbol, or DIM_ANY */
} Input;

typedef struct {
  const char *name;
  const VmFunction *function;
  uint32_t inputs, params, symbols;
  const Input *input_table;
  const uint32_t *param_indices;
  const char *const *symbol_names;
} Entry;

extern Any tvmw_constants[], tvmw_functions[];
extern const TensorConstant tvmw_tensor_constants[];
extern const uint32_t tvmw_tensor_constant_count;
extern const Entry tvmw_entries[];
extern const uint32_t tvmw_entry_count, tvmw_param_count;

/* vm.c */
int vm_call(const VmFunction *function, const Any *args, uint32_t n, Any *ret);
