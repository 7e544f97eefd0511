/* A call of a compiled Relax function: it works on registers, arguments first and then the result. */
#include "tvmw.h"

#include <stdlib.h>

int vm_call(const VmFunction *function, const Any *args, uint32_t n, Any *ret) {
  if (n != function->arguments) {
    return fail("InternalError", "%s takes %d arguments, not %d", function->name, function->arguments, n);
  }
  Any *registers = calloc(function->registers, sizeof *registers);
  if (!registers) __builtin_trap();
  for (uint32_t k = 0; k < n; k++) registers[k] = any_copy(args[k]);
  Any packed[4] = {any_none()}, unused = any_none();
  void *lists[] = {registers, tvmw_constants, tvmw_functions};
  for (int k = 0; k < 3; k++) {
    packed[1 + k].type = TYPE_POINTER;
    packed[1 + k].pointer = lists[k];
  }
  int status = function->code(NULL, packed, 4, &unused);
  if (!status) {
    *ret = registers[n];
    registers[n] = any_none();
  }
  for (uint32_t k = 0; k < function->registers; k++) any_clear(registers + k);
  free(registers);
  return status;
}

int tvmw_invoke(void *self, const Any *args, int32_t n, Any *ret) {
  return vm_call(((Function *)self)->data, args, (uint32_t)n, ret);
}
