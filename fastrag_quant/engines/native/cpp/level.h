// What the translation unit of a level begins with. Nothing here may have external linkage, and no function template
// or inline function of the standard library may be called in a level: the linker keeps one copy of each, and that
// copy could be made of instructions that another level's CPU does not have.
#pragma once
#include <immintrin.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#define ALWAYS_INLINE __attribute__((always_inline))
#ifdef __clang__
#define EACH(N, i) _Pragma("clang loop unroll(full)") for (int i = 0; i < (N); i++)
#else
#define EACH(N, i) _Pragma("GCC unroll 16") for (int i = 0; i < (N); i++)
#endif
