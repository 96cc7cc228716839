// The limit of the machine: how many int8 operations all its cores start in a second, from registers alone.
// Prints the instruction and the sum of all cores in GOP/s; a multiplication and an addition are two operations.
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

// Twelve sums, so that no instruction waits for the one before.
#define SUMS(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)
#define AVX512_VNNI(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n"
#define AVX_VNNI(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #n "\n"
// Exact products without VNNI: int8 widened to int16, in pairs.
#define AVX2(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\nvpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
#define LOOP(STEP)                                                                                    \
  asm volatile("1:\n" SUMS(STEP) "dec %0\njnz 1b\n"                                                   \
               : "+r"(turns)::"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc")

enum Level { kAvx512Vnni, kAvxVnni, kAvx2, kLevels };
const char* const kNames[kLevels] = {"AVX512-VNNI", "AVX-VNNI", "AVX2"};
const double kPairs[kLevels] = {64, 32, 16};  // of numbers multiplied by an instruction

bool has_avx_vnni() {
  unsigned a = 7, b, c = 1, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return a >> 4 & 1;
}

void run(Level level, long turns) {
  if (level == kAvx512Vnni) {
    LOOP(AVX512_VNNI);
  } else if (level == kAvxVnni) {
    LOOP(AVX_VNNI);
  } else {
    LOOP(AVX2);
  }
}

int main() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) {
    fprintf(stderr, "this CPU has no AVX2\n");
    return 1;
  }
  const Level level = __builtin_cpu_supports("avx512vnni") ? kAvx512Vnni : has_avx_vnni() ? kAvxVnni : kAvx2;
  cpu_set_t usable;
  sched_getaffinity(0, sizeof usable, &usable);
  std::vector<std::thread> threads;
  std::atomic<int> waiting{CPU_COUNT(&usable)};
  std::vector<double> rates(CPU_SETSIZE, 0.0);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &usable)) continue;
    threads.emplace_back([&, core] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      constexpr long kWarmUp = 2000000, kTurns = 40000000;
      run(level, kWarmUp);
      --waiting;
      while (waiting) {
      }
      const auto start = std::chrono::steady_clock::now();
      run(level, kTurns);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      rates[core] = 2 * 12 * kPairs[level] * kTurns / seconds.count();
    });
  }
  for (auto& thread : threads) thread.join();
  double sum = 0;
  for (double rate : rates) sum += rate;
  printf("%s %.1f\n", kNames[level], sum / 1e9);
}
