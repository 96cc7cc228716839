// Runs the native engine's library over random shapes and lengths, for the sanitizers of the compiler to watch.
// Whatever it is given and gives back ends at a page that may not be touched. Usage: kernels_test [SECONDS [SEED [no-fork]]];
// no-fork is for emulators that cannot start threads in a forked child. Ends with 3 where no level runs on this CPU.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../../fastrag_quant/engines/native/cpp/native.h"

static std::mt19937 random_numbers;

static int between(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_numbers); }

static void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "failed: %s (%s)\n", what, fq_error());
  std::abort();
}

// An array whose end is the end of what may be touched.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count) {
    const size_t page = sysconf(_SC_PAGESIZE), used = (count * sizeof(T) + page - 1) / page * page;
    bytes_ = used + page;
    memory_ = (char*)mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory_ != MAP_FAILED && !mprotect(memory_ + used, page, PROT_NONE), "mmap");
    start_ = (T*)(memory_ + used - count * sizeof(T));
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(memory_, bytes_); }
  T* get() const { return start_; }
  T& operator[](size_t i) const { return start_[i]; }
  size_t size() const { return count_; }

 private:
  size_t count_, bytes_;
  char* memory_;
  T* start_;
};

using Floats = Guarded<float>;
using Bytes = Guarded<int8_t>;

static std::unique_ptr<Floats> floats(size_t count, float low, float high) {
  auto made = std::make_unique<Floats>(count);
  std::uniform_real_distribution<float> of(low, high);
  for (size_t i = 0; i < count; i++) (*made)[i] = of(random_numbers);
  return made;
}

static std::unique_ptr<Bytes> bytes(size_t count) {
  auto made = std::make_unique<Bytes>(count);
  for (size_t i = 0; i < count; i++) (*made)[i] = (int8_t)between(-127, 127);
  return made;
}

struct Model {
  fq_shape shape;
  std::vector<std::unique_ptr<Floats>> floats_kept;
  std::vector<std::unique_ptr<Bytes>> bytes_kept;
  fq_encoder* encoder = nullptr;

  const float* some(size_t count, float low, float high) {
    floats_kept.push_back(floats(count, low, high));
    return floats_kept.back()->get();
  }
  const int8_t* weights(size_t count) {
    bytes_kept.push_back(bytes(count));
    return bytes_kept.back()->get();
  }
  fq_linear linear(int inputs, int outputs) {
    const float scale = .02f / std::sqrt((float)inputs);
    return {weights((size_t)inputs * outputs), some(outputs, scale / 2, scale), some(outputs, -.1f, .1f)};
  }
  fq_norm norm() { return {some(shape.hidden, .5f, 1.5f), some(shape.hidden, -.1f, .1f)}; }

  Model(const fq_shape& shape, const char* level) : shape(shape) {
    const int h = shape.hidden;
    const fq_embeddings embeddings = {weights((size_t)shape.vocabulary * h), some(shape.vocabulary, .001f, .01f),
                                      some((size_t)(shape.positions + 1) * h, -.5f, .5f), norm()};
    encoder = fq_encoder_new(&shape, &embeddings, level);
    require(encoder, "fq_encoder_new");
    for (int i = 0; i < shape.layers; i++) {
      const fq_layer layer = {linear(h, 3 * h), linear(h, h), linear(h, shape.feed_forward), linear(shape.feed_forward, h),
                              norm(), norm()};
      require(!fq_encoder_set_layer(encoder, i, &layer), "fq_encoder_set_layer");
    }
  }
  Model(const Model&) = delete;
  ~Model() { fq_encoder_free(encoder); }
};

struct Texts {
  Guarded<int32_t> ids, offsets;
  Texts(const std::vector<int>& lengths, int total, int vocabulary) : ids(total), offsets(lengths.size() + 1) {
    offsets[0] = 0;
    for (size_t i = 0; i < lengths.size(); i++) offsets[i + 1] = offsets[i] + lengths[i];
    for (int t = 0; t < total; t++) ids[t] = between(0, vocabulary - 1);
  }
  int count() const { return (int)offsets.size() - 1; }
};

static std::unique_ptr<Floats> encode(fq_pool* pool, const Model& model, const Texts& texts, int pooling) {
  const int rows = pooling ? texts.count() : texts.offsets[texts.count()];
  auto out = std::make_unique<Floats>((size_t)rows * model.shape.hidden);
  require(!fq_encode(pool, model.encoder, texts.ids.get(), texts.offsets.get(), texts.count(), pooling, 1, out->get()),
          "fq_encode");
  for (size_t i = 0; i < out->size(); i++) require(std::isfinite((*out)[i]), "finite numbers");
  return out;
}

static void same(const float* a, const float* b, size_t count, const char* what) {
  require(!std::memcmp(a, b, count * sizeof(float)), what);
}

