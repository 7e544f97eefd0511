/* The C symbols that host code made by TVM calls. The compiler fills the function slots, so that nothing is looked up. */
#include "tvmw.h"

#include <stdlib.h>
#include <string.h>

int TVMFFIFunctionCall(void *function, const Any *args, int32_t n, Any *ret) {
  return ((Function *)function)->call(function, args, n, ret);
}

int TVMFFIHandleInitOnce(void **slot, int (*init)(void **)) { return *slot ? 0 : init(slot); }

int TVMFFIEnvModLookupFromImports(void *library, const char *name, void **out) {
  return fail("InternalError", "no function %s in this module", name);
}

void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message) { fail(kind, "%s", message); }

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t n) {
  char text[512] = "";
  for (int32_t k = 0; k < n; k++) {
    if (parts[k]) strncat(text, parts[k], sizeof text - 1 - strlen(text));
  }
  fail(kind, "%s", text);
}

int TVMBackendAnyListSetPackedArg(Any *list, int index, Any *args, int offset) {
  args[offset] = list[index];
  return 0;
}

int TVMBackendAnyListResetItem(Any *list, int index) {
  any_clear(list + index);
  return 0;
}

__attribute__((noinline)) int TVMBackendAnyListMoveFromPackedReturn(Any *list, int index, Any *args, int offset) {
  any_clear(list + index);
  list[index] = args[offset];
  args[offset] = any_none();
  return 0;
}

int __tvm_set_device(void *self, const Any *args, int32_t n, Any *ret) { return 0; }

static Storage *workspaces[32]; /* nesting of a single function; TVM frees in reverse order */
static uint32_t workspace_count;

void *TVMBackendAllocWorkspace(int device, int id, uint64_t bytes, int code, int bits) {
  if (workspace_count == sizeof workspaces / sizeof *workspaces) {
    fail("UnsupportedError", "a kernel with more than %d scratch buffers", workspace_count);
    return NULL;
  }
  Storage *storage = storage_new((int64_t)bytes, device);
  if (!storage) return NULL;
  workspaces[workspace_count++] = storage;
  return storage_data(storage);
}

int TVMBackendFreeWorkspace(int device, int id, void *data) {
  for (uint32_t k = workspace_count; k--;) {
    if (storage_data(workspaces[k]) != data || storage_device(workspaces[k]) != device) continue;
    object_release(&workspaces[k]->base);
    workspaces[k] = workspaces[--workspace_count];
    return 0;
  }
  return fail("InternalError", "a scratch buffer was freed twice");
}

void workspaces_drop(void) {
  while (workspace_count) object_release(&workspaces[--workspace_count]->base);
}

typedef struct {
  void *sync;
  int32_t tasks;
} ParallelEnvironment;

int TVMBackendParallelLaunch(int (*task)(int, ParallelEnvironment *, void *), void *data, int tasks) {
  ParallelEnvironment environment = {.tasks = 1};
  return task(0, &environment, data);
}
