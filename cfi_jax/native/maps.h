// Pooling, gate and mix, grid means, resizing: what is done to maps [B, H, W, C] pixel by pixel.
#pragma once
#include <cmath>

#include "operands.h"

namespace cfi {
// f(group, image, row) for the rows of maps, as tasks of about `floats` floats.
template <class F>
void each_row(ffi::ThreadPool& pool, int64_t groups, int64_t batch, int64_t height,
              int64_t row_floats, F f) {
  const int64_t rows = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row_floats));
  const int64_t all = groups * batch * height;
  parallel(pool, ceil_div(all, rows), [&](int64_t task) {
    for (int64_t i = task * rows; i < std::min(all, (task + 1) * rows); ++i)
      f(i / height / batch, i / height % batch, i % height);
  });
}

inline void halve(ffi::ThreadPool pool, Input x_, Output y_) {
  const Lead lead(y_, 4);
  const In x = lead.in(x_, 4);
  const Out y = lead.out(y_, 4);
  const int64_t height = x.shape[1], width = x.shape[2], depth = x.shape[3];
  const int64_t h = y.shape[1], w = y.shape[2];
  require(h == height / 2 && w == width / 2 && depth % 4 == 0, "half a map has other sides");
  each_row(pool, lead.count, y.shape[0], h, w * depth, [&](int64_t g, int64_t b, int64_t r) {
    const float* upper = x[g] + (b * height + 2 * r) * width * depth;
    const float* lower = upper + width * depth;
    float* out = y[g] + (b * h + r) * w * depth;
    for (int64_t q = 0; q < w; ++q)
      channels(depth, [&](auto type, int64_t c) {
        using T = decltype(type);
        const int64_t i = 2 * q * depth + c;
        const T above = larger_or_nan(load<T>(upper + i), load<T>(upper + i + depth));
        const T below = larger_or_nan(load<T>(lower + i), load<T>(lower + i + depth));
        store(out + q * depth + c, larger_or_nan(above, below));
      });
  });
}

// The gradient of `halve`, to the first maximum of a tie.
inline void halve_backward(ffi::ThreadPool pool, Input x_, Input dy_, Output dx_) {
  const Lead lead(dx_, 4);
  const In x = lead.in(x_, 4), dy = lead.in(dy_, 4);
  const Out dx = lead.out(dx_, 4);
  const int64_t height = x.shape[1], width = x.shape[2], depth = x.shape[3];
  const int64_t h = dy.shape[1], w = dy.shape[2], line = width * depth;
  require(h == height / 2 && w == width / 2 && depth % 4 == 0, "half a map has other sides");
  each_row(pool, lead.count, x.shape[0], ceil_div(height, 2), 2 * line,
           [&](int64_t g, int64_t b, int64_t r) {
    const int64_t at = (b * height + 2 * r) * line;
    float* out = dx[g] + at;
    if (r == h) return void(std::memset(out, 0, line * 4));
    const float *from = x[g] + at, *grad = dy[g] + (b * h + r) * w * depth;
    for (int64_t q = 0; q < w; ++q)
      channels(depth, [&](auto type, int64_t c) {
        using T = decltype(type);
        const int64_t places[4] = {0, depth, line, line + depth}, i = 2 * q * depth + c;
        T value[4];
        for (int k = 0; k < 4; ++k) value[k] = load<T>(from + i + places[k]);
        const T most = larger(larger(value[0], value[1]), larger(value[2], value[3]));
        T left = load<T>(grad + q * depth + c);
        for (int k = 0; k < 4; ++k) {
          const Mask<T> here = value[k] == most;
          store(out + i + places[k], here ? left : T{});
          left = here ? T{} : left;
        }
      });
    if (width % 2)
      for (int64_t row = 0; row < 2; ++row)
        std::memset(out + row * line + line - depth, 0, depth * 4);
  });
}

