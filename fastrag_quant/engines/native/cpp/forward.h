// The forward pass of an encoder over packed texts.
#pragma once
#include "encoder.h"
#include "kernels.h"
#include "scratch.h"
#include "team.h"

namespace fastrag_quant {

enum class Pooling { kNone, kCls, kMean };  // kNone: the vectors of all tokens

struct Pass {
  const Encoder& encoder;
  const Kernels& kernels;
  Tokens tokens;
  Pooling pooling;
  bool normalize;
  float* out;  // [texts][hidden], or [tokens][hidden]
};

// How many threads are worth while for one pass.
int most_members(const Encoder&, const Tokens&, int threads);

// Make what a member needs of its own memory, so that nothing can fail once it has joined.
void reserve(const Pass&, Scratch& own);

// Lead a pass; fills out.
void lead(const Pass&, Team&, Scratch& own);

// Share the layers of a pass that somebody else leads, until it is over.
void follow(const Pass&, Team&, int member, Scratch& own, Scratch& leaders);

}  // namespace fastrag_quant
