// AVX2 with the byte products of AVX-VNNI.
#include "level.h"

namespace fastrag_quant {
namespace {
using Quantized = uint8_t;
using Weight = int8_t;
#include "avx2.inl"

INLINE void dot(I& c, I a, I b) {
#ifdef __clang__
  c = _mm256_dpbusd_avx_epi32(c, a, b);
#else  // GCC 12 copies the sums around the intrinsic
  asm("%{vex%} vpdpbusd %2,%1,%0" : "+x"(c) : "x"(a), "x"(b));
#endif
}

// 32 integers to bytes, 0 to 255
INLINE void store_quantized(Quantized* q, const I* x) {
  const I bytes = _mm256_packus_epi16(_mm256_packs_epi32(x[0], x[1]), _mm256_packs_epi32(x[2], x[3]));
  store_i(q, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

#include "attention_float.inl"
#include "product.inl"
#include "rows.inl"
}  // namespace

#include "table.inl"
extern const Kernels kAvxVnni = FQ_TABLE("avx_vnni");
}  // namespace fastrag_quant
