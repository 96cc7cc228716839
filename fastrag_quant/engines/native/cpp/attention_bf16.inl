// Attention of one head over one text, in bfloat16 products with float sums. Part of the level AVX512-BF16.
// log2(e) / sqrt(head) is in the queries' weights already, so that the softmax takes powers of 2.

#ifdef __clang__
INLINE void dot(F& c, I a, I b) { c = _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
#else  // GCC 12 copies the sums around the intrinsic
INLINE void dot(F& c, I a, I b) { asm("vdpbf16ps %2,%1,%0" : "+v"(c) : "v"(a), "v"(b)); }
#endif

constexpr int kQueries = 8;  // rows of scores at a time

// 2^x to 2.3e-4, before the result is rounded to bfloat16: sixteenths from a table, the rest linear. The additions and
// the scaling run on pipes that the dots leave free.
alignas(64) static const float kPowers[2][16] = {
    {1.0001173f, 1.0443963f, 1.0906357f, 1.1389222f, 1.1893466f, 1.2420035f, 1.2969917f, 1.3544144f, 1.4143795f,
     1.4769994f, 1.5423917f, 1.6106792f, 1.6819901f, 1.7564582f, 1.8342232f, 1.9154312f},
    {0.69312009f, 0.72380714f, 0.75585282f, 0.78931728f, 0.82426334f, 0.8607566f, 0.89886555f, 0.93866173f,
     0.98021983f, 1.0236179f, 1.0689373f, 1.1162632f, 1.1656844f, 1.2172937f, 1.2711878f, 1.3274681f}};

INLINE F power_of_2(F x) {
  const F magic = set(786432.f);  // 1.5 * 2^19: the low bits of the sum count sixteenths
  const F sum = add(x, magic), sixteenths = sub(sum, magic), rest = sub(x, sixteenths);
  const F a = _mm512_permutexvar_ps((I)sum, load(kPowers[0])), b = _mm512_permutexvar_ps((I)sum, load(kPowers[1]));
  return times_power_of_2(fma(b, rest, a), sixteenths);
}

INLINE void transpose_16_dwords(I* r) {
  I t[16];
  EACH(8, i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  EACH(4, i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  EACH(4, i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  EACH(8, i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
  }
}

struct Keys {
  const Stored* transposed;  // [padded / 16][head / 2][16 keys][2]
  int length, padded;
};

INLINE void store_powers(Stored* p, F x, F y) { store_i(p, (I)_mm512_cvtne2ps_pbh(y, x)); }

// Scores of 8 queries against kVectors * 16 keys from key on: their powers of 2 and sums, or only the largest.
template <int kHead, int kVectors, bool kLargest>
INLINE void scores(const Stored* q, const Keys& keys, int key, const float* shift, F* sum, Stored* powers) {
  F c[kQueries][kVectors];
  EACH(kQueries, i) EACH(kVectors, j) c[i][j] = kLargest ? zero_f() : set(shift[i]);
  EACH(kHead / 2, p) {
    I b[kVectors];
    EACH(kVectors, j) b[j] = load_i(keys.transposed + (size_t)(key + 16 * j) * kHead + p * 32);
    EACH(kQueries, i) {
      const I a = broadcast_dword(q + i * kHead + 2 * p);
      EACH(kVectors, j) dot(c[i][j], a, b[j]);
    }
  }
  if (key + 16 * kVectors > keys.length)
    EACH(kQueries, i) EACH(kVectors, j) c[i][j] = keep_first(c[i][j], keys.length - key - 16 * j, -1e30f);
  EACH(kQueries, i) {
    if (kLargest) {
      EACH(kVectors, j) sum[i] = max_f(sum[i], c[i][j]);
      continue;
    }
    EACH(kVectors, j) c[i][j] = power_of_2(c[i][j]);
    Stored* to = powers + (size_t)i * keys.padded + key;
    if constexpr (kVectors == 2) {
      sum[i] = add(sum[i], add(c[i][0], c[i][1]));
      store_powers(to, c[i][0], c[i][1]);
    } else {
      sum[i] = add(sum[i], c[i][0]);
      _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(c[i][0]));
    }
  }
}

// 32 keys; the powers of 2 of the 32 keys before run between the dots.
template <int kHead, bool kBefore>
INLINE void scores_piped(const Stored* q, const Keys& keys, int key, const float* shift, F* sum, Stored* powers,
                         float* now, const float* before) {
  F c[kQueries][2], even = zero_f();
  EACH(kQueries, i) c[i][0] = c[i][1] = set(shift[i]);
  auto dots = [&](int p) ALWAYS_INLINE {
    const Stored* k = keys.transposed + (size_t)key * kHead + p * 32;
    const I b0 = load_i(k), b1 = load_i(k + 16 * kHead);
    EACH(kQueries, i) {
      const I a = broadcast_dword(q + i * kHead + 2 * p);
      dot(c[i][0], a, b0);
      dot(c[i][1], a, b1);
    }
  };
  EACH(16, p) {
    dots(p);
    if (kBefore) {
      const F x = power_of_2(load(before + 16 * p));
      const int i = p / 2;
      if (p % 2) {
        sum[i] = add(sum[i], add(even, x));
        store_powers(powers + (size_t)i * keys.padded + key - 32, even, x);
      }
      even = x;
    }
  }
  for (int p = 16; p < kHead / 2; p += 4) EACH(4, u) dots(p + u);
  EACH(kQueries, i) {
    store(now + 32 * i, c[i][0]);
    store(now + 32 * i + 16, c[i][1]);
  }
}

template <int kHead, bool kLargest>
INLINE void all_scores(const Stored* q, const Keys& keys, const float* shift, F* sum, Stored* powers) {
  int key = 0;
  if (!kLargest && keys.length >= 32) {
    alignas(64) float kept[2][32 * kQueries];
    int side = 1;
    scores_piped<kHead, false>(q, keys, 0, shift, sum, powers, kept[0], kept[1]);
    for (key = 32; key + 32 <= keys.length; key += 32, side ^= 1)
      scores_piped<kHead, true>(q, keys, key, shift, sum, powers, kept[side], kept[side ^ 1]);
    EACH(kQueries, i) {
      const float* last = kept[side ^ 1] + 32 * i;
      const F x = power_of_2(load(last)), y = power_of_2(load(last + 16));
      sum[i] = add(sum[i], add(x, y));
      store_powers(powers + (size_t)i * keys.padded + key - 32, x, y);
    }
  }
  for (; key + 32 <= keys.padded; key += 32) scores<kHead, 2, kLargest>(q, keys, key, shift, sum, powers);
  if (key < keys.padded) scores<kHead, 1, kLargest>(q, keys, key, shift, sum, powers);
}

// Keys by 16, dwords of two numbers; returns the largest square of a key's length.
template <int kHead>
INLINE float transpose_keys(const Stored* k, int length, int padded, Stored* to) {
  F longest = zero_f();
  for (int key = 0; key < padded; key += 16) {
    Stored* block = to + (size_t)key * kHead;
    for (int d = 0; d < kHead; d += 32) {
      I r[16];
      EACH(16, i) r[i] = key + i < length ? load_i(k + (size_t)(key + i) * kHead + d) : zero_i();
      transpose_16_dwords(r);
      EACH(16, i) store_i(block + (d / 2 + i) * 32, r[i]);
    }
    F squares = zero_f();
    for (int p = 0; p < kHead / 2; p++) {
      const I x = load_i(block + p * 32);
      dot(squares, x, x);
    }
    longest = max_f(longest, squares);
  }
  return largest(longest);
}

// Values in pairs of keys: [padded / 2][head][2].
template <int kHead>
INLINE void pair_values(const Stored* v, int length, int padded, Stored* to) {
  const I low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36,
                                 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const I high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int key = 0; key < padded; key += 2)
    for (int d = 0; d < kHead; d += 32) {
      const I a = key < length ? load_i(v + (size_t)key * kHead + d) : zero_i();
      const I b = key + 1 < length ? load_i(v + (size_t)(key + 1) * kHead + d) : zero_i();
      store_i(to + (size_t)key * kHead + 2 * d, _mm512_permutex2var_epi16(a, low, b));
      store_i(to + (size_t)key * kHead + 2 * d + 32, _mm512_permutex2var_epi16(a, high, b));
    }
}

// No less than the largest square of a query's length: a sum over lanes of the largest part in each.
template <int kHead>
INLINE float longest_query(const Stored* q, int length) {
  F widest = zero_f();
  for (int i = 0; i < length; i++) {
    F squares = zero_f();
    for (int d = 0; d < kHead; d += 32) {
      const I x = load_i(q + (size_t)i * kHead + d);
      dot(squares, x, x);
    }
    widest = max_f(widest, squares);
  }
  return total(widest);
}

template <int kHead>
INLINE void weigh_values(const Stored* powers, const Stored* pairs, const Keys& keys, const float* inverse, int rows,
                         float* out, int out_stride) {
  for (int d = 0; d < kHead; d += 32) {
    F c[kQueries][2];
    EACH(kQueries, r) c[r][0] = c[r][1] = zero_f();
    for (int key = 0; key < keys.padded; key += 4) EACH(2, u) {
      const Stored* v = pairs + (size_t)(key + 2 * u) * kHead + 2 * d;
      const I b0 = load_i(v), b1 = load_i(v + 32);
      EACH(kQueries, r) {
        const I a = broadcast_dword(powers + (size_t)r * keys.padded + key + 2 * u);
        dot(c[r][0], a, b0);
        dot(c[r][1], a, b1);
      }
    }
    EACH(kQueries, r) if (r < rows) {
      const F s = set(inverse[r]);
      store(out + (size_t)r * out_stride + d, mul(c[r][0], s));
      store(out + (size_t)r * out_stride + d + 16, mul(c[r][1], s));
    }
  }
}

template <int kHead>
void attend_head(const Stored* q, const Stored* k, const Stored* v, int length, float* out, int out_stride,
                 Stored* scratch) {
  const int padded = (length + 15) / 16 * 16;
  Stored *transposed = scratch, *pairs = transposed + (size_t)padded * kHead, *powers = pairs + (size_t)padded * kHead;
  const Keys keys = {transposed, length, padded};
  const float longest_key = transpose_keys<kHead>(k, length, padded, transposed);
  pair_values<kHead>(v, length, padded, pairs);
  // |q||k| bounds every score. Below 100, 2^score needs no shift (the usual case); else each row's largest is taken off.
  const bool far = !(longest_query<kHead>(q, length) * longest_key <= 1e4f);
  for (int i = 0; i < length; i += kQueries) {  // the last rows may run past the text: their results are not kept
    const Stored* rows = q + (size_t)i * kHead;
    F sum[kQueries];
    float shift[kQueries] = {}, inverse[kQueries];
    if (far) {
      EACH(kQueries, r) sum[r] = set(-1e30f);
      all_scores<kHead, true>(rows, keys, shift, sum, powers);
      for (int r = 0; r < kQueries; r++) shift[r] = -largest(sum[r]);
    }
    EACH(kQueries, r) sum[r] = zero_f();
    all_scores<kHead, false>(rows, keys, shift, sum, powers);
    for (int r = 0; r < kQueries; r++) inverse[r] = 1.f / total(sum[r]);
    weigh_values<kHead>(powers, pairs, keys, inverse, length - i, out + (size_t)i * out_stride, out_stride);
  }
}

size_t attend_scratch(int head, int length) {
  return (size_t)((length + 15) / 16 * 16) * (2 * head + kQueries) * sizeof(Stored);
}

void attend(int head, const void* q, const void* k, const void* v, int length, float* out, int out_stride,
            void* scratch) {
  const auto run = head == 32 ? attend_head<32> : attend_head<64>;
  run((const Stored*)q, (const Stored*)k, (const Stored*)v, length, out, out_stride, (Stored*)scratch);
}
