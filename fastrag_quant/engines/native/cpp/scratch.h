// Memory that a forward pass works in, kept from one to the next. Whoever leads brings the shared part.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "encoder.h"

namespace fastrag_quant {

// Grows as needed; new memory is zero, so that no kernel reads what was never written.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory_); }

  template <class T>
  T* of(size_t count) {
    const size_t bytes = (count * sizeof(T) + kMargin + 63) / 64 * 64;
    if (bytes > bytes_) {
      std::free(memory_);
      bytes_ = 0;
      memory_ = std::aligned_alloc(64, bytes);
      if (!memory_) throw std::bad_alloc();
      std::memset(memory_, 0, bytes);
      bytes_ = bytes;
    }
    return (T*)memory_;
  }

 private:
  static constexpr size_t kMargin = 256;  // what the widest load may read behind the end
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

struct Scratch {
  // shared by a team
  Buffer rows, quantized, ranges, context, stored, tops;
  // of each member
  Buffer heads, attention, own_quantized, own_ranges, own_stored, own_top;
};

}  // namespace fastrag_quant
