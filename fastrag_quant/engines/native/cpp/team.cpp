#include "team.h"

#include <sched.h>

namespace fastrag_quant {

static void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void Team::Patience::wait() {
  constexpr int kSpins = 2000;
  if (++turns_ < kSpins)
    relax();
  else
    sched_yield();
}

}  // namespace fastrag_quant
