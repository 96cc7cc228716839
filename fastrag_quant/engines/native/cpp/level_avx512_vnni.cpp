// AVX512 with VNNI; attention in float.
#include "level.h"

namespace fastrag_quant {
namespace {
#include "avx512.inl"

#include "attention_float.inl"
#include "product.inl"
#include "rows.inl"
}  // namespace

#include "table.inl"
extern const Kernels kAvx512Vnni = FQ_TABLE("avx512_vnni");
}  // namespace fastrag_quant
