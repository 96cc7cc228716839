#include "forward.h"

#include <algorithm>
#include <cmath>

namespace fastrag_quant {
namespace {

// Rows that go through the dense products together, so that what lies between stays in the cache.
constexpr int kBlock = 96;
// Up to so many tokens a team splits the columns of products, else the rows: reading all weights takes longer than
// meeting more often (12 tokens on 2 cores: 1.74 times as fast by columns, 1.14 by rows; 96 tokens: 1.97 by rows).
constexpr int kMostTokensByColumns = 40;

struct Share {
  int part, parts;
  int begin(int count) const { return (int)((int64_t)count * part / parts); }
  int end(int count) const { return (int)((int64_t)count * (part + 1) / parts); }
};

// The memory that all members of a pass see.
struct Shared {
  float *rows, *context, *tops;
  uint8_t* quantized;
  Row* ranges;
  void* stored;
};

Shared shared_memory(const Pass& pass, Scratch& scratch, int members) {
  const Encoder& e = pass.encoder;
  const size_t tokens = pass.tokens.count();
  const bool by_columns = members > 1 && tokens <= (size_t)kMostTokensByColumns;
  Shared s;
  s.rows = scratch.rows.of<float>(tokens * e.width);
  s.context = scratch.context.of<float>(tokens * e.inner);
  s.quantized = scratch.quantized.of<uint8_t>(tokens * e.width * pass.kernels.quantized_bytes);
  s.ranges = scratch.ranges.of<Row>(tokens);
  s.stored = by_columns ? scratch.stored.of<uint8_t>(tokens * e.feed_forward * pass.kernels.stored_bytes) : nullptr;
  s.tops = by_columns ? scratch.tops.of<float>((size_t)members * kMostTokensByColumns * 16) : nullptr;
  return s;
}

// The memory of one member.
struct Own {
  uint8_t *heads, *quantized;
  void *attention, *stored;
  Row* ranges;
  float* top;
};

int longest_text(const Tokens& t) {
  int longest = 0;
  for (int text = 0; text < t.texts; text++) longest = std::max(longest, t.offsets[text + 1] - t.offsets[text]);
  return longest;
}

size_t bytes_of_heads(const Pass& pass) {
  return (size_t)kHeadColumns * (pass.tokens.count() + 8) * pass.kernels.stored_bytes;
}

Own own_memory(const Pass& pass, Scratch& scratch) {
  const Encoder& e = pass.encoder;
  const Kernels& k = pass.kernels;
  Own own;
  own.heads = scratch.heads.of<uint8_t>(3 * bytes_of_heads(pass));
  own.attention = scratch.attention.of<uint8_t>(k.attend_scratch(e.head, longest_text(pass.tokens)));
  own.quantized = scratch.own_quantized.of<uint8_t>((size_t)kBlock * std::max(e.inner, e.feed_forward) * k.quantized_bytes);
  own.stored = scratch.own_stored.of<uint8_t>((size_t)kBlock * e.feed_forward * k.stored_bytes);
  own.ranges = scratch.own_ranges.of<Row>(kBlock);
  own.top = scratch.own_top.of<float>(kBlock * 16);
  return own;
}

class Member {
 public:
  Member(const Pass& pass, const Shared& shared, Team& team, Scratch& scratch)
      : pass_(pass), e_(pass.encoder), k_(pass.kernels), shared_(shared), team_(team), own_(own_memory(pass, scratch)) {}

  void embed() {
    const Tokens& t = pass_.tokens;
    for (int text = 0; text < t.texts; text++) {
      int position = 0;
      for (int start = t.offsets[text], end; start < t.offsets[text + 1]; start = end) {
        end = start + 1;
        if (t.ids[start] == e_.padding) {  // which a text holds where it says "<pad>"
          k_.embed(e_, t.ids + start, e_.positions, 1, rows(start));
          continue;
        }
        while (end < t.offsets[text + 1] && t.ids[end] != e_.padding) end++;
        k_.embed(e_, t.ids + start, position, end - start, rows(start));
        position += end - start;
      }
    }
    normalize(e_.embedding_norm, 0, t.count());
  }

