// What each part of the native engine's forward pass takes on one core, beside what the core can start from registers.
// The kernels are the library's own; each is timed through a table of kernels that stands before the real one.
// Usage: benchmark LEVEL HIDDEN HEADS LAYERS FEED_FORWARD LENGTH TEXTS SECONDS; prints JSON. Weights are random.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../fastrag_quant/engines/native/cpp/forward.h"
#include "../fastrag_quant/engines/native/cpp/levels.h"

using namespace fastrag_quant;

namespace {

// Of this thread's own time: what else runs on the core meanwhile does not count.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// --- the limit: products from registers, 16 sums beside each other ---

#define SUMS(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)
#define STEP_512(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n"
#define STEP_VNNI(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #n "\n"
#define STEP_AVX2(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\nvpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
#define LOOP(STEP)                                                                                             \
  asm volatile("1:\n" SUMS(STEP) "dec %0\njnz 1b\n"                                                            \
               : "+r"(turns)                                                                                   \
               :                                                                                               \
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                 "xmm12", "xmm13", "xmm14", "xmm15", "cc")

// Operations per second: a multiplication and an addition for each pair of numbers.
double peak(const std::string& level) {
  constexpr long kTurns = 300000;
  long turns = kTurns;
  const double start = now();
  double pairs = 0;
  if (level == "avx2") {
    LOOP(STEP_AVX2);
    pairs = 16;
  } else if (level == "avx_vnni") {
    LOOP(STEP_VNNI);
    pairs = 32;
  } else {
    LOOP(STEP_512);
    pairs = 64;
  }
  return 2 * 12 * pairs * kTurns / (now() - start);
}

// --- the kernels, timed ---

enum Part { kEmbed, kQueryKeyValue, kAttention, kOutput, kUp, kDown, kNorms, kQuantize, kParts };
const char* const kNames[kParts] = {"embeddings", "query, key, value", "attention", "output", "up, GELU",
                                    "down",       "norms",             "quantization"};

const Kernels* real;
int hidden_inputs;

// Calls come in the same order in each pass: the median of each call over the passes leaves out those in which something
// else ran on the core, as the processor's counter cannot tell.
struct Call {
  Part part;
  std::vector<double> ticks;  // one for each pass
};
std::vector<Call> calls;
size_t next_call;

class Lap {
 public:
  explicit Lap(Part part) : part_(part), start_(__builtin_ia32_rdtsc()) {}
  ~Lap() {
    const unsigned long long took = __builtin_ia32_rdtsc() - start_;
    if (next_call == calls.size()) calls.push_back({part_, {}});
    calls[next_call++].ticks.push_back((double)took);
  }

 private:
  const Part part_;
  const unsigned long long start_;
};

Kernels timed_kernels() {
  Kernels k = *real;
  k.embed = [](const Encoder& e, const int32_t* ids, int position, int count, float* rows) {
    Lap lap(kEmbed);
    real->embed(e, ids, position, count, rows);
  };
  k.normalize = [](float* rows, const Norm& norm, int count, int hidden, int width, float epsilon, void* to, Row* r) {
    Lap lap(kNorms);
    real->normalize(rows, norm, count, hidden, width, epsilon, to, r);
  };
  k.quantize = [](const float* rows, int count, int width, void* to, Row* ranges) {
    Lap lap(kQuantize);
    real->quantize(rows, count, width, to, ranges);
  };
  k.project = [](const void* q, const Row* r, int count, const Linear& l, int from, int head, int capacity, void* to) {
    Lap lap(kQueryKeyValue);
    real->project(q, r, count, l, from, head, capacity, to);
  };
  k.attend = [](int head, const void* q, const void* keys, const void* v, int length, float* out, int stride, void* s) {
    Lap lap(kAttention);
    real->attend(head, q, keys, v, length, out, stride, s);
  };
  k.add_product = [](const void* q, const Row* r, int count, const Linear& l, int from, int to, float* rows) {
    Lap lap(l.inputs == hidden_inputs ? kOutput : kDown);
    real->add_product(q, r, count, l, from, to, rows);
  };
  k.gelu_product = [](const void* q, const Row* r, int count, const Linear& l, int from, int to, void* s, float* top) {
    Lap lap(kUp);
    real->gelu_product(q, r, count, l, from, to, s, top);
  };
  k.quantize_stored = [](const void* s, const float* tops, int members, size_t step, int count, int width, void* to,
                         Row* ranges) {
    Lap lap(kQuantize);
    real->quantize_stored(s, tops, members, step, count, width, to, ranges);
  };
  return k;
}

// --- an encoder of random weights, whose activations are of the size of a real one's ---

class RandomEncoder {
 public:
  Encoder encoder;