inline int64_t sample(const In& array, int64_t b) {
  return array.shape[0] > 1 ? b * array.size() / array.shape[0] : 0;
}
// Every sample's own map or everybody's, of the sides of `whole`.
inline bool is_map_or_shared(const In& array, const std::vector<int64_t>& whole) {
  return (array.shape[0] == 1 || array.shape[0] == whole[0]) &&
         std::equal(whole.begin() + 1, whole.end(), array.shape.begin() + 1);
}
inline void check_mix(const std::vector<int64_t>& whole, const In& hidden, const In& w,
                      const In& cross, const In& visible, const In& infrared) {
  const int64_t inner = hidden.shape[3];
  require(cross.shape == whole && is_map_or_shared(visible, whole) &&
              is_map_or_shared(infrared, whole) && w.shape[0] == inner &&
              std::equal(whole.begin(), whole.begin() + 3, hidden.shape.begin()),
          "maps to mix differ");
  require(whole[3] % 4 == 0 && (inner == 1 || inner % 4 == 0),
          "channels are not a multiple of 4");
}

// gate = sigmoid(hidden . w + bias); out = gate * cross + (1 - gate) * (visible + infrared).
inline void mix(ffi::ThreadPool pool, Input hidden_, Input w_, Input bias_, Input cross_,
                Input visible_, Input infrared_, Output gate_, Output out_) {
  const Lead lead(out_, 4);
  const In hidden = lead.in(hidden_, 4), w = lead.in(w_, 1), bias = lead.in(bias_, 1);
  const In cross = lead.in(cross_, 4), visible = lead.in(visible_, 4);
  const In infrared = lead.in(infrared_, 4);
  const Out gate = lead.out(gate_, 4), out = lead.out(out_, 4);
  const int64_t n = out.shape[2], depth = out.shape[3], inner = hidden.shape[3];
  check_mix(out.shape, hidden, w, cross, visible, infrared);
  require(bias.size() == 1, "a gate has one bias");
  each_row(pool, lead.count, out.shape[0], out.shape[1], n * depth,
           [&](int64_t g, int64_t b, int64_t r) {
    const int64_t row = (b * out.shape[1] + r) * n;
    const float* from = hidden[g] + row * inner;
    const float* a = visible[g] + sample(visible, b) + r * n * depth;
    const float* e = infrared[g] + sample(infrared, b) + r * n * depth;
    const float* c = cross[g] + row * depth;
    float *gates = gate[g] + row, *to = out[g] + row * depth;
    const Scratch scratch({n});
    float* logits = scratch[0];
    for (int64_t p = 0; p < n; ++p) {
      float total = bias[g][0];
      if (inner == 1) {
        total += from[p] * w[g][0];
      } else {
        Quad parts{};
        for (int64_t k = 0; k < inner; k += 4)
          parts += load<Quad>(from + p * inner + k) * load<Quad>(w[g] + k);
        total += (parts[0] + parts[1]) + (parts[2] + parts[3]);
      }
      logits[p] = total;
    }
    channels(round_up(n, 4), [&](auto type, int64_t p) {  // a Scratch has room beyond its end
      store(logits + p, sigmoid(load<decltype(type)>(logits + p)));
    });
    std::memcpy(gates, logits, n * 4);
    for (int64_t p = 0; p < n; ++p) {
      const float share = logits[p];
      channels(depth, [&](auto type, int64_t k) {
        using T = decltype(type);
        const int64_t i = p * depth + k;
        store(to + i, share * load<T>(c + i) +
                          (1.0f - share) * (load<T>(a + i) + load<T>(e + i)));
      });
    }
  });
}

