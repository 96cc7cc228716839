/* The library's C interface, as Python's ctypes calls it. A function that can fail returns NULL or a number that is
   not 0, and fq_error() says why, in the calling thread. */
#pragma once
#include <stdint.h>

#define FQ_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fq_encoder fq_encoder;
typedef struct fq_pool fq_pool;
typedef struct fq_job fq_job;

typedef struct {
  int32_t hidden, heads, layers, feed_forward, vocabulary, positions;
  int32_t padding; /* the token that takes no position, -1 where all take one */
  float epsilon;
} fq_shape;

typedef struct {
  const int8_t* weight; /* [outputs][inputs] */
  const float *scale, *bias; /* [outputs] */
} fq_linear;

typedef struct {
  const float *weight, *bias;
} fq_norm;

typedef struct {
  fq_linear query_key_value, output, up, down; /* query, key and value one behind the other */
  fq_norm attention_norm, output_norm;
} fq_layer;

typedef struct {
  const int8_t* words; /* [vocabulary][hidden]; must outlive the encoder */
  const float* word_scales; /* [vocabulary] */
  const float* positions; /* [positions][hidden], and a row more for the token of padding, where there is one */
  fq_norm norm;
} fq_embeddings;

FQ_EXPORT const char* fq_error(void);

/* Level number `index`, from the lowest; NULL behind the last. */
FQ_EXPORT const char* fq_level(int32_t index, int32_t* is_built, int32_t* runs_here);

/* The level that an encoder gets that asks for `wanted`, NULL for the best that runs here. */
FQ_EXPORT const char* fq_chosen_level(const char* wanted);

/* level: NULL for the highest that runs here. All but the words is copied. */
FQ_EXPORT fq_encoder* fq_encoder_new(const fq_shape*, const fq_embeddings*, const char* level);
FQ_EXPORT int32_t fq_encoder_set_layer(fq_encoder*, int32_t index, const fq_layer*);
FQ_EXPORT const char* fq_encoder_level(const fq_encoder*);
FQ_EXPORT void fq_encoder_free(fq_encoder*);

FQ_EXPORT fq_pool* fq_pool_new(int32_t threads, int32_t pin);
FQ_EXPORT void fq_pool_free(fq_pool*);

/* ids of all texts, and texts + 1 offsets. pooling: 0 for the vectors of all tokens, 1 for the first token's, 2 for
   the mean. out: float [texts or tokens][hidden]. All must stay as they are until the pass is over. */
FQ_EXPORT int32_t fq_encode(fq_pool*, const fq_encoder*, const int32_t* ids, const int32_t* offsets, int32_t texts,
                  int32_t pooling, int32_t normalize, float* out);
/* The job is written where the caller keeps it, for a caller may be interrupted before it has read what is returned. */
FQ_EXPORT int32_t fq_submit(fq_pool*, const fq_encoder*, const int32_t* ids, const int32_t* offsets, int32_t texts,
                  int32_t pooling, int32_t normalize, float* out, fq_job**);
FQ_EXPORT int32_t fq_wait(fq_pool*, fq_job**); /* frees the job and makes it null, and does nothing where it is */

#ifdef __cplusplus
}
#endif