  RandomEncoder(int hidden, int heads, int layers, int feed_forward) {
    Encoder& e = encoder;
    e.hidden = e.width = e.inner = hidden;
    e.heads = heads;
    e.head = hidden / heads;
    e.feed_forward = feed_forward;
    e.vocabulary = 30522;
    e.positions = 512;
    e.epsilon = 1e-12f;
    e.words = bytes((size_t)e.vocabulary * hidden);
    e.word_scales = floats(e.vocabulary, .001f, .001f);
    e.position_rows = floats((size_t)e.positions * hidden, -.05f, .05f);
    e.embedding_norm = norm();
    for (int i = 0; i < layers; i++)
      e.layers.push_back({linear(hidden, 3 * hidden), linear(hidden, hidden), linear(hidden, feed_forward),
                          linear(feed_forward, hidden), norm(), norm()});
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<void, Free>> kept_;
  std::minstd_rand random_;

  template <class T>
  T* keep(size_t count) {
    const size_t size = (count * sizeof(T) + 256 + 63) / 64 * 64;
    kept_.emplace_back(std::aligned_alloc(64, size));
    return (T*)kept_.back().get();
  }
  float* floats(size_t count, float low, float high) {
    float* made = keep<float>(count);
    for (size_t i = 0; i < count; i++) made[i] = low + (high - low) * (float)(random_() & 0xffff) / 0xffff;
    return made;
  }
  int8_t* bytes(size_t count) {
    int8_t* made = keep<int8_t>(count);
    for (size_t i = 0; i < count; i++) made[i] = (int8_t)((int)(random_() >> 8) % 128);
    return made;
  }
  Norm norm() { return {floats(encoder.hidden, .9f, 1.1f), floats(encoder.hidden, -.1f, .1f)}; }
  Linear linear(int inputs, int outputs) {
    const int8_t* weight = bytes((size_t)inputs * outputs);
    float* sums = keep<float>(outputs);
    for (int n = 0; n < outputs; n++) {
      int sum = 0;
      for (int k = 0; k < inputs; k++) sum += weight[(size_t)n * inputs + k];
      sums[n] = (float)sum;
    }
    char* panels = keep<char>(real->panel_bytes * inputs * outputs);
    real->pack(weight, inputs, outputs, panels);
    kept_.erase(kept_.end() - 3);  // the plain weights
    const float scale = .01f / std::sqrt((float)inputs);
    return {panels, floats(outputs, scale, scale), sums, floats(outputs, -.1f, .1f), inputs, outputs};
  }
};

double seconds_per_tick() {
  const auto start = std::chrono::steady_clock::now();
  const unsigned long long ticks = __builtin_ia32_rdtsc();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return took.count() / (double)(__builtin_ia32_rdtsc() - ticks);
}

double median(std::vector<double> of) {
  std::nth_element(of.begin(), of.begin() + of.size() / 2, of.end());
  return of[of.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) {
    std::fputs("benchmark LEVEL HIDDEN HEADS LAYERS FEED_FORWARD LENGTH TEXTS SECONDS\n", stderr);
    return 2;
  }
  const std::string level = argv[1];
  const int hidden = std::atoi(argv[2]), heads = std::atoi(argv[3]), layers = std::atoi(argv[4]);
  const int feed_forward = std::atoi(argv[5]), length = std::atoi(argv[6]), texts = std::atoi(argv[7]);
  const double seconds = std::atof(argv[8]);
  std::string why_not;
  real = choose_kernels(level.c_str(), why_not);
  if (!real) {
    std::fprintf(stderr, "%s\n", why_not.c_str());
    return 1;
  }
  if (hidden % kWidthStep || feed_forward % kWidthStep || (hidden != 32 * heads && hidden != 64 * heads)) {
    std::fprintf(stderr, "sizes must be multiples of %d, and heads have 32 or 64 numbers\n", kWidthStep);
    return 2;
  }
  hidden_inputs = hidden;
  const RandomEncoder random(hidden, heads, layers, feed_forward);
  const int tokens = length * texts;
  std::vector<int32_t> ids(tokens), offsets(texts + 1);
  for (int i = 0; i < tokens; i++) ids[i] = (int)((int64_t)i * 7919 % random.encoder.vocabulary);
  for (int i = 0; i <= texts; i++) offsets[i] = i * length;
  std::vector<float> out((size_t)texts * hidden);
  const Kernels timed = timed_kernels();
  Scratch scratch;
  const auto run = [&](const Kernels& kernels) {
    Team alone(1);
    const double start = now();
    lead({random.encoder, kernels, {ids.data(), offsets.data(), texts}, Pooling::kMean, true, out.data()}, alone, scratch);
    return now() - start;
  };
  const double operations = 2. * tokens * layers * (4. * hidden * hidden + 2. * hidden * feed_forward);
  const double shares[kParts] = {0, 3. * hidden, 0, 1. * hidden, 1. * feed_forward, 1. * feed_forward, 0, 0};
  std::vector<double> whole, share, peaks;
  run(*real);
  const double end = now() + seconds;
  double before = peak(level);
  while (now() < end || whole.size() < 5) {
    const double took = run(*real), after = peak(level);
    whole.push_back(took);
    share.push_back(operations / took / ((before + after) / 2));
    next_call = 0;
    run(timed);
    before = peak(level);
    peaks.push_back(before);
    peaks.push_back(after);
  }
  const double limit = median(peaks), best = *std::min_element(whole.begin(), whole.end());
  const double a_tick = seconds_per_tick();
  double products = 0, rest = median(whole), seconds_of[kParts] = {};
  for (const Call& call : calls) seconds_of[call.part] += median(call.ticks) * a_tick;
  std::printf("{\"peak_gops\": %.1f, \"best_ms\": %.4f, \"median_ms\": %.4f, \"best_share\": %.4f, \"share\": %.4f, "
              "\"passes\": %zu, \"parts\": {",
              limit / 1e9, best * 1e3, median(whole) * 1e3, operations / best / limit, median(share), whole.size());
  for (int part = 0; part < kParts; part++) {
    const double took = seconds_of[part];
    rest -= took;
    if (shares[part]) products += took;
    std::printf("\"%s\": {\"ms\": %.4f", kNames[part], took * 1e3);
    if (shares[part]) std::printf(", \"share\": %.4f", 2. * tokens * layers * hidden * shares[part] / took / limit);
    std::printf("}, ");
  }
  std::printf("\"pooling and the rest\": {\"ms\": %.4f}}, \"products_share\": %.4f}\n", std::max(rest, 0.) * 1e3,
              operations / products / limit);
}
