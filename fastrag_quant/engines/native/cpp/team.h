// Threads that run one forward pass together; more may come while it runs, and share the layers from then on.
#pragma once
#include <atomic>
#include <cstdint>

namespace fastrag_quant {

class Team {
 public:
  static constexpr int kOver = 0xffff;

  explicit Team(int most) : most_(most) {}

  int most() const { return most_; }

  // --- the leader ---
  // Publish a layer; returns how many members share it.
  int open_layer(int layer) {
    const int parts = members_.load(std::memory_order_acquire);
    state_.store((uint32_t)layer << 8 | (uint32_t)parts, std::memory_order_release);
    return parts;
  }
  // Let all members go; nobody may join any more.
  void dismiss() {
    state_.store((uint32_t)kOver << 8, std::memory_order_release);
    const int others = members_.load(std::memory_order_acquire) - 1;
    for (Patience patience; left_.load(std::memory_order_acquire) < others;) patience.wait();
  }

  // --- the others: join is called under the lock that guards who may join ---
  int room() const { return most_ - members_.load(std::memory_order_relaxed); }
  int join() { return members_.fetch_add(1, std::memory_order_acq_rel); }
  void leave() { left_.fetch_add(1, std::memory_order_release); }
  // Wait for a layer behind the last one that this member shares; returns kOver when there is none.
  int next_layer(int member, int last, int& parts) {
    for (Patience patience;; patience.wait()) {
      const uint32_t state = state_.load(std::memory_order_acquire);
      const int layer = (int)(state >> 8);
      parts = (int)(state & 0xff);
      if (layer == kOver || (layer > last && layer != kNone && member < parts)) return layer;
    }
  }

  // --- all who share a layer ---
  void meet(int parts) {
    if (parts == 1) return;
    const int turn = turn_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == parts) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
      return;
    }
    for (Patience patience; turn_.load(std::memory_order_acquire) == turn;) patience.wait();
  }

 private:
  static constexpr int kNone = 0xfffe;

  // Spins for some microseconds, then lets others run: the thread that is waited for may need this core.
  class Patience {
   public:
    void wait();

   private:
    int turns_ = 0;
  };

  const int most_;
  alignas(64) std::atomic<uint32_t> state_{(uint32_t)kNone << 8};
  std::atomic<int> members_{1}, left_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> turn_{0};
};

}  // namespace fastrag_quant
