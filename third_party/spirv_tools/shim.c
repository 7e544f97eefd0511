// C entry point to SPIRV-Tools' optimiser: words and pass flags in, optimised words and messages out.
//
// The library's optimiser has a C++ interface only. This file calls it through the Itanium C++ ABI with the
// object layouts of libstdc++ (std::string, std::vector and std::function have been stable there since GCC 5),
// so that building it takes no C++ compiler and no headers.
#include <stddef.h>
#include <stdint.h>

extern void *malloc(size_t);
extern void free(void *);
extern void *memcpy(void *, const void *, size_t);
extern size_t strlen(const char *);
extern int snprintf(char *, size_t, const char *, ...);

typedef struct { void *impl; } Optimizer;                                   // std::unique_ptr<Impl>
typedef struct { char *data; size_t size; char local[16]; } String;         // std::string
typedef struct { uint32_t *begin, *end, *capacity; } Words;                 // std::vector<uint32_t>
typedef struct { void *storage[2]; void *manager, *invoker; } Function;     // std::function
typedef struct { size_t line, column, index; } Position;                    // spv_position_t

extern void optimizer_new(Optimizer *, int env) __asm__("_ZN8spvtools9OptimizerC1E14spv_target_env");
extern void optimizer_delete(Optimizer *) __asm__("_ZN8spvtools9OptimizerD1Ev");
extern void optimizer_set_consumer(Optimizer *, Function *) __asm__(
    "_ZN8spvtools9Optimizer18SetMessageConsumerESt8functionIFv19spv_message_level_tPKcRK14spv_position_tS4_EE");
extern _Bool optimizer_register(Optimizer *, const String *) __asm__(
    "_ZN8spvtools9Optimizer20RegisterPassFromFlagERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");
extern _Bool optimizer_run(const Optimizer *, const uint32_t *, size_t, Words *, void *options) __asm__(
    "_ZNK8spvtools9Optimizer3RunEPKjmPSt6vectorIjSaIjEEP23spv_optimizer_options_t");
extern void operator_delete(void *) __asm__("_ZdlPv");
extern void *spvOptimizerOptionsCreate(void);
extern void spvOptimizerOptionsDestroy(void *);
extern void spvOptimizerOptionsSetRunValidator(void *, _Bool);

// Messages go to a caller's buffer; what does not fit is cut.
typedef struct { char *text; size_t capacity, used; } Log;

static void log_message(const Function *self, const int *level, const char *const *source,
                        const Position *position, const char *const *message) {
  (void)level, (void)source;
  Log *log = self->storage[0];
  if (log->used + 1 >= log->capacity) return;
  int n = snprintf(log->text + log->used, log->capacity - log->used, "%s (word %zu)\n", *message,
                   position->index);
  if (n > 0) log->used += (size_t)n;
}

// std::function's manager: operation 0 asks for type information, 1 for the functor, 2 clones, 3 destroys.
static _Bool manage(Function *to, const Function *from, int operation) {
  if (operation == 1) to->storage[0] = (void *)from;
  if (operation == 2) memcpy(to->storage, from->storage, sizeof to->storage);
  return 0;
}

enum { OK = 0, UNKNOWN_PASS = 1, FAILED = 2, NO_MEMORY = 3 };

// On OK *out holds *out_count words, to be given back with tvmw_spirv_free.
int tvmw_spirv_optimize(int env, const uint32_t *words, size_t count, const char *const *flags, size_t flag_count,
                        uint32_t **out, size_t *out_count, size_t *bad_flag, char *text, size_t capacity) {
  Log log = {text, capacity, 0};
  if (capacity) text[0] = 0;
  Optimizer optimizer;
  optimizer_new(&optimizer, env);
  Function consumer = {{&log, 0}, (void *)manage, (void *)log_message};
  optimizer_set_consumer(&optimizer, &consumer);
  int status = OK;
  for (size_t i = 0; i < flag_count && status == OK; ++i) {
    String flag = {(char *)flags[i], strlen(flags[i]), {0}};
    if (!optimizer_register(&optimizer, &flag)) status = UNKNOWN_PASS, *bad_flag = i;
  }
  if (status == OK) {
    void *options = spvOptimizerOptionsCreate();
    spvOptimizerOptionsSetRunValidator(options, 0);  // validate() is a step of its own
    Words result = {0, 0, 0};
    if (!optimizer_run(&optimizer, words, count, &result, options)) {
      status = FAILED;
    } else {
      *out_count = (size_t)(result.end - result.begin);
      *out = malloc(*out_count * sizeof(uint32_t));
      if (*out) memcpy(*out, result.begin, *out_count * sizeof(uint32_t));
      else status = NO_MEMORY;
    }
    if (result.begin) operator_delete(result.begin);
    spvOptimizerOptionsDestroy(options);
  }
  optimizer_delete(&optimizer);
  return status;
}

void tvmw_spirv_free(uint32_t *words) { free(words); }
