// What a forward pass is given: an encoder's weights as the kernels want them, and texts packed one behind the other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastrag_quant {

// How a row of activations was quantized: value = scale * (quantized - zero).
struct Row {
  float scale, zero;
};

struct Norm {
  const float *weight, *bias;  // [width]
};

// Int8 weights in the panels of a level's kernels, a scale per output, the sums of the weights of each output.
struct Linear {
  const void* panels;
  const float *scale, *sums, *bias;
  int inputs, outputs;  // multiples of kColumnStep and of kChunk
};

struct Layer {
  Linear query_key_value, output, up, down;
  Norm attention_norm, output_norm;
};

constexpr int kWidthStep = 128;  // rows are padded with zeros to a multiple of this
constexpr int kHeadColumns = 64;  // columns of queries, keys and values that are made before their heads attend

// hidden: numbers per token; width: the same, padded. inner: heads * head, padded. Zeros stand in what is padded.
struct Encoder {
  int hidden, width, heads, head, inner, feed_forward;
  int vocabulary, positions;
  int padding;  // the token that takes no position, -1 where all take one
  float epsilon;
  const int8_t* words;       // [vocabulary][hidden]
  const float* word_scales;  // [vocabulary]
  const float* position_rows;  // [positions][width], and that of padding
  Norm embedding_norm;
  std::vector<Layer> layers;
};

// Texts one behind the other: offsets has one entry more than there are texts.
struct Tokens {
  const int32_t *ids, *offsets;
  int texts;
  int count() const { return offsets[texts]; }
};

}  // namespace fastrag_quant
