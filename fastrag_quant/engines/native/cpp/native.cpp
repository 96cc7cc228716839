#include "native.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "levels.h"
#include "pool.h"

using namespace fastrag_quant;

namespace {

thread_local std::string last_error;

// Run a function of the interface; what it throws becomes the error, and the answer `failed`.
template <class Result, class Function>
Result guarded(Result failed, Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return failed;
}

void require(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument(message);
}

// The same for what is asked of every text and token: the message is made where it is needed.
template <class Message, class = decltype(std::declval<Message>()())>
void require(bool holds, Message message) {
  if (!holds) throw std::invalid_argument(message());
}

int padded(int n, int step) { return (n + step - 1) / step * step; }

// Where the numbers of a side of a matrix go in the padded one: head by head, or one behind the other.
std::vector<int> head_columns(int heads, int head, int padded_head, int start) {
  std::vector<int> to;
  for (int h = 0; h < heads; h++)
    for (int d = 0; d < head; d++) to.push_back(start + h * padded_head + d);
  return to;
}

std::vector<int> plain_columns(int count) {
  std::vector<int> to(count);
  for (int i = 0; i < count; i++) to[i] = i;
  return to;
}

struct AlignedDelete {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

struct fq_encoder {
  const Kernels* kernels;
  Encoder encoder;
  int head, feed_forward;  // without padding
  std::vector<bool> layers_set;
  std::vector<std::unique_ptr<void, AlignedDelete>> kept;

  template <class T>
  T* keep(size_t count) {
    const size_t bytes = (count * sizeof(T) + 256 + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, bytes);
    if (!memory) throw std::bad_alloc();
    kept.emplace_back(memory);
    std::fill_n((char*)memory, bytes, 0);
    return (T*)memory;
  }

  const float* floats(const float* from, const std::vector<int>& to, int count) {
    float* kept_floats = keep<float>(count);
    for (size_t i = 0; i < to.size(); i++) kept_floats[to[i]] = from[i];
    return kept_floats;
  }

  Norm norm(const fq_norm& from) {
    const auto to = plain_columns(encoder.hidden);
    return {floats(from.weight, to, encoder.width), floats(from.bias, to, encoder.width)};
  }