// Gradients of `mix`; towards visible and infrared it is the same, for every sample.
inline void mix_backward(ffi::ThreadPool pool, Input dgate_, Input dout_, Input gate_,
                         Input hidden_, Input w_, Input cross_, Input visible_, Input infrared_,
                         Output dhidden_, Output dw_, Output dbias_, Output dcross_,
                         Output dlocal_) {
  const Lead lead(dcross_, 4);
  const In dgate = lead.in(dgate_, 4), dout = lead.in(dout_, 4), gate = lead.in(gate_, 4);
  const In hidden = lead.in(hidden_, 4), w = lead.in(w_, 1), cross = lead.in(cross_, 4);
  const In visible = lead.in(visible_, 4), infrared = lead.in(infrared_, 4);
  const Out dhidden = lead.out(dhidden_, 4), dw = lead.out(dw_, 1), dbias = lead.out(dbias_, 1);
  const Out dcross = lead.out(dcross_, 4), dlocal = lead.out(dlocal_, 4);
  const int64_t batch = dout.shape[0], height = dout.shape[1], n = dout.shape[2];
  const int64_t depth = dout.shape[3], inner = hidden.shape[3];
  check_mix(dout.shape, hidden, w, cross, visible, infrared);
  const Slots slots(lead.count * batch * height, inner + 1);
  each_row(pool, lead.count, batch, height, n * depth, [&](int64_t g, int64_t b, int64_t r) {
    const int64_t row = (b * height + r) * n;
    const float* a = visible[g] + sample(visible, b) + r * n * depth;
    const float* e = infrared[g] + sample(infrared, b) + r * n * depth;
    const float *c = cross[g] + row * depth, *d = dout[g] + row * depth;
    float *to_cross = dcross[g] + row * depth, *to_local = dlocal[g] + row * depth;
    float* slot = slots[(g * batch + b) * height + r];
    const Scratch scratch({n});
    float *dlogits = scratch[0], bias = 0;
    for (int64_t p = 0; p < n; ++p) {
      const float share = gate[g][row + p];
      Wide wide{};
      Quad rest{};
      auto add = [&](auto type, int64_t i, auto& total) {
        using T = decltype(type);
        const T grad = load<T>(d + i);
        total += grad * (load<T>(c + i) - (load<T>(a + i) + load<T>(e + i)));
        store(to_cross + i, share * grad);
        store(to_local + i, (1.0f - share) * grad);
      };
      int64_t k = 0;
      for (; k + kLanes <= depth; k += kLanes) add(Wide{}, p * depth + k, wide);
      for (; k < depth; k += 4) add(Quad{}, p * depth + k, rest);
      const float towards = sum(wide) + ((rest[0] + rest[1]) + (rest[2] + rest[3]));
      dlogits[p] = (towards + dgate[g][row + p]) * share * (1.0f - share);
      bias += dlogits[p];
    }
    const float* from = hidden[g] + row * inner;
    float* to = dhidden[g] + row * inner;
    slot[inner] = bias;
    if (inner == 1) {
      slot[0] = 0;
      for (int64_t p = 0; p < n; ++p) {
        to[p] = dlogits[p] * w[g][0];
        slot[0] += dlogits[p] * from[p];
      }
      return;
    }
    channels(inner, [&](auto type, int64_t k) {
      using T = decltype(type);
      const T weight = load<T>(w[g] + k);
      T total{};
      for (int64_t p = 0; p < n; ++p) {
        store(to + p * inner + k, dlogits[p] * weight);
        total += dlogits[p] * load<T>(from + p * inner + k);
      }
      store(slot + k, total);
    });
  });
  for (int64_t g = 0; g < lead.count; ++g) {
    const int64_t first = g * batch * height, last = first + batch * height;
    slots.sum(first, last, 0, inner, dw[g]);
    slots.sum(first, last, inner, inner + 1, dbias[g]);
  }
}

// Bins of adaptive average pooling: bin j covers [start(j), stop(j)).
struct Bins {
  int64_t size, count;
  int64_t start(int64_t j) const { return j * size / count; }
  int64_t stop(int64_t j) const { return ceil_div((j + 1) * size, count); }
};

