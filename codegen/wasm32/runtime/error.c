/* The pending error: one message, "Kind: message". */
#include "tvmw.h"

#include <stdarg.h>

static char message[1024];
static uint32_t used;

static void put(char c) {
  if (used < sizeof message - 1) message[used++] = c;
}

static void put_text(const char *text) {
  while (*text) put(*text++);
}

static void put_int(int64_t value) {
  char digits[20];
  uint32_t n = 0;
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  do digits[n++] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) put('-');
  while (n) put(digits[--n]);
}

static void put_dtype(DType dtype) {
  static const char *const names[] = {"int", "uint", "float", "handle", "bfloat", "complex"};
  if (dtype.code == 6) return put_text("bool");
  put_text(dtype.code < 6 ? names[dtype.code] : "float8_code");
  put_int(dtype.code < 6 ? dtype.bits : dtype.code);
  if (dtype.lanes > 1) put('x'), put_int(dtype.lanes);
}

static void put_shape(int ndim, const int64_t *dims) {
  put('(');
  for (int k = 0; k < ndim; k++) {
    if (k) put_text(", ");
    put_int(dims[k]);
  }
  put(')');
}

int fail(const char *kind, const char *format, ...) {
  va_list args;
  va_start(args, format);
  used = 0;
  put_text(kind);
  put_text(": ");
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    switch (*++format) {
      case 's': put_text(va_arg(args, const char *)); break;
      case 'd': put_int(va_arg(args, int32_t)); break;
      case 'l': put_int(va_arg(args, int64_t)); break;
      case 't': put_dtype(va_arg(args, DType)); break;
      case 'v': {
        int ndim = va_arg(args, int);
        put_shape(ndim, va_arg(args, const int64_t *));
        break;
      }
    }
  }
  va_end(args);
  message[used] = 0;
  return -1;
}

const char *error_text(void) { return message; }