  void layer(const Layer& layer, Share share) {
    attention(layer, share);
    team_.meet(share.parts);
    if (share.parts > 1 && pass_.tokens.count() <= kMostTokensByColumns)
      dense_by_columns(layer, share);
    else
      dense_by_rows(layer, share);
    team_.meet(share.parts);
  }

 private:
  void* quantized(int row) const { return shared_.quantized + (size_t)row * e_.width * k_.quantized_bytes; }
  float* rows(int row) const { return shared_.rows + (size_t)row * e_.width; }

  void normalize(const Norm& norm, int from, int to) {
    k_.normalize(rows(from), norm, to - from, e_.hidden, e_.width, e_.epsilon, quantized(from), shared_.ranges + from);
  }

  // 64 columns of queries, keys and values at a time, then the attention of their heads, while they are in the cache.
  void attention(const Layer& layer, Share share) {
    const Tokens& t = pass_.tokens;
    const int tokens = t.count(), capacity = tokens + 8, groups = e_.inner / kHeadColumns;
    const size_t number = k_.stored_bytes, third = bytes_of_heads(pass_);
    for (int group = share.begin(groups); group < share.end(groups); group++) {
      for (int j = 0; j < 3; j++)
        k_.project(shared_.quantized, shared_.ranges, tokens, layer.query_key_value,
                   j * e_.inner + group * kHeadColumns, e_.head, capacity, own_.heads + j * third);
      for (int text = 0; text < t.texts; text++) {
        const int start = t.offsets[text], length = t.offsets[text + 1] - start;
        for (int column = 0; column < kHeadColumns; column += e_.head) {
          const uint8_t* q = own_.heads + ((size_t)column * capacity + (size_t)start * e_.head) * number;
          float* out = shared_.context + (size_t)start * e_.inner + group * kHeadColumns + column;
          k_.attend(e_.head, q, q + third, q + 2 * third, length, out, e_.inner, own_.attention);
        }
      }
    }
  }

  void dense_by_rows(const Layer& layer, Share share) {
    const int tokens = pass_.tokens.count(), first = share.begin(tokens), count = share.end(tokens) - first;
    const int blocks = (count + kBlock - 1) / kBlock;
    for (int block = 0; block < blocks; block++) {
      const Share of_block = {block, blocks};
      dense(layer, first + of_block.begin(count), first + of_block.end(count));
    }
  }

  void dense(const Layer& layer, int from, int to) {
    const int count = to - from;
    k_.quantize(shared_.context + (size_t)from * e_.inner, count, e_.inner, own_.quantized, own_.ranges);
    k_.add_product(own_.quantized, own_.ranges, count, layer.output, 0, e_.width, rows(from));
    normalize(layer.attention_norm, from, to);
    k_.gelu_product(quantized(from), shared_.ranges + from, count, layer.up, 0, e_.feed_forward, own_.stored, own_.top);
    k_.quantize_stored(own_.stored, own_.top, 1, 0, count, e_.feed_forward, own_.quantized, own_.ranges);
    k_.add_product(own_.quantized, own_.ranges, count, layer.down, 0, e_.width, rows(from));
    normalize(layer.output_norm, from, to);
  }

