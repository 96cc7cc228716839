#include "levels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fastrag_quant {
namespace {

#if defined(__x86_64__)
struct Cpu {
  bool avx2 = false, avx_vnni = false, avx512_vnni = false, avx512_bf16 = false, gains_by_bf16 = false;

  Cpu() {
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return;
    // Intel's cores take as long for a bfloat16 dot as for the two float products that it holds.
    gains_by_bf16 = b != signature_INTEL_ebx;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool fma = c >> 12 & 1, saves_registers = c >> 27 & 1, avx = c >> 28 & 1;
    if (!fma || !saves_registers || !avx) return;
    const unsigned saved = enabled_registers();
    if ((saved & 0x6) != 0x6) return;  // the operating system keeps no YMM registers
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = b >> 5 & 1;
    const bool avx512 = (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1) && (saved & 0xe6) == 0xe6;
    avx512_vnni = avx2 && avx512 && (c >> 11 & 1);
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return;
    avx_vnni = avx2 && (a >> 4 & 1);
    avx512_bf16 = avx512_vnni && (a >> 5 & 1);
  }

  static unsigned enabled_registers() {
    unsigned low, high;
    asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
  }
};
#endif

std::vector<Level> find_levels() {
  std::vector<Level> found;
#if defined(__x86_64__)
  const Cpu cpu;
#ifdef FQ_AVX2
  found.push_back({"avx2", &kAvx2, cpu.avx2});
#else
  found.push_back({"avx2", nullptr, cpu.avx2});
#endif
#ifdef FQ_AVX_VNNI
  found.push_back({"avx_vnni", &kAvxVnni, cpu.avx_vnni});
#else
  found.push_back({"avx_vnni", nullptr, cpu.avx_vnni});
#endif
#ifdef FQ_AVX512_VNNI
  found.push_back({"avx512_vnni", &kAvx512Vnni, cpu.avx512_vnni});
#else
  found.push_back({"avx512_vnni", nullptr, cpu.avx512_vnni});
#endif
#ifdef FQ_AVX512_BF16
  found.push_back({"avx512_bf16", &kAvx512Bf16, cpu.avx512_bf16, cpu.gains_by_bf16});
#else
  found.push_back({"avx512_bf16", nullptr, cpu.avx512_bf16, cpu.gains_by_bf16});
#endif
#endif
  return found;
}

std::string names(bool of_those_that_run_here) {
  std::string list;
  for (const Level& level : levels())
    if (level.kernels && (level.runs_here || !of_those_that_run_here)) list += (list.empty() ? "" : ", ") + std::string(level.name);
  return list.empty() ? "none" : list;
}

}  // namespace

const std::vector<Level>& levels() {
  static const std::vector<Level> found = find_levels();
  return found;
}

const Kernels* choose_kernels(const char* wanted, std::string& why_not) {
  const bool any = !wanted || !*wanted;
  const Kernels* chosen = nullptr;
  for (const Level& level : levels())
    if (level.kernels && level.runs_here && (any ? level.gains : std::string(level.name) == wanted)) chosen = level.kernels;
  if (!chosen)
    why_not = any ? "this CPU runs none of the instruction sets that the library was built for (" + names(false) + ")"
                  : "the instruction set " + std::string(wanted) + " cannot be used: this CPU and library have " + names(true);
  return chosen;
}

}  // namespace fastrag_quant
