// Vectors of 16 lanes. Part of the AVX512 levels.
using F = __m512;
using I = __m512i;
constexpr int kLanes = 16;
constexpr int kTileRows = 12;
using Quantized = uint8_t;
using Weight = int8_t;

INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F set(float x) { return _mm512_set1_ps(x); }
INLINE F zero_f() { return _mm512_setzero_ps(); }
INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F min_f(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F max_f(F a, F b) { return _mm512_max_ps(a, b); }
INLINE float total(F x) { return _mm512_reduce_add_ps(x); }
INLINE float least(F x) { return _mm512_reduce_min_ps(x); }
INLINE float largest(F x) { return _mm512_reduce_max_ps(x); }
INLINE F keep_first(F x, int lanes, float otherwise) {
  return _mm512_mask_blend_ps((__mmask16)(lanes >= 16 ? 0xffff : lanes <= 0 ? 0 : (1 << lanes) - 1), set(otherwise), x);
}

INLINE I load_i(const void* p) { return _mm512_loadu_si512(p); }
INLINE void store_i(void* p, I x) { _mm512_storeu_si512(p, x); }
INLINE I zero_i() { return _mm512_setzero_si512(); }
INLINE F to_float(I x) { return _mm512_cvtepi32_ps(x); }
INLINE I to_int(F x) { return _mm512_cvtps_epi32(x); }
INLINE F load_int8(const int8_t* p) { return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))); }
INLINE I broadcast_dword(const void* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return _mm512_set1_epi32(x);
}
INLINE void prefetch_near(const void* p) { asm volatile("prefetcht0 %0" ::"m"(*(const char*)p)); }
INLINE void prefetch(const void* p) { asm volatile("prefetcht1 %0" ::"m"(*(const char*)p)); }

#ifdef __clang__
INLINE void dot(I& c, I a, I b) { c = _mm512_dpbusd_epi32(c, a, b); }
#else  // GCC 12 copies the sums around the intrinsic
INLINE void dot(I& c, I a, I b) { asm("vpdpbusd %2,%1,%0" : "+v"(c) : "v"(a), "v"(b)); }
#endif

// 64 integers to bytes, 0 to 255
INLINE void store_quantized(Quantized* q, const I* x) {
  const I bytes = _mm512_packus_epi16(_mm512_packs_epi32(x[0], x[1]), _mm512_packs_epi32(x[2], x[3]));
  const I order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  store_i(q, _mm512_permutexvar_epi32(order, bytes));
}

// x * Phi(x) by quadratics on quarters of [-4, 4]: 6e-5 of the exact value, 5e-4 at the ends, where the 8 bits that the
// result is quantized to cannot tell the difference.
alignas(64) static const float kGelu[3][32] = {
    {2.0260719e-06f, -0.00063657389f, -0.010522575f, -0.046558865f, -0.11917959f, -0.22056478f, -0.32526534f,
     -0.40238045f, -0.43075851f, -0.40629586f, -0.3427641f, -0.26097453f, -0.18059075f, -0.11418676f, -0.066245524f,
     0.f, 0.f, -0.035412884f, -0.066245524f, -0.11418676f, -0.18059075f, -0.26097453f, -0.3427641f, -0.40629586f,
     -0.43075851f, -0.40238045f, -0.32526534f, -0.22056478f, -0.11917959f, -0.046558865f, -0.010522575f,
     -0.00063657389f},
    {0.5f, 0.50790013f, 0.55881389f, 0.67318985f, 0.83914586f, 1.020025f, 1.1732647f, 1.2690942f, 1.3000267f,
     1.2773659f, 1.223989f, 1.161639f, 1.1056187f, 1.0630129f, 1.0345183f, 1.f, 0.f, -0.017450064f, -0.034518317f,
     -0.063012856f, -0.10561872f, -0.161639f, -0.22398898f, -0.27736585f, -0.30002673f, -0.26909415f, -0.17326474f,
     -0.020025007f, 0.16085414f, 0.32681015f, 0.44118611f, 0.49209987f},
    {0.39790538f, 0.37346575f, 0.3073957f, 0.2163489f, 0.12137726f, 0.040620308f, -0.015486561f, -0.045270075f,
     -0.053698945f, -0.04845093f, -0.037237208f, -0.025352315f, -0.015590541f, -0.0087555157f, -0.0045210315f, 0.f,
     0.f, -0.0021586695f, -0.0045210315f, -0.0087555157f, -0.015590541f, -0.025352315f, -0.037237208f, -0.04845093f,
     -0.053698945f, -0.045270075f, -0.015486561f, 0.040620308f, 0.12137726f, 0.2163489f, 0.3073957f, 0.37346575f}};

INLINE F gelu(F x) {
  // 1.5 * 2^21: the low bits of the sum count quarters
  const I quarter = (I)add(max_f(min_f(x, set(3.75f)), set(-4.f)), set(3145728.f));
  const F a = _mm512_permutex2var_ps(load(kGelu[0]), quarter, load(kGelu[0] + 16));
  const F b = _mm512_permutex2var_ps(load(kGelu[1]), quarter, load(kGelu[1] + 16));
  const F c = _mm512_permutex2var_ps(load(kGelu[2]), quarter, load(kGelu[2] + 16));
  return fma(fma(c, x, b), x, a);
}

INLINE F times_power_of_2(F x, F whole) { return _mm512_scalef_ps(x, whole); }