  // Each member makes some columns of each product; what all need of all columns, each quantizes for itself.
  void dense_by_columns(const Layer& layer, Share share) {
    const int tokens = pass_.tokens.count();
    const int first = share.begin(tokens), last = share.end(tokens);
    k_.quantize(shared_.context, tokens, e_.inner, own_.quantized, own_.ranges);
    k_.add_product(own_.quantized, own_.ranges, tokens, layer.output, columns(share.begin(e_.width / 32)), columns(share.end(e_.width / 32)),
                   shared_.rows);
    team_.meet(share.parts);
    normalize(layer.attention_norm, first, last);
    team_.meet(share.parts);
    const int panels = e_.feed_forward / 32;
    const size_t top_step = (size_t)kMostTokensByColumns * 16;
    k_.gelu_product(shared_.quantized, shared_.ranges, tokens, layer.up, columns(share.begin(panels)),
                    columns(share.end(panels)), shared_.stored, shared_.tops + share.part * top_step);
    team_.meet(share.parts);
    k_.quantize_stored(shared_.stored, shared_.tops, share.parts, top_step, tokens, e_.feed_forward, own_.quantized, own_.ranges);
    k_.add_product(own_.quantized, own_.ranges, tokens, layer.down, columns(share.begin(e_.width / 32)), columns(share.end(e_.width / 32)),
                   shared_.rows);
    team_.meet(share.parts);
    normalize(layer.output_norm, first, last);
  }

  static int columns(int panels) { return 32 * panels; }

  const Pass& pass_;
  const Encoder& e_;
  const Kernels& k_;
  const Shared& shared_;
  Team& team_;
  const Own own_;
};

void pool(const float* rows, int count, int width, int hidden, Pooling pooling, bool normalize, float* out) {
  if (pooling == Pooling::kCls) {
    std::copy(rows, rows + hidden, out);
  } else {
    std::fill(out, out + hidden, 0.f);
    for (int t = 0; t < count; t++)
      for (int k = 0; k < hidden; k++) out[k] += rows[(size_t)t * width + k];
    for (int k = 0; k < hidden; k++) out[k] /= (float)count;
  }
  if (!normalize) return;
  double squares = 0;
  for (int k = 0; k < hidden; k++) squares += (double)out[k] * out[k];
  const float scale = (float)(1 / std::max(std::sqrt(squares), 1e-12));
  for (int k = 0; k < hidden; k++) out[k] *= scale;
}

void hand_out(const Pass& pass, const float* rows) {
  const Encoder& e = pass.encoder;
  const Tokens& t = pass.tokens;
  if (pass.pooling == Pooling::kNone) {
    for (int row = 0; row < t.count(); row++)
      std::copy(rows + (size_t)row * e.width, rows + (size_t)row * e.width + e.hidden, pass.out + (size_t)row * e.hidden);
    return;
  }
  for (int text = 0; text < t.texts; text++)
    pool(rows + (size_t)t.offsets[text] * e.width, t.offsets[text + 1] - t.offsets[text], e.width, e.hidden,
         pass.pooling, pass.normalize, pass.out + (size_t)text * e.hidden);
}

}  // namespace

int most_members(const Encoder& encoder, const Tokens& tokens, int threads) {
  const int groups = encoder.inner / kHeadColumns;
  const int worth = tokens.count() <= kMostTokensByColumns ? 4 : tokens.count() / 24;
  return std::max(1, std::min({threads, groups, worth, 64}));
}

void reserve(const Pass& pass, Scratch& own) { own_memory(pass, own); }

void lead(const Pass& pass, Team& team, Scratch& own) {
  const Shared shared = shared_memory(pass, own, team.most());
  Member leader(pass, shared, team, own);
  leader.embed();
  for (size_t i = 0; i < pass.encoder.layers.size(); i++)
    leader.layer(pass.encoder.layers[i], {0, team.open_layer((int)i)});
  hand_out(pass, shared.rows);
}

void follow(const Pass& pass, Team& team, int member, Scratch& own, Scratch& leaders) {
  int parts = 0, layer = team.next_layer(member, -1, parts);
  if (layer == Team::kOver) return;
  // The leader has made its memory by now: this only finds it.
  const Shared shared = shared_memory(pass, leaders, team.most());
  Member follower(pass, shared, team, own);
  for (; layer != Team::kOver; layer = team.next_layer(member, layer, parts))
    follower.layer(pass.encoder.layers[layer], {member, parts});
}

}  // namespace fastrag_quant
