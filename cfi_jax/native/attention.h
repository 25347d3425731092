// Attention of many pixels over few tokens, both directions summed; weights never leave the caches.
#pragma once
#include <cmath>

#include "operands.h"
#include "product.h"

namespace cfi {
constexpr int64_t kGroup = 48;  // pixels whose weights are held at a time

// One direction of one group: softmax(x key^T + shift) value. Arrays with a batch of one are
// shared by all samples.
struct Direction {
  Direction(const Lead& lead, const Input& x_, const Input& key_, const Input& shift_,
            const Input& value_)
      : x(lead.in(x_, 3)), key(lead.in(key_, 3)), shift(lead.in(shift_, 2)),
        value(lead.in(value_, 3)), pixels(x.shape[1]), tokens(key.shape[1]), depth(x.shape[2]),
        padded(round_up(tokens, std::max(8, kLanes))), wide(round_up(depth, kLanes)) {
    const int64_t b = key.shape[0];
    require(shift.shape == std::vector<int64_t>{b, tokens}, "shifts do not fit the keys");
    require(key.shape[2] == depth && value.shape == key.shape, "tokens do not fit the pixels");
    require(depth % 4 == 0, "features are not a multiple of 4");
    require(b == 1 || x.shape[0] == 1 || x.shape[0] == b, "pixels and tokens differ in their batch");
  }
  static const float* sample(const In& array, int64_t g, int64_t b) {
    return array[g] + (array.shape[0] > 1 ? b * array.size() / array.shape[0] : 0);
  }
  int64_t batch() const { return std::max(x.shape[0], key.shape[0]); }
  In x, key, shift, value;
  const int64_t pixels, tokens, depth, padded, wide;
};

// The tokens of one sample, packed for products with pixels.
struct Tokens {
  Tokens(const Direction& d, int64_t g, int64_t b)
      : keys(across(d, Direction::sample(d.key, g, b))), shift(d.padded, -1e30f) {
    std::memcpy(shift.data(), Direction::sample(d.shift, g, b), d.tokens * 4);
  }
  static Packed across(const Direction& d, const float* rows) {
    return Packed(d.depth, d.padded, [&](int64_t c, int64_t t) {
      return t < d.tokens ? rows[t * d.depth + c] : 0.0f;
    });
  }
  static Packed along(const Direction& d, const float* rows) {
    return Packed(d.padded, d.depth, [&](int64_t t, int64_t c) {
      return t < d.tokens ? rows[t * d.depth + c] : 0.0f;
    });
  }
  // softmax(x key^T + shift) of n pixels, `padded` tokens each.
  void weights(const Direction& d, const float* x, int64_t n, float* out) const {
    const Left left{{x}, 1, d.depth, d.depth};
    product(left, n, keys, shift.data(), false, out, d.padded);
    for (float* row = out; row < out + n * d.padded; row += d.padded) {
      Wide most = load<Wide>(row), total{};
      for (int64_t t = kLanes; t < d.padded; t += kLanes) most = larger(most, load<Wide>(row + t));
      const Wide top = splat<Wide>(largest(most));
      for (int64_t t = 0; t < d.padded; t += kLanes) {
        const Wide e = exponential(load<Wide>(row + t) - top);
        total += e;
        store(row + t, e);
      }
      const Wide share = splat<Wide>(1.0f / sum(total));
      for (int64_t t = 0; t < d.padded; t += kLanes) store(row + t, load<Wide>(row + t) * share);
    }
  }
  Packed keys;
  std::vector<float> shift;
};

// Pixels in at most 64 spans of whole groups per sample.
struct Spans {
  explicit Spans(int64_t pixels, int64_t batch) : pixels(pixels) {
    size = round_up(std::max(2 * kGroup, pixels * batch / 64), kGroup);
    count = ceil_div(pixels, size);
  }
  template <class F>
  void each_group(int64_t span, F f) const {
    const int64_t last = std::min(pixels, (span + 1) * size);
    for (int64_t p = span * size; p < last; p += kGroup) f(p, std::min(kGroup, last - p));
  }
  int64_t pixels, size, count;
};

inline void attend(ffi::ThreadPool pool, Input x1, Input key1, Input shift1, Input value1,
                   Input x2, Input key2, Input shift2, Input value2, Output out_) {
  const Lead lead(out_, 3);
  const Out out = lead.out(out_, 3);
  const Direction directions[2] = {{lead, x1, key1, shift1, value1},
                                   {lead, x2, key2, shift2, value2}};
  const int64_t batch = out.shape[0], depth = out.shape[2];
  for (const Direction& d : directions)
    require(d.pixels == out.shape[1] && d.depth == depth && d.batch() == batch,
            "the directions differ");
  const Spans spans(out.shape[1], batch);
  parallel(pool, lead.count * batch * spans.count, [&](int64_t task) {
    const int64_t sample = task / spans.count, g = sample / batch, b = sample % batch;
    float* to = out[g] + b * spans.pixels * depth;
    for (const Direction& d : directions) {
      const Tokens tokens(d, g, b);
      const Packed values = Tokens::along(d, Direction::sample(d.value, g, b));
      const float* x = Direction::sample(d.x, g, b);
      const Scratch scratch({kGroup * d.padded});
      spans.each_group(task % spans.count, [&](int64_t p, int64_t n) {
        tokens.weights(d, x + p * depth, n, scratch[0]);
        const Left left{{scratch[0]}, 1, d.padded, d.padded};
        product(left, n, values, nullptr, &d != directions, to + p * depth, depth);
      });
    }
  });
}

// Gradients of one direction for every sample, those of shared arrays not yet summed.
inline void attend_backward(ffi::ThreadPool pool, Input d_out_, Input x_, Input key_, Input shift_,
                            Input value_, Output dx_, Output dkey_, Output dshift_,
                            Output dvalue_) {
  constexpr int kRows = kRegisters == 32 ? 8 : 4;
  const Lead lead(dx_, 3);
  const In d_out = lead.in(d_out_, 3);
  const Direction d(lead, x_, key_, shift_, value_);
  const Out dx = lead.out(dx_, 3), dkey = lead.out(dkey_, 3), dshift = lead.out(dshift_, 2);
  const Out dvalue = lead.out(dvalue_, 3);
  const int64_t batch = d_out.shape[0], depth = d.depth, padded = d.padded;
  require(dx.shape == d_out.shape && d.pixels == d_out.shape[1] && d.depth == d_out.shape[2] &&
              d.batch() == batch,
          "the gradient does not fit");
  const Spans spans(d.pixels, batch);
  const Slots slots(lead.count * batch * spans.count, padded * (2 * d.wide + 1));
  parallel(pool, lead.count * batch * spans.count, [&](int64_t task) {
    const int64_t sample = task / spans.count, g = sample / batch, b = sample % batch;
    const Tokens tokens(d, g, b);
    const float* key = Direction::sample(d.key, g, b);
    const Packed values = Tokens::across(d, Direction::sample(d.value, g, b));
    const Packed keys = Tokens::along(d, key);
    const float* x = Direction::sample(d.x, g, b);
    const Scratch scratch({kGroup * padded, kGroup * padded, 2 * kGroup * d.wide});
    float *w = scratch[0], *ds = scratch[1], *slot = slots[task];
    float *to_key = slot, *to_value = slot + padded * d.wide, *to_shift = to_value + padded * d.wide;
    std::memset(slot, 0, slots.size * 4);
    spans.each_group(task % spans.count, [&](int64_t p, int64_t n) {
      const int64_t at = (b * d.pixels + p) * depth;
      const float *grad = d_out[g] + at, *from = x + p * depth;
      tokens.weights(d, from, n, w);
      product(Left{{grad}, 1, depth, depth}, n, values, nullptr, false, ds, padded);
      for (int64_t i = 0; i < n * padded; i += padded) {
        Wide dot{};
        for (int64_t t = i; t < i + padded; t += kLanes)
          dot += load<Wide>(w + t) * load<Wide>(ds + t);
        const Wide mean = splat<Wide>(sum(dot));
        for (int64_t t = 0; t < padded; t += kLanes) {
          const Wide s = load<Wide>(w + i + t) * (load<Wide>(ds + i + t) - mean);
          store(ds + i + t, s);
          store(to_shift + t, load<Wide>(to_shift + t) + s);
        }
      }
      product(Left{{ds}, 1, padded, padded}, n, keys, nullptr, false, dx[g] + at, depth);
      // Rows as wide as vectors for the sums over pixels.
      auto widened = [&](const float* rows, float* copy) {
        if (d.wide == depth) return rows;
        std::memset(copy, 0, n * d.wide * 4);
        for (int64_t q = 0; q < n; ++q)
          std::memcpy(copy + q * d.wide, rows + q * depth, depth * 4);
        return static_cast<const float*>(copy);
      };
      outer<kRows>(w, padded, padded, widened(grad, scratch[2]), d.wide, d.wide, n, to_value);
      outer<kRows>(ds, padded, padded, widened(from, scratch[2] + kGroup * d.wide), d.wide, d.wide,
                   n, to_key);
    });
  });
  parallel(pool, lead.count * batch, [&](int64_t sample) {
    const int64_t g = sample / batch, b = sample % batch;
    const int64_t first = sample * spans.count, last = first + spans.count;
    std::vector<float> total(slots.size);
    slots.sum(first, last, 0, slots.size, total.data());
    for (int64_t t = 0; t < d.tokens; ++t) {
      const int64_t row = (b * d.tokens + t) * depth;
      std::memcpy(dkey[g] + row, &total[t * d.wide], depth * 4);
      std::memcpy(dvalue[g] + row, &total[(padded + t) * d.wide], depth * 4);
    }
    std::memcpy(dshift[g] + b * d.tokens, &total[2 * padded * d.wide], d.tokens * 4);
  });
}

}  // namespace cfi
