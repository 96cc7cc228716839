// Rows of activations: embedded, normalised, quantized. Part of a level.

constexpr int kRowsAtOnce = 16;  // each step runs over so many rows, so that the steps of different rows overlap
constexpr float kLeastGelu = -0.17f;  // GELU is nowhere below it

// Quantization of the range lo..hi, which holds 0, to 8 bits.
INLINE Row range_of(float lo, float hi) {
  float scale = (hi - lo) * (1.f / 255);
  scale = scale > 1e-12f ? scale : 1e-12f;
  return {scale, __builtin_nearbyintf(-lo / scale)};
}

INLINE void quantize_row(const float* x, int width, Row row, Quantized* q) {
  const F inverse = set(1.f / row.scale), zero = set(row.zero);
  for (int k = 0; k < width; k += 4 * kLanes) {
    I values[4];
    EACH(4, j) values[j] = to_int(fma(load(x + k + kLanes * j), inverse, zero));
    store_quantized(q + k, values);
  }
}

INLINE Row range_of_row(const float* x, int width) {
  F lo[2] = {zero_f(), zero_f()}, hi[2] = {zero_f(), zero_f()};
  for (int k = 0; k < width; k += 2 * kLanes) EACH(2, j) {
    const F v = load(x + k + kLanes * j);
    lo[j] = min_f(lo[j], v);
    hi[j] = max_f(hi[j], v);
  }
  return range_of(least(min_f(lo[0], lo[1])), largest(max_f(hi[0], hi[1])));
}

void quantize(const float* rows, int count, int width, void* quantized, Row* ranges) {
  for (int i = 0; i < count; i++) ranges[i] = range_of_row(rows + (size_t)i * width, width);
  for (int i = 0; i < count; i++)
    quantize_row(rows + (size_t)i * width, width, ranges[i], (Quantized*)quantized + (size_t)i * width);
}

INLINE float mean_of(const float* x, int hidden, int width) {
  F sum[4];
  EACH(4, j) sum[j] = zero_f();
  for (int k = 0; k < width; k += 4 * kLanes) EACH(4, j) sum[j] = add(sum[j], load(x + k + kLanes * j));
  return total(add(add(sum[0], sum[1]), add(sum[2], sum[3]))) / (float)hidden;
}

// Mean of the squared distances from the mean; the zeros behind the row are taken off again.
INLINE float variance_of(const float* x, float mean, int hidden, int width) {
  F sum[4];
  EACH(4, j) sum[j] = zero_f();
  const F m = set(mean);
  for (int k = 0; k < width; k += 4 * kLanes) EACH(4, j) {
    const F v = sub(load(x + k + kLanes * j), m);
    sum[j] = fma(v, v, sum[j]);
  }
  const float sum_of_squares = total(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  const float variance = (sum_of_squares - (float)(width - hidden) * mean * mean) / (float)hidden;
  return variance > 0 ? variance : 0;
}

void normalize(float* rows, const Norm& norm, int count, int hidden, int width, float epsilon, void* quantized,
               Row* ranges) {
  for (int start = 0; start < count; start += kRowsAtOnce) {
    const int n = count - start < kRowsAtOnce ? count - start : kRowsAtOnce;
    float* x = rows + (size_t)start * width;
    float mean[kRowsAtOnce], inverse[kRowsAtOnce];
    for (int i = 0; i < n; i++) mean[i] = mean_of(x + (size_t)i * width, hidden, width);
    for (int i = 0; i < n; i++) inverse[i] = variance_of(x + (size_t)i * width, mean[i], hidden, width);
    for (int i = 0; i < n; i++) inverse[i] = 1.f / __builtin_sqrtf(inverse[i] + epsilon);
    for (int i = 0; i < n; i++) {
      float* row = x + (size_t)i * width;
      const F scale = set(inverse[i]), shift = set(-mean[i] * inverse[i]);
      F lo[2] = {zero_f(), zero_f()}, hi[2] = {zero_f(), zero_f()};
      for (int k = 0; k < width; k += 2 * kLanes) EACH(2, j) {
        const int at = k + kLanes * j;
        const F v = fma(fma(load(row + at), scale, shift), load(norm.weight + at), load(norm.bias + at));
        store(row + at, v);
        lo[j] = min_f(lo[j], v);
        hi[j] = max_f(hi[j], v);
      }
      ranges[start + i] = range_of(least(min_f(lo[0], lo[1])), largest(max_f(hi[0], hi[1])));
    }
    for (int i = 0; i < n; i++)
      quantize_row(x + (size_t)i * width, width, ranges[start + i], (Quantized*)quantized + (size_t)(start + i) * width);
  }
}

#ifdef FQ_STORED_FLOAT
INLINE void quantize_stored_row(const Stored* x, int width, Row row, Quantized* q) { quantize_row(x, width, row, q); }
#endif

void quantize_stored(const void* stored, const float* tops, int members, size_t top_step, int count, int width,
                     void* quantized, Row* ranges) {
  for (int i = 0; i < count; i++) {
    F top = load(tops + 16 * i);
    for (int member = 1; member < members; member++) top = max_f(top, load(tops + member * top_step + 16 * i));
    ranges[i] = range_of(kLeastGelu, largest(top));
  }
  for (int i = 0; i < count; i++)
    quantize_stored_row((const Stored*)stored + (size_t)i * width, width, ranges[i],
                        (Quantized*)quantized + (size_t)i * width);
}

void embed(const Encoder& encoder, const int32_t* ids, int position, int count, float* rows) {
  const int hidden = encoder.hidden, width = encoder.width;
  for (int i = 0; i < count; i++) {
    const int8_t* word = encoder.words + (size_t)ids[i] * hidden;
    const float* at = encoder.position_rows + (size_t)(position + i) * width;
    float* row = rows + (size_t)i * width;
    if (i + 4 < count)
      for (int k = 0; k < hidden; k += 64) prefetch(encoder.words + (size_t)ids[i + 4] * hidden + k);
    const float scale = encoder.word_scales[ids[i]];
    int k = 0;
    for (; k + kLanes <= hidden; k += kLanes) store(row + k, fma(load_int8(word + k), set(scale), load(at + k)));
    for (; k < hidden; k++) row[k] = __builtin_fmaf((float)word[k], scale, at[k]);
    for (; k < width; k++) row[k] = 0;
  }
}