inline void grid_mean(ffi::ThreadPool pool, Input x_, Output y_) {
  const Lead lead(y_, 4);
  const In x = lead.in(x_, 4);
  const Out y = lead.out(y_, 4);
  const int64_t width = x.shape[2], depth = x.shape[3];
  const Bins rows{x.shape[1], y.shape[1]}, columns{width, y.shape[2]};
  require(depth % 4 == 0, "channels are not a multiple of 4");
  parallel(pool, lead.count * y.shape[0] * rows.count, [&](int64_t task) {
    const int64_t i = task % rows.count, image = task / rows.count;
    const int64_t g = image / y.shape[0], b = image % y.shape[0];
    const float* pixels = x[g] + b * rows.size * width * depth;
    float* out = y[g] + (b * rows.count + i) * columns.count * depth;
    for (int64_t j = 0; j < columns.count; ++j)
      channels(depth, [&](auto type, int64_t c) {
        using T = decltype(type);
        T total{};
        for (int64_t r = rows.start(i); r < rows.stop(i); ++r) {
          T line{};
          for (int64_t q = columns.start(j); q < columns.stop(j); ++q)
            line += load<T>(pixels + (r * width + q) * depth + c);
          total += line;
        }
        const int64_t cell = (rows.stop(i) - rows.start(i)) * (columns.stop(j) - columns.start(j));
        store(out + j * depth + c, total / float(cell));
      });
  });
}

inline void grid_mean_backward(ffi::ThreadPool pool, Input dy_, Output dx_) {
  const Lead lead(dx_, 4);
  const In dy = lead.in(dy_, 4);
  const Out dx = lead.out(dx_, 4);
  const int64_t width = dx.shape[2], depth = dx.shape[3];
  const Bins rows{dx.shape[1], dy.shape[1]}, columns{width, dy.shape[2]};
  const int64_t line = columns.count * depth;
  require(depth % 4 == 0, "channels are not a multiple of 4");
  each_row(pool, lead.count, dx.shape[0], rows.size, width * depth,
           [&](int64_t g, int64_t b, int64_t r) {
    const Scratch scratch({line});
    float *cells = scratch[0], *out = dx[g] + (b * rows.size + r) * width * depth;
    std::memset(cells, 0, line * 4);
    std::memset(out, 0, width * depth * 4);
    for (int64_t i = 0; i < rows.count; ++i) {
      if (r < rows.start(i) || r >= rows.stop(i)) continue;
      const float share = 1.0f / float(rows.stop(i) - rows.start(i));
      const float* from = dy[g] + (b * rows.count + i) * line;
      for (int64_t k = 0; k < line; ++k) cells[k] += share * from[k];
    }
    for (int64_t j = 0; j < columns.count; ++j) {
      const float share = 1.0f / float(columns.stop(j) - columns.start(j));
      for (int64_t q = columns.start(j); q < columns.stop(j); ++q)
        for (int64_t c = 0; c < depth; ++c) out[q * depth + c] += share * cells[j * depth + c];
    }
  });
}

// Bilinear resizing of one axis: output o lies between inputs low(o) and low(o) + 1.
struct Axis {
  Axis(int64_t size, int64_t new_size) : size(size), new_size(new_size) {
    for (int64_t o = 0; o < new_size; ++o) {
      const double place = (double(o) + 0.5) * double(size) / double(new_size) - 0.5;
      const double centre = std::min(std::max(place, 0.0), double(size - 1));
      const int64_t i = std::min<int64_t>(int64_t(centre), std::max<int64_t>(0, size - 2));
      low.push_back(i);
      high.push_back(std::min(i + 1, size - 1));
      near.push_back(float(1.0 - (centre - double(i))));
      far.push_back(size > 1 ? float(centre - double(i)) : 0.0f);
    }
    // The outputs that input i has a share in.
    int64_t o = 0;
    for (int64_t i = 0; i < size; ++i) {
      while (o < new_size && high[o] < i) ++o;
      first.push_back(o);
      int64_t end = o;
      while (end < new_size && low[end] <= i) ++end;
      last.push_back(end);
    }
  }
  float share(int64_t o, int64_t i) const {
    return low[o] == i ? near[o] : high[o] == i ? far[o] : 0.0f;
  }
  int64_t size, new_size;
  std::vector<int64_t> low, high, first, last;
  std::vector<float> near, far;
};

