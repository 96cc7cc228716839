// Which levels of instruction sets this library was built with, and which this CPU and operating system can run.
#pragma once
#include <string>
#include <vector>

#include "kernels.h"

namespace fastrag_quant {

struct Level {
  const char* name;
  const Kernels* kernels;  // null where the compiler could not build it
  bool runs_here;
  bool gains = true;  // over the level below
};

// From the lowest to the highest.
const std::vector<Level>& levels();

// The highest that runs here and gains by it, or the one that is named; null, and why, where there is none or it cannot run.
const Kernels* choose_kernels(const char* wanted, std::string& why_not);

}  // namespace fastrag_quant
