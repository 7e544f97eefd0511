// A program around LLD's WebAssembly linker alone: `wasm-ld ARGUMENTS...`, objects in, a module out.
//
// The linker has a C++ interface only. This file calls it through the Itanium C++ ABI, so that building it takes no
// C++ compiler and no headers. What the linker holds for link-time optimisation, all of LLVM's passes and targets, is
// left out: the definitions below take the place of those in the archives, which are then reached by nothing.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

typedef struct { const char *const *data; size_t size; } Arguments;  // llvm::ArrayRef<const char *>

extern void *standard_output(void) __asm__("_ZN4llvm4outsEv");
extern void *standard_error(void) __asm__("_ZN4llvm4errsEv");
extern _Bool link_wasm(Arguments, void *output, void *error, _Bool exit_early, _Bool disable_output) __asm__(
    "_ZN3lld4wasm4linkEN4llvm8ArrayRefIPKcEERNS1_11raw_ostreamES7_bb");

#define NOTHING(name, symbol) void name(void) __asm__(symbol); void name(void) {}
NOTHING(targets, "_ZN4llvm20InitializeAllTargetsEv")
NOTHING(target_infos, "_ZN4llvm24InitializeAllTargetInfosEv")
NOTHING(target_codes, "_ZN4llvm22InitializeAllTargetMCsEv")
NOTHING(printers, "_ZN4llvm24InitializeAllAsmPrintersEv")
NOTHING(parsers, "_ZN4llvm23InitializeAllAsmParsersEv")
NOTHING(flags_new, "_ZN4llvm7codegen20RegisterCodeGenFlagsC1Ev")
NOTHING(input_delete, "_ZN4llvm3lto9InputFileD1Ev")
NOTHING(compiler_delete, "_ZN3lld4wasm15BitcodeCompilerD1Ev")

static _Noreturn void refuse(void) {
  fputs("wasm-ld: this linker takes objects, no bitcode\n", stderr);
  exit(1);
}

#define REFUSED(name, symbol) void name(void) __asm__(symbol); void name(void) { refuse(); }
REFUSED(input_new, "_ZN4llvm3lto9InputFile6createENS_15MemoryBufferRefE")
REFUSED(library_calls, "_ZN4llvm3lto3LTO24getRuntimeLibcallSymbolsERKNS_6TripleE")
REFUSED(compiler_new, "_ZN3lld4wasm15BitcodeCompilerC1Ev")
REFUSED(compiler_add, "_ZN3lld4wasm15BitcodeCompiler3addERNS0_11BitcodeFileE")
REFUSED(compiler_run, "_ZN3lld4wasm15BitcodeCompiler7compileEv")

// What the archives take from newer C libraries than the oldest that this shall run on.
char __libc_single_threaded = 0;

unsigned arc4random(void) {
  unsigned number;
  return getrandom(&number, sizeof number, 0) == sizeof number ? number : 4;
}

struct mallinfo2 { size_t fields[10]; };
struct mallinfo2 mallinfo2(void) { return (struct mallinfo2){0}; }

int main(int count, char **values) {
  Arguments arguments = {(const char *const *)values, (size_t)count};
  return link_wasm(arguments, standard_output(), standard_error(), 1, 0) ? 0 : 1;
}
