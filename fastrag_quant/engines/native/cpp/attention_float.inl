// Attention of one head over one text, in float. Part of the levels without bfloat16.
// log2(e) / sqrt(head) is in the queries' weights already, so that the softmax takes powers of 2.

using Stored = float;
#define FQ_STORED_FLOAT
INLINE void store_pair(Stored* p, F x, F y) {
  store(p, x);
  store(p + kLanes, y);
}

constexpr int kQueries = 4;  // rows of scores at a time
constexpr int kKeys = 2 * kLanes;

INLINE F power_of_2(F x) {
  x = max_f(x, set(-126.f));
  const F magic = set(12582912.f), whole = sub(add(x, magic), magic), r = sub(x, whole);
  F p = set(1.3333558e-3f);
  p = fma(p, r, set(9.6181291e-3f));
  p = fma(p, r, set(5.5504109e-2f));
  p = fma(p, r, set(2.4022651e-1f));
  p = fma(p, r, set(6.9314718e-1f));
  return times_power_of_2(fma(p, r, set(1.f)), whole);
}

INLINE int padded_keys(int length) { return (length + kKeys - 1) / kKeys * kKeys; }

size_t attend_scratch(int head, int length) { return (size_t)padded_keys(length) * (head + kQueries) * sizeof(float); }

INLINE void scores_of(const float* q, int head, const float* keys, int length, int padded, float* scores,
                      float* inverse) {
  F largest_of[kQueries], sum[kQueries];
  EACH(kQueries, i) largest_of[i] = set(-1e30f);
  for (int k = 0; k < padded; k += kKeys) {
    F c[kQueries][2];
    EACH(kQueries, i) c[i][0] = c[i][1] = zero_f();
    for (int d = 0; d < head; d++) {
      const F b0 = load(keys + (size_t)d * padded + k), b1 = load(keys + (size_t)d * padded + k + kLanes);
      EACH(kQueries, i) {
        const F a = set(q[i * head + d]);
        c[i][0] = fma(a, b0, c[i][0]);
        c[i][1] = fma(a, b1, c[i][1]);
      }
    }
    EACH(kQueries, i) EACH(2, j) {
      const F x = keep_first(c[i][j], length - k - kLanes * j, -1e30f);
      largest_of[i] = max_f(largest_of[i], x);
      store(scores + (size_t)i * padded + k + kLanes * j, x);
    }
  }
  EACH(kQueries, i) {
    const F shift = set(largest(largest_of[i]));
    sum[i] = zero_f();
    for (int k = 0; k < padded; k += kLanes) {
      const F p = keep_first(power_of_2(sub(load(scores + (size_t)i * padded + k), shift)), length - k, 0.f);
      sum[i] = add(sum[i], p);
      store(scores + (size_t)i * padded + k, p);
    }
    inverse[i] = 1.f / total(sum[i]);
  }
}

void attend(int head, const void* queries, const void* keys, const void* values, int length, float* out, int out_stride,
            void* scratch) {
  const float *q = (const float*)queries, *k = (const float*)keys, *v = (const float*)values;
  const int padded = padded_keys(length);
  float *transposed = (float*)scratch, *scores = transposed + (size_t)padded * head;
  for (int d = 0; d < head; d++) {
    for (int i = 0; i < length; i++) transposed[(size_t)d * padded + i] = k[(size_t)i * head + d];
    for (int i = length; i < padded; i++) transposed[(size_t)d * padded + i] = 0;
  }
  for (int i = 0; i < length; i += kQueries) {  // the last rows may run past the text: their results are not kept
    float inverse[kQueries];
    scores_of(q + (size_t)i * head, head, transposed, length, padded, scores, inverse);
    for (int d = 0; d < head; d += 2 * kLanes) {
      F c[kQueries][2];
      EACH(kQueries, r) c[r][0] = c[r][1] = zero_f();
      for (int key = 0; key < length; key++) {
        const F b0 = load(v + (size_t)key * head + d), b1 = load(v + (size_t)key * head + d + kLanes);
        EACH(kQueries, r) {
          const F p = set(scores[(size_t)r * padded + key]);
          c[r][0] = fma(p, b0, c[r][0]);
          c[r][1] = fma(p, b1, c[r][1]);
        }
      }
      EACH(kQueries, r) if (i + r < length) {
        const F s = set(inverse[r]);
        store(out + (size_t)(i + r) * out_stride + d, mul(c[r][0], s));
        store(out + (size_t)(i + r) * out_stride + d + kLanes, mul(c[r][1], s));
      }
    }
  }
}