static void check(const Model& model, fq_pool* one, fq_pool* several) {
  std::vector<int> lengths;
  int total = 0;
  const int most = between(0, 9) ? between(1, 12) : 1000, longest = most == 1000 ? 4 : model.shape.positions;
  do {
    lengths.push_back(between(0, 3) ? between(1, std::min(longest, 40)) : between(1, longest));
    total += lengths.back();
  } while ((int)lengths.size() < most);
  const Texts texts(lengths, total, model.shape.vocabulary);
  const int pooling = between(0, 2), hidden = model.shape.hidden;
  const auto together = encode(one, model, texts, pooling);
  const auto by_several = encode(several, model, texts, pooling);
  same(together->get(), by_several->get(), together->size(), "one thread and several: the same bits");
  const int text = between(0, texts.count() - 1), length = lengths[text];
  Guarded<int32_t> ids(length), offsets(2);
  std::memcpy(ids.get(), &texts.ids[texts.offsets[text]], length * sizeof(int32_t));
  offsets[0] = 0;
  offsets[1] = length;
  Floats alone((size_t)(pooling ? 1 : length) * hidden);
  fq_job* job = nullptr;
  require(!fq_submit(several, model.encoder, ids.get(), offsets.get(), 1, pooling, 1, alone.get(), &job) && job, "fq_submit");
  require(!fq_wait(several, &job) && !job && !fq_wait(several, &job), "fq_wait");
  const size_t start = (size_t)(pooling ? text : texts.offsets[text]) * hidden;
  same(together->get() + start, alone.get(), alone.size(), "alone and together: the same bits");
}

static void check_refusals(const Model& model, fq_pool* pool) {
  Floats out(model.shape.hidden);
  const int32_t too_large[] = {model.shape.vocabulary}, negative[] = {-1}, fine[] = {0};
  const int32_t offsets[] = {0, 1}, empty[] = {0, 0}, shifted[] = {1, 1};
  const auto refused = [&](const int32_t* ids, const int32_t* at, int texts) {
    return fq_encode(pool, model.encoder, ids, at, texts, 1, 1, out.get()) != 0 && *fq_error();
  };
  require(refused(too_large, offsets, 1), "an id behind the table is refused");
  require(refused(negative, offsets, 1), "a negative id is refused");
  require(refused(fine, empty, 1), "a text of no tokens is refused");
  require(refused(fine, shifted, 1), "offsets that do not start at 0 are refused");
  require(refused(fine, offsets, 0), "no text is refused");
  std::vector<int32_t> long_text(model.shape.positions + 1, 0);
  const int32_t ends[] = {0, model.shape.positions + 1};
  require(refused(long_text.data(), ends, 1), "more tokens than positions are refused");
}

static void check_threads(const Model& model, fq_pool* pool) {
  const int some = std::min(3, model.shape.positions), more = std::min(17, model.shape.positions);
  const Texts texts({some, more, 1}, some + more + 1, model.shape.vocabulary);
  const auto expected = encode(pool, model, texts, 2);
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; i++)
    callers.emplace_back([&] {
      for (int round = 0; round < 20; round++) {
        Floats out(expected->size());
        const bool later = round % 2;
        if (later) {
          fq_job* job = nullptr;
          require(!fq_submit(pool, model.encoder, texts.ids.get(), texts.offsets.get(), 3, 2, 1, out.get(), &job) &&
                      !fq_wait(pool, &job),
                  "fq_wait in a thread");
        } else {
          require(!fq_encode(pool, model.encoder, texts.ids.get(), texts.offsets.get(), 3, 2, 1, out.get()),
                  "fq_encode in a thread");
        }
        same(expected->get(), out.get(), out.size(), "the same bits in every thread");
      }
    });
  for (auto& caller : callers) caller.join();
}

static void check_fork(const Model& model, fq_pool* pool) {
  const int length = std::min(9, model.shape.positions);
  const Texts texts({length}, length, model.shape.vocabulary);
  const auto expected = encode(pool, model, texts, 2);
  const pid_t child = fork();
  if (!child) {
    const auto in_child = encode(pool, model, texts, 2);
    same(expected->get(), in_child->get(), expected->size(), "the same bits in a forked child");
    _exit(0);
  }
  int status = 0;
  require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a forked child computes");
}

static fq_shape random_shape() {
  static const int hidden_sizes[] = {24, 32, 48, 64, 96, 128, 200, 384};
  fq_shape shape;
  shape.hidden = hidden_sizes[between(0, 7)];
  do shape.heads = between(1, 16);
  while (shape.hidden % shape.heads || shape.hidden / shape.heads > 64);
  shape.layers = between(1, 2);
  shape.feed_forward = between(1, shape.hidden * 4);
  shape.vocabulary = between(1, 500);
  shape.positions = between(1, 512);
  shape.padding = between(0, 1) ? between(0, shape.vocabulary - 1) : -1;
  shape.epsilon = 1e-12f;
  return shape;
}

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;
  random_numbers.seed(argc > 2 ? std::atoi(argv[2]) : std::random_device()());
  bool forks = argc <= 3;
#ifdef __SANITIZE_THREAD__
  forks = false;  // it knows no threads that a forked child starts
#endif
  std::vector<std::string> usable;
  int32_t built = 0, runs = 0;
  for (int i = 0; const char* name = fq_level(i, &built, &runs); i++)
    if (built && runs) usable.push_back(name);
  if (usable.empty()) {
    std::puts("this CPU runs none of the levels");
    return 3;
  }
  fq_pool *one = fq_pool_new(1, 0), *several = fq_pool_new(3, 1);
  require(one && several, "fq_pool_new");
  const auto start = std::chrono::steady_clock::now();
  int models = 0;
  do {
    const std::string& level = usable[models % usable.size()];
    const Model model(random_shape(), level.c_str());
    for (int i = 0; i < 3; i++) check(model, one, several);
    check_refusals(model, one);
    check_threads(model, several);
    if (forks) check_fork(model, several);
    models++;
  } while (models < (int)usable.size() ||
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds);
  fq_pool_free(one);
  fq_pool_free(several);
  std::printf("%d models on", models);
  for (const std::string& level : usable) std::printf(" %s", level.c_str());
  std::puts("");
}