// out = skip + x resized to its size.
inline void enlarge(ffi::ThreadPool pool, Input x_, Input skip_, Output out_) {
  const Lead lead(out_, 4);
  const In x = lead.in(x_, 4), skip = lead.in(skip_, 4);
  const Out out = lead.out(out_, 4);
  const int64_t height = out.shape[1], width = out.shape[2], depth = out.shape[3];
  const Axis rows(x.shape[1], height), columns(x.shape[2], width);
  const int64_t line = x.shape[2] * depth;
  require(depth % 4 == 0, "channels are not a multiple of 4");
  require(x.shape[0] == out.shape[0] && x.shape[3] == depth, "maps of two sizes differ");
  each_row(pool, lead.count, out.shape[0], height, width * depth,
           [&](int64_t g, int64_t b, int64_t r) {
    const Scratch scratch({line});
    float* mixed = scratch[0];
    const float* upper = x[g] + (b * rows.size + rows.low[r]) * line;
    const float* lower = x[g] + (b * rows.size + rows.high[r]) * line;
    const float near = rows.near[r], far = rows.far[r];
    for (int64_t k = 0; k < line; ++k) mixed[k] = near * upper[k] + far * lower[k];
    const int64_t at = (b * height + r) * width * depth;
    const float* add = skip[g] + at;
    float* to = out[g] + at;
    for (int64_t q = 0; q < width; ++q) {
      const float *left = mixed + columns.low[q] * depth, *right = mixed + columns.high[q] * depth;
      const float a = columns.near[q], e = columns.far[q];
      channels(depth, [&](auto type, int64_t c) {
        using T = decltype(type);
        const int64_t i = q * depth + c;
        store(to + i, load<T>(add + i) + (a * load<T>(left + c) + e * load<T>(right + c)));
      });
    }
  });
}

// The gradient of `enlarge` towards x.
inline void enlarge_backward(ffi::ThreadPool pool, Input dout_, Output dx_) {
  const Lead lead(dx_, 4);
  const In dout = lead.in(dout_, 4);
  const Out dx = lead.out(dx_, 4);
  const int64_t height = dout.shape[1], width = dout.shape[2], depth = dout.shape[3];
  const Axis rows(dx.shape[1], height), columns(dx.shape[2], width);
  const int64_t line = width * depth;
  require(depth % 4 == 0, "channels are not a multiple of 4");
  each_row(pool, lead.count, dx.shape[0], rows.size, columns.size * depth,
           [&](int64_t g, int64_t b, int64_t i) {
    const Scratch scratch({line});
    float *mixed = scratch[0], *to = dx[g] + (b * rows.size + i) * columns.size * depth;
    std::memset(mixed, 0, line * 4);
    for (int64_t r = rows.first[i]; r < rows.last[i]; ++r) {
      const float share = rows.share(r, i);
      const float* from = dout[g] + (b * height + r) * line;
      for (int64_t k = 0; k < line; ++k) mixed[k] += share * from[k];
    }
    for (int64_t j = 0; j < columns.size; ++j)
      channels(depth, [&](auto type, int64_t c) {
        using T = decltype(type);
        T total{};
        for (int64_t q = columns.first[j]; q < columns.last[j]; ++q)
          total += columns.share(q, j) * load<T>(mixed + q * depth + c);
        store(to + j * depth + c, total);
      });
  });
}

// The sum over the first axis, in its order, for an array that all samples shared.
inline void sum_batch(ffi::ThreadPool pool, Input x_, Output y_) {
  const Lead lead(y_, 2);
  const In x = lead.in(x_, 2);
  const Out y = lead.out(y_, 2);
  const int64_t size = y.size(), block = 16384, tasks = ceil_div(size, block);
  require(x.size() == size * x.shape[0] && size % 4 == 0, "a sum over the batch does not fit");
  parallel(pool, lead.count * tasks, [&](int64_t task) {
    const int64_t g = task / tasks, first = task % tasks * block;
    channels(std::min(block, size - first), [&](auto type, int64_t k) {
      using T = decltype(type);
      T total = load<T>(x[g] + first + k);
      for (int64_t b = 1; b < x.shape[0]; ++b) total += load<T>(x[g] + b * size + first + k);
      store(y[g] + first + k, total);
    });
  });
}

}  // namespace cfi
