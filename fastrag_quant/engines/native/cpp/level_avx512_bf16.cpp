// AVX512 with VNNI and BF16; attention in bfloat16.
#include "level.h"

namespace fastrag_quant {
namespace {
#include "avx512.inl"

using Stored = uint16_t;  // bfloat16

INLINE void store_pair(Stored* p, F x, F y) { store_i(p, (I)_mm512_cvtne2ps_pbh(y, x)); }

#include "attention_bf16.inl"

// 64 numbers at a time: the even and the odd ones of two vectors apart, put in order again as bytes.
INLINE void quantize_stored_row(const Stored* x, int width, Row row, Quantized* q) {
  const F inverse = set(1.f / row.scale), zero = set(row.zero);
  const I high = _mm512_set1_epi32((int)0xffff0000);
  const I pairs = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  const I order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  for (int k = 0; k < width; k += 64) {
    I even[2], odd[2];
    EACH(2, j) {
      const I two = load_i(x + k + 32 * j);
      even[j] = to_int(fma((F)_mm512_slli_epi32(two, 16), inverse, zero));
      odd[j] = to_int(fma((F)_mm512_and_si512(two, high), inverse, zero));
    }
    const I bytes = _mm512_packus_epi16(_mm512_packs_epi32(even[0], even[1]), _mm512_packs_epi32(odd[0], odd[1]));
    store_i(q + k, _mm512_permutexvar_epi64(order, _mm512_shuffle_epi8(bytes, pairs)));
  }
}

#include "product.inl"
#include "rows.inl"
}  // namespace

#include "table.inl"
extern const Kernels kAvx512Bf16 = FQ_TABLE("avx512_bf16");
}  // namespace fastrag_quant
