// The table of kernels: one for each level of instruction sets, each in a translation unit of its own.
//
// Quantized activations are bytes or 16-bit words, and stored activations bfloat16 or float, as the level likes;
// only its own kernels look into either, everybody else counts bytes.
#pragma once
#include "encoder.h"

namespace fastrag_quant {

struct Kernels {
  const char* name;
  int quantized_bytes;  // per quantized activation
  int stored_bytes;     // per number of Q, K, V and of what lies between the feed-forward products
  size_t panel_bytes;   // per weight

  // weight [outputs][inputs] to panels.
  void (*pack)(const int8_t* weight, int inputs, int outputs, void* panels);

  // Rows of word plus position, [count][width]; the first token has a position, the others follow.
  void (*embed)(const Encoder&, const int32_t* ids, int position, int count, float* rows);

  // Layer normalisation in place, and its quantized form.
  void (*normalize)(float* rows, const Norm&, int count, int hidden, int width, float epsilon, void* quantized, Row*);

  void (*quantize)(const float* rows, int count, int width, void* quantized, Row*);

  // Columns from..from+64 of queries, keys or values, one head behind the other: to is [64 / head][capacity][head].
  void (*project)(const void* quantized, const Row*, int count, const Linear&, int from, int head, int capacity,
                  void* to);

  // Attention of one head over one text: Q, K and V are [length][head]; reads up to 8 rows of Q behind the last.
  void (*attend)(int head, const void* q, const void* k, const void* v, int length, float* out, int out_stride,
                 void* scratch);
  size_t (*attend_scratch)(int head, int length);

  // rows[:, from..to) += the product.
  void (*add_product)(const void* quantized, const Row*, int count, const Linear&, int from, int to, float* rows);

  // GELU of the product to stored rows [count][outputs], and largest values of each row to top [count][16].
  void (*gelu_product)(const void* quantized, const Row*, int count, const Linear&, int from, int to, void* stored,
                       float* top);

  // Stored rows quantized; tops: of each of the members that made some of the columns, top_step floats apart.
  void (*quantize_stored)(const void* stored, const float* tops, int members, size_t top_step, int count, int width,
                          void* quantized, Row*);
};

#ifdef FQ_AVX2
extern const Kernels kAvx2;
#endif
#ifdef FQ_AVX_VNNI
extern const Kernels kAvxVnni;
#endif
#ifdef FQ_AVX512_VNNI
extern const Kernels kAvx512Vnni;
#endif
#ifdef FQ_AVX512_BF16
extern const Kernels kAvx512Bf16;
#endif

}  // namespace fastrag_quant
