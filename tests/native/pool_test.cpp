// How many threads of a pool share a pass: with kernels that compute nothing, but take their time.
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "../../fastrag_quant/engines/native/cpp/pool.h"

using namespace fastrag_quant;

static std::mutex mutex;
static std::set<pthread_t> at_work;

static Kernels slow_kernels() {
  Kernels k = {};
  k.name = "slow";
  k.quantized_bytes = k.stored_bytes = 1;
  k.embed = [](const Encoder&, const int32_t*, int, int, float*) {};
  k.normalize = [](float*, const Norm&, int, int, int, float, void*, Row*) {};
  k.quantize = [](const float*, int, int, void*, Row*) {};
  k.project = [](const void*, const Row*, int, const Linear&, int, int, int, void*) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      at_work.insert(pthread_self());
    }
    usleep(1000);
  };
  k.attend = [](int, const void*, const void*, const void*, int, float*, int, void*) {};
  k.attend_scratch = [](int, int) { return (size_t)64; };
  k.add_product = [](const void*, const Row*, int, const Linear&, int, int, float*) {};
  k.gelu_product = [](const void*, const Row*, int, const Linear&, int, int, void*, float*) {};
  k.quantize_stored = [](const void*, const float*, int, size_t, int, int, void*, Row*) {};
  return k;
}

static void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::abort();
}

int main() {
  constexpr int kThreads = 7, kTokens = 24 * kThreads, kHidden = 64 * 8, kLayers = 100;
  const Kernels kernels = slow_kernels();
  Encoder encoder = {};
  encoder.hidden = encoder.width = encoder.inner = encoder.feed_forward = kHidden;
  encoder.heads = 8;
  encoder.head = 64;
  encoder.layers.resize(kLayers);
  const std::vector<int32_t> ids(kTokens), offsets = {0, kTokens}, short_offsets = {0, 12};
  std::vector<float> out(kHidden);
  Pool pool(kThreads, false);
  const auto run = [&](const std::vector<int32_t>& of) {
    pool.run({encoder, kernels, {ids.data(), of.data(), 1}, Pooling::kMean, false, out.data()});
  };
  run(offsets);
  require(at_work.size() == kThreads, "as many threads share a long text as the pool has");
  at_work.clear();
  run(short_offsets);
  require(at_work.size() == 4, "four threads share a short text");
  at_work.clear();
  std::thread other([&] { run(offsets); });
  run(offsets);
  other.join();
  require(at_work.size() >= kThreads, "two callers share the threads");
  require(at_work.size() <= kThreads + 2, "no more threads work than there are");
  std::puts("threads share passes");
}
