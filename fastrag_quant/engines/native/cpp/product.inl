// The int8 matrix product. Part of a level: included in its anonymous namespace, after the level's vectors.
//
// A tile is kTileRows rows by kTileColumns columns in registers; weights lie in panels
// [outputs / kTileColumns][inputs / kGroup][kTileColumns][kGroup], so that a dword of a row meets a vector of outputs.

constexpr int kTileColumns = 2 * kLanes;
constexpr int kGroup = 4 / (int)sizeof(Quantized);  // activations in a dword
constexpr int kParts = 16;

void pack(const int8_t* weight, int inputs, int outputs, void* panels) {
  Weight* to = (Weight*)panels;
  for (int n = 0; n < outputs; n += kTileColumns)
    for (int k = 0; k < inputs; k += kGroup)
      for (int c = 0; c < kTileColumns; c++)
        for (int g = 0; g < kGroup; g++) *to++ = weight[(size_t)(n + c) * inputs + k + g];
}

// kRows rows of a tile into sums. Between the parts of the loop, rows of the tile before are finished: the adds,
// conversions, permutations and stores of an epilogue run beside the dots, which hold few of the vector pipes.
template <int kRows, class Finish, class Expect>
INLINE void tile(const uint8_t* rows, size_t row_bytes, const uint8_t* panel, const uint8_t* ahead, int* sums,
                 int unfinished, Finish finish, Expect expect) {
  I c[kRows][2];
  EACH(kRows, i) c[i][0] = c[i][1] = zero_i();
  const size_t part_bytes = row_bytes / kParts;
  for (int part = 0; part < kParts; part++) {
    if (part < unfinished) finish(part);
    if (part < kRows) expect(part);
    for (const uint8_t* end = rows + part_bytes; rows != end; rows += 8) {
      prefetch(ahead);
      ahead += 2 * kLanes * 2;
      EACH(2, u) {
        I b0 = load_i(panel), b1 = load_i(panel + 4 * kLanes);
        panel += 8 * kLanes;
        EACH(kRows, i) {
          I a = broadcast_dword(rows + i * row_bytes + 4 * u);
          dot(c[i][0], a, b0);
          dot(c[i][1], a, b1);
        }
      }
    }
  }
  EACH(kRows, i) {
    store_i(sums + kTileColumns * i, c[i][0]);
    store_i(sums + kTileColumns * i + kLanes, c[i][1]);
  }
}

// Columns from..to of the product, in tiles of nearly equal height; epilogue(row, column, first lanes, second lanes), and
// expect(row, column) a tile before it.
template <class Epilogue, class Expect>
INLINE void product(const void* quantized, const Row* rows, int count, const Linear& linear, int from, int to,
                    Epilogue epilogue, Expect expect) {
  const size_t row_bytes = (size_t)linear.inputs * sizeof(Quantized);
  const size_t panel_bytes = (size_t)kTileColumns * linear.inputs * sizeof(Weight);
  const int tiles = (count + kTileRows - 1) / kTileRows;
  const int height = tiles ? count / tiles : 0, taller = tiles ? count % tiles : 0;
  alignas(64) int sums[2][kTileRows * kTileColumns];
  int side = 0, unfinished = 0, last_row = 0, last_column = 0;
  auto finish = [&](int i) ALWAYS_INLINE {
    const int* c = sums[side ^ 1] + kTileColumns * i;
    const F scale = set(rows[last_row + i].scale), zero = set(-rows[last_row + i].zero);
    F out[2];
    EACH(2, j) {
      const int column = last_column + kLanes * j;
      const F dots = fma(zero, load(linear.sums + column), to_float(load_i(c + kLanes * j)));
      out[j] = fma(dots, mul(scale, load(linear.scale + column)), load(linear.bias + column));
    }
    epilogue(last_row + i, last_column, out[0], out[1]);
  };
  for (int column = from; column < to; column += kTileColumns) {
    const uint8_t* panel = (const uint8_t*)linear.panels + column / kTileColumns * panel_bytes;
    for (int t = 0, row = 0; t < tiles; t++) {
      const uint8_t* a = (const uint8_t*)quantized + row * row_bytes;
      const int h = height + (t < taller);
      // Each of four tiles asks for a quarter of the next panel; a single pass is left to the hardware.
      const uint8_t* ahead = tiles == 1 ? a : panel + panel_bytes + (t & 3) * (panel_bytes / 4);
      switch (h) {
#define FQ_TILE(R)                                                            \
  case R:                                                                     \
    if constexpr (R <= kTileRows) tile<R>(a, row_bytes, panel, ahead, sums[side], unfinished, finish, [=](int i) ALWAYS_INLINE { expect(row + i, column); }); \
    break;
        FQ_TILE(1) FQ_TILE(2) FQ_TILE(3) FQ_TILE(4) FQ_TILE(5) FQ_TILE(6)
        FQ_TILE(7) FQ_TILE(8) FQ_TILE(9) FQ_TILE(10) FQ_TILE(11) FQ_TILE(12)
#undef FQ_TILE
      }
      side ^= 1;
      unfinished = h;
      last_row = row;
      last_column = column;
      row += h;
    }
  }
  for (int i = 0; i < unfinished; i++) finish(i);
}

void project(const void* quantized, const Row* rows, int count, const Linear& linear, int from, int head, int capacity,
             void* to) {
  product(quantized, rows, count, linear, from, from + kHeadColumns, [=](int row, int column, F x, F y) ALWAYS_INLINE {
    const int at = column - from;
    store_pair((Stored*)to + ((size_t)(at / head) * capacity + row) * head + at % head, x, y);
  }, [](int, int) ALWAYS_INLINE {});
}

void add_product(const void* quantized, const Row* rows, int count, const Linear& linear, int from, int to,
                 float* out) {
  const size_t width = linear.outputs;
  product(quantized, rows, count, linear, from, to, [=](int row, int column, F x, F y) ALWAYS_INLINE {
    float* o = out + row * width + column;
    store(o, add(x, load(o)));
    store(o + kLanes, add(y, load(o + kLanes)));
  }, [=](int row, int column) ALWAYS_INLINE {
    prefetch_near(out + row * width + column);
    prefetch_near(out + row * width + column + kLanes);
  });
}

void gelu_product(const void* quantized, const Row* rows, int count, const Linear& linear, int from, int to,
                  void* stored, float* top) {
  const size_t width = linear.outputs;
  for (int i = 0; i < count; i++) store(top + 16 * i, zero_f());
  product(quantized, rows, count, linear, from, to, [=](int row, int column, F x, F y) ALWAYS_INLINE {
    x = gelu(x);
    y = gelu(y);
    store(top + 16 * row, max_f(load(top + 16 * row), max_f(x, y)));
    store_pair((Stored*)stored + row * width + column, x, y);
  }, [](int, int) ALWAYS_INLINE {});
}
