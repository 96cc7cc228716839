// Vectors of 8 lanes. Part of the levels AVX2 and AVX-VNNI, which differ in the dot product.
using F = __m256;
using I = __m256i;
constexpr int kLanes = 8;
constexpr int kTileRows = 6;

INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x); }
INLINE F set(float x) { return _mm256_set1_ps(x); }
INLINE F zero_f() { return _mm256_setzero_ps(); }
INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
INLINE F min_f(F a, F b) { return _mm256_min_ps(a, b); }
INLINE F max_f(F a, F b) { return _mm256_max_ps(a, b); }
INLINE float total(F x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float least(F x) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}
INLINE float largest(F x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
INLINE F keep_first(F x, int lanes, float otherwise) {
  const I lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_blendv_ps(set(otherwise), x, (F)_mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), lane));
}

INLINE I load_i(const void* p) { return _mm256_loadu_si256((const I*)p); }
INLINE void store_i(void* p, I x) { _mm256_storeu_si256((I*)p, x); }
INLINE I zero_i() { return _mm256_setzero_si256(); }
INLINE F to_float(I x) { return _mm256_cvtepi32_ps(x); }
INLINE I to_int(F x) { return _mm256_cvtps_epi32(x); }
INLINE F load_int8(const int8_t* p) { return to_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p))); }
INLINE I broadcast_dword(const void* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}
INLINE void prefetch_near(const void* p) { asm volatile("prefetcht0 %0" ::"m"(*(const char*)p)); }
INLINE void prefetch(const void* p) { asm volatile("prefetcht1 %0" ::"m"(*(const char*)p)); }

constexpr int kPhiTerms = 8;
static const float kPhi[kPhiTerms] = {3.98673384e-01f, -6.58878237e-02f, 9.50538626e-03f,  -1.00648692e-03f,
                                      7.48545134e-05f, -3.65708846e-06f, 1.04194144e-07f, -1.30126176e-09f};

// x * Phi(x), Phi by an odd polynomial on [-4, 4]: 4e-5 of the exact value, where the 8 bits that the result is
// quantized to cannot tell the difference.
INLINE F gelu(F x) {
  const F t = max_f(min_f(x, set(4.f)), set(-4.f)), s = mul(t, t);
  F p = set(kPhi[kPhiTerms - 1]);
  EACH(kPhiTerms - 1, i) p = fma(p, s, set(kPhi[kPhiTerms - 2 - i]));
  return mul(x, fma(p, t, set(.5f)));
}

INLINE F times_power_of_2(F x, F whole) {
  return mul(x, (F)_mm256_slli_epi32(_mm256_add_epi32(to_int(max_f(whole, set(-127.f))), _mm256_set1_epi32(127)), 23));
}