  // query_scale: goes into the first `queries` outputs.
  Linear linear(const fq_linear& from, const std::vector<int>& inputs_to, int inputs, const std::vector<int>& outputs_to,
                int outputs, int queries = 0, float query_scale = 1) {
    std::vector<int8_t> weight((size_t)inputs * outputs);
    float *scale = keep<float>(outputs), *sums = keep<float>(outputs), *bias = keep<float>(outputs);
    for (size_t n = 0; n < outputs_to.size(); n++) {
      const int8_t* row = from.weight + n * inputs_to.size();
      int8_t* to = weight.data() + (size_t)outputs_to[n] * inputs;
      int sum = 0;
      for (size_t k = 0; k < inputs_to.size(); k++) {
        to[inputs_to[k]] = row[k];
        sum += row[k];
      }
      const float factor = (int)n < queries ? query_scale : 1.f;
      scale[outputs_to[n]] = from.scale[n] * factor;
      bias[outputs_to[n]] = from.bias[n] * factor;
      sums[outputs_to[n]] = (float)sum;
    }
    void* panels = keep<char>(kernels->panel_bytes * weight.size());
    kernels->pack(weight.data(), inputs, outputs, panels);
    return {panels, scale, sums, bias, inputs, outputs};
  }
};

struct fq_pool {
  Pool pool;
  fq_pool(int threads, bool pin) : pool(threads, pin) {}
};

struct fq_job {
  Job job;
  explicit fq_job(const Pass& pass) : job(pass) {}
};

namespace {

void check_shape(const fq_shape& s) {
  const int most = 1 << 20;
  for (int n : {s.hidden, s.heads, s.layers, s.feed_forward, s.vocabulary, s.positions})
    require(n > 0 && n <= most, "sizes of the model are out of range");
  require(s.hidden <= 1 << 14 && s.feed_forward <= 1 << 16 && s.layers <= 1 << 12, "sizes of the model are out of range");
  require(s.hidden % s.heads == 0, "the heads do not divide the hidden size");
  require(s.hidden / s.heads <= 64, "heads of more than 64 numbers");
  require(s.padding >= -1 && s.padding < s.vocabulary, "the token of padding is out of range");
  require(s.epsilon > 0 && std::isfinite(s.epsilon), "epsilon is not positive");
}

// Everything that indexes memory later.
void check_tokens(const Encoder& encoder, const int32_t* ids, const int32_t* offsets, int texts) {
  require(texts > 0, "there is no text");
  require(offsets[0] == 0, "offsets do not start at 0");
  for (int i = 0; i < texts; i++) {
    const int64_t length = (int64_t)offsets[i + 1] - offsets[i];
    require(length > 0, [&] { return "text " + std::to_string(i) + " has no tokens"; });
    require(length <= encoder.positions, [&] {
      return "text " + std::to_string(i) + " has " + std::to_string(length) + " tokens, the model " +
             std::to_string(encoder.positions) + " positions";
    });
  }
  for (int t = 0; t < offsets[texts]; t++)
    require(ids[t] >= 0 && ids[t] < encoder.vocabulary, [&] {
      return "token id " + std::to_string(ids[t]) + " is outside the " + std::to_string(encoder.vocabulary) +
             " rows of the embeddings";
    });
}

Pass make_pass(const fq_encoder* e, const int32_t* ids, const int32_t* offsets, int texts, int pooling, int normalize,
               float* out) {
  require(std::all_of(e->layers_set.begin(), e->layers_set.end(), [](bool set) { return set; }), "layers are missing");
  require(pooling >= 0 && pooling <= 2, "unknown pooling");
  check_tokens(e->encoder, ids, offsets, texts);
  return {e->encoder, *e->kernels, {ids, offsets, texts}, (Pooling)pooling, normalize != 0, out};
}

}  // namespace

extern "C" {

const char* fq_error(void) { return last_error.c_str(); }

const char* fq_level(int32_t index, int32_t* is_built, int32_t* runs_here) {
  if (index < 0 || index >= (int32_t)levels().size()) return nullptr;
  const Level& level = levels()[index];
  *is_built = level.kernels != nullptr;
  *runs_here = level.runs_here;
  return level.name;
}

const char* fq_chosen_level(const char* wanted) {
  return guarded((const char*)nullptr, [&] {
    std::string why_not;
    const Kernels* kernels = choose_kernels(wanted, why_not);
    require(kernels, why_not);
    return kernels->name;
  });
}

fq_encoder* fq_encoder_new(const fq_shape* shape, const fq_embeddings* embeddings, const char* level) {
  return guarded((fq_encoder*)nullptr, [&] {
    check_shape(*shape);
    std::string why_not;
    auto made = std::make_unique<fq_encoder>();
    made->kernels = choose_kernels(level, why_not);
    require(made->kernels, why_not);
    Encoder& e = made->encoder;
    e.hidden = shape->hidden;
    e.width = padded(shape->hidden, kWidthStep);
    e.heads = shape->heads;
    made->head = shape->hidden / shape->heads;
    e.head = made->head <= 32 ? 32 : 64;
    e.inner = padded(e.heads * e.head, kWidthStep);
    e.feed_forward = padded(shape->feed_forward, kWidthStep);
    e.vocabulary = shape->vocabulary;
    e.positions = shape->positions;
    e.padding = shape->padding;
    e.epsilon = shape->epsilon;
    e.words = embeddings->words;
    const float* scales = embeddings->word_scales;
    e.word_scales = made->floats(scales, plain_columns(e.vocabulary), e.vocabulary);
    const int rows = e.positions + (e.padding >= 0);
    float* positions = made->keep<float>((size_t)rows * e.width);
    for (int p = 0; p < rows; p++)
      std::copy_n(embeddings->positions + (size_t)p * e.hidden, e.hidden, positions + (size_t)p * e.width);
    e.position_rows = positions;
    e.embedding_norm = made->norm(embeddings->norm);
    e.layers.resize(shape->layers);
    made->layers_set.resize(shape->layers);
    made->feed_forward = shape->feed_forward;
    return made.release();
  });
}

int32_t fq_encoder_set_layer(fq_encoder* made, int32_t index, const fq_layer* from) {
  return guarded(1, [&] {
    Encoder& e = made->encoder;
    require(index >= 0 && index < (int32_t)e.layers.size(), "no such layer");
    const auto hidden = plain_columns(e.hidden), inner = head_columns(e.heads, made->head, e.head, 0);
    const auto between = plain_columns(made->feed_forward);
    std::vector<int> three;
    for (int j = 0; j < 3; j++)
      for (int at : head_columns(e.heads, made->head, e.head, j * e.inner)) three.push_back(at);
    const float query_scale = 1.4426950408889634f / std::sqrt((float)made->head);
    Layer& layer = e.layers[index];
    layer.query_key_value =
        made->linear(from->query_key_value, hidden, e.width, three, 3 * e.inner, e.hidden, query_scale);
    layer.output = made->linear(from->output, inner, e.inner, hidden, e.width);
    layer.up = made->linear(from->up, hidden, e.width, between, e.feed_forward);
    layer.down = made->linear(from->down, between, e.feed_forward, hidden, e.width);
    layer.attention_norm = made->norm(from->attention_norm);
    layer.output_norm = made->norm(from->output_norm);
    made->layers_set[index] = true;
    return 0;
  });
}

const char* fq_encoder_level(const fq_encoder* made) { return made->kernels->name; }

void fq_encoder_free(fq_encoder* made) { delete made; }

fq_pool* fq_pool_new(int32_t threads, int32_t pin) {
  return guarded((fq_pool*)nullptr, [&] {
    require(threads >= 1 && threads <= 4096, "threads are out of range");
    return new fq_pool(threads, pin != 0);
  });
}

void fq_pool_free(fq_pool* pool) { delete pool; }

int32_t fq_encode(fq_pool* pool, const fq_encoder* made, const int32_t* ids, const int32_t* offsets, int32_t texts,
                  int32_t pooling, int32_t normalize, float* out) {
  return guarded(1, [&] {
    pool->pool.run(make_pass(made, ids, offsets, texts, pooling, normalize, out));
    return 0;
  });
}

int32_t fq_submit(fq_pool* pool, const fq_encoder* made, const int32_t* ids, const int32_t* offsets, int32_t texts,
                  int32_t pooling, int32_t normalize, float* out, fq_job** submitted) {
  return guarded(1, [&] {
    auto job = std::make_unique<fq_job>(make_pass(made, ids, offsets, texts, pooling, normalize, out));
    pool->pool.submit(job->job);
    *submitted = job.release();
    return 0;
  });
}

int32_t fq_wait(fq_pool* pool, fq_job** submitted) {
  return guarded(1, [&] {
    const std::unique_ptr<fq_job> job(std::exchange(*submitted, nullptr));
    if (job) pool->pool.wait(job->job);
    return 0;
  });
}

}  // extern "C"
