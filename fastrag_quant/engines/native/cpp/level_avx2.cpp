// AVX2 and FMA: int16 products, whose sums are exact; vpmaddubsw would saturate.
#include "level.h"

namespace fastrag_quant {
namespace {
using Quantized = uint16_t;
using Weight = int16_t;
#include "avx2.inl"

INLINE void dot(I& c, I a, I b) {
#ifdef __clang__
  c = _mm256_add_epi32(c, _mm256_madd_epi16(a, b));
#else  // GCC 12 copies the sums around the intrinsics
  I product;
  asm("vpmaddwd %2,%1,%0" : "=x"(product) : "x"(a), "x"(b));
  asm("vpaddd %1,%0,%0" : "+x"(c) : "x"(product));
#endif
}

// 32 integers to words, 0 to 255
INLINE void store_quantized(Quantized* q, const I* x) {
  const I most = _mm256_set1_epi16(255);
  EACH(2, i) {
    const I words = _mm256_packus_epi32(x[2 * i], x[2 * i + 1]);
    store_i(q + 16 * i, _mm256_min_epu16(_mm256_permute4x64_epi64(words, 0xd8), most));
  }
}

#include "attention_float.inl"
#include "product.inl"
#include "rows.inl"
}  // namespace

#include "table.inl"
extern const Kernels kAvx2 = FQ_TABLE("avx2");
}  // namespace fastrag_quant
