// 3x3 convolutions of maps [B, H, W, C] and their gradients, with batch normalisation around them.
#pragma once
#include "operands.h"
#include "product.h"

namespace cfi {
enum Border : int32_t { kZeros, kReflect, kReplicate };

// The position in [0, n) that stands for position i of a row with a border; -1: zeros.
inline int64_t source(int64_t i, int64_t n, int32_t border) {
  if (i >= 0 && i < n) return i;
  if (border == kZeros) return -1;
  if (border == kReplicate || n == 1) return i < 0 ? 0 : n - 1;
  return i < 0 ? 1 : n - 2;
}

// Sides of a batch of maps, and its rows in blocks: at most about 64, whatever the machine, so
// that sums over blocks depend on shapes alone.
struct Maps {
  // slot: floats that every task keeps; their sum is bounded.
  explicit Maps(const std::vector<int64_t>& s, int64_t slot = 1)
      : batch(s[0]), height(s[1]), width(s[2]), depth(s[3]) {
    require(batch > 0 && height > 0 && width > 0 && depth > 0, "a map is empty");
    rows = std::max<int64_t>(4, ceil_div(batch * height, 64));
    blocks = ceil_div(height, rows);
    rows = ceil_div(height, blocks);
    const int64_t most = std::max<int64_t>(8, std::min<int64_t>(64, (16 << 20) / slot));
    tasks = std::min(most, batch * blocks);
  }
  int64_t row_floats() const { return width * depth; }
  int64_t floats() const { return height * width * depth; }
  // Calls f(image, first row, last row excluded) for the blocks of one task.
  template <class F>
  void each_block(int64_t task, F f) const {
    const int64_t all = batch * blocks;
    for (int64_t i = all * task / tasks; i < all * (task + 1) / tasks; ++i) {
      const int64_t first = i % blocks * rows;
      f(i / blocks, first, std::min(height, first + rows));
    }
  }
  int64_t batch, height, width, depth, rows, blocks, tasks;
};

// Three rows of a map that a block goes through, each with `margin` pixels on either side.
struct Ring {
  float* memory;
  int64_t pixels, step;
  float* operator[](int64_t row) const { return memory + (row + 3) % 3 * pixels * step; }
};

// Row `row` of an image with its border of one pixel, `step` floats per pixel (zeros beyond depth).
inline void border_row(const float* image, const Maps& maps, int64_t row, int32_t border,
                       int64_t step, float* out) {
  const int64_t from = source(row, maps.height, border), depth = maps.depth;
  if (from < 0 || step > depth) std::memset(out, 0, (maps.width + 2) * step * 4);
  if (from < 0) return;
  const float* pixels = image + from * maps.row_floats();
  if (step == depth) {
    std::memcpy(out + step, pixels, maps.row_floats() * 4);
  } else {
    for (int64_t x = 0; x < maps.width; ++x)
      std::memcpy(out + (x + 1) * step, pixels + x * depth, depth * 4);
  }
  for (const int64_t x : {int64_t(-1), maps.width}) {
    const int64_t column = source(x, maps.width, border);
    float* to = out + (x + 1) * step;
    if (column < 0) std::memset(to, 0, step * 4);
    else std::memcpy(to, pixels + column * depth, depth * 4);
  }
}

// A 3x3 kernel that makes rows of `outputs` channels from three rows of `step` floats per pixel.
class Kernel {
 public:
  // value(tap, i, o): the weight of input i in output o, for i below `inputs`.
  template <class F>
  Kernel(int64_t step, int64_t inputs, int64_t outputs, F value)
      : step_(step), right_(9 * step, outputs, [&](int64_t k, int64_t o) {
          return k % step < inputs ? value(k / step, k % step, o) : 0.0f;
        }) {
    require(outputs > 1 || step % 4 == 0, "one channel comes from a multiple of 4 channels");
    if (outputs == 1)
      for (int64_t k = 0; k < 9 * step; ++k) single_.push_back(right_.column(0)[k * kLanes]);
  }
  void row(const float* above, const float* here, const float* below, int64_t pixels,
           const float* bias, float* out) const {
    const Left left{{above, here, below}, 3, step_, 3 * step_};
    if (single_.empty()) return product(left, pixels, right_, bias, false, out, right_.width);
    for (int64_t p = 0; p < pixels; ++p) out[p] = dot(left, p) + (bias ? bias[0] : 0.0f);
  }

 private:
  float dot(const Left& left, int64_t pixel) const {
    Wide wide{};
    Quad rest{};
    for (int r = 0; r < 3; ++r) {
      const float *a = left.rows[r] + pixel * step_, *b = single_.data() + r * left.depth;
      int64_t k = 0;
      for (; k + kLanes <= left.depth; k += kLanes)
        wide += load<Wide>(a + k) * load<Wide>(b + k);
      for (; k < left.depth; k += 4) rest += load<Quad>(a + k) * load<Quad>(b + k);
    }
    return sum(wide) + ((rest[0] + rest[1]) + (rest[2] + rest[3]));
  }
  int64_t step_;
  Packed right_;
  std::vector<float> single_;
};

inline void check_kernel(const In& x, const In& w) {
  require(w.shape[0] == 3 && w.shape[1] == 3 && w.shape[2] == x.shape[3], "a kernel does not fit");
  const int64_t from = w.shape[2], to = w.shape[3];
  require(from == 1 || from % 4 == 0, "input channels are neither 1 nor a multiple of 4");
  require(to == 1 || to % 4 == 0, "output channels are neither 1 nor a multiple of 4");
  require(from > 1 || to > 1, "one channel to one channel");
}

// finish(group, image * height + row, the row) for all rows of conv(x, w) + b, written to y first.
template <class Finish>
void convolve(ffi::ThreadPool& pool, int64_t groups, int32_t border, const In& x, const In& w,
              const In& b, const Out& y, Finish finish) {
  check_kernel(x, w);
  const Maps maps(x.shape);
  const int64_t from = maps.depth, to = w.shape[3];
  require(b.size() == to, "a bias does not fit");
  std::vector<Kernel> kernels;
  for (int64_t g = 0; g < groups; ++g)
    kernels.emplace_back(from, from, to, [p = w[g], from, to](int64_t tap, int64_t i, int64_t o) {
      return p[(tap * from + i) * to + o];
    });
  parallel(pool, groups * maps.tasks, [&](int64_t task) {
    const int64_t g = task / maps.tasks;
    const Scratch scratch({3 * (maps.width + 2) * from});
    const Ring ring{scratch[0], maps.width + 2, from};
    maps.each_block(task % maps.tasks, [&](int64_t image, int64_t first, int64_t last) {
      const float* pixels = x[g] + image * maps.floats();
      for (int64_t r = first - 1; r <= first; ++r)
        border_row(pixels, maps, r, border, from, ring[r]);
      for (int64_t r = first; r < last; ++r) {
        border_row(pixels, maps, r + 1, border, from, ring[r + 1]);
        float* out = y[g] + (image * maps.height + r) * maps.width * to;
        kernels[g].row(ring[r - 1], ring[r], ring[r + 1], maps.width, b[g], out);
        finish(g, image * maps.height + r, out);
      }
    });
  });
}

// Batch normalisation and LeakyReLU of one group: leaky((y - mean) * gain + offset).
struct Norm {
  const float *mean, *gain, *offset;
  float leak;
  template <class T>
  T centred(T y, int64_t c) const {
    return y - load<T>(mean + c);
  }
  // The gradient before the activation from that behind it, `d`.
  template <class T>
  T before(T centred, T d, int64_t c) const {
    const T u = centred * load<T>(gain + c) + load<T>(offset + c);
    return u > T{} ? d : d * leak;
  }
  void apply(const float* y, int64_t pixels, int64_t depth, float* z) const {
    channels(depth, [&](auto type, int64_t c) {
      using T = decltype(type);
      const T m = load<T>(mean + c), g = load<T>(gain + c), o = load<T>(offset + c);
      for (int64_t p = 0; p < pixels; ++p) {
        const T u = (load<T>(y + p * depth + c) - m) * g + o;
        store(z + p * depth + c, u > T{} ? u : u * leak);
      }
    });
  }
};

inline void check_norm(int64_t depth, std::initializer_list<const In*> vectors) {
  for (const In* vector : vectors)
    require(vector->size() == depth, "a vector does not have the channels of the map");
}

// Mean of a row of pixels, and the sum of squares about it; shifted by the first pixel, so that a
// constant row's are exact.
inline void row_moments(const float* row, int64_t pixels, int64_t depth, float* mean, float* square) {
  channels(depth, [&](auto type, int64_t c) {
    using T = decltype(type);
    const T first = load<T>(row + c);
    T m[2] = {}, q[2] = {};
    for (int64_t p = 0; p < pixels; ++p) m[p % 2] += load<T>(row + p * depth + c) - first;
    const T centre = first + (m[0] + m[1]) / float(pixels);
    for (int64_t p = 0; p < pixels; ++p) {
      const T e = load<T>(row + p * depth + c) - centre;
      q[p % 2] += e * e;
    }
    store(mean + c, centre);
    store(square + c, q[0] + q[1]);
  });
}

// y = conv(x, w) + b, its mean per channel, and the sum of squares about that mean.
inline void convolve_with_moments(ffi::ThreadPool pool, int32_t border, Input x_, Input w_,
                                  Input b_, Output y_, Output mean_, Output square_) {
  const Lead lead(y_, 4);
  const In x = lead.in(x_, 4), w = lead.in(w_, 4), b = lead.in(b_, 1);
  const Out y = lead.out(y_, 4), mean = lead.out(mean_, 1), square = lead.out(square_, 1);
  const int64_t rows = y.shape[0] * y.shape[1], width = y.shape[2], depth = y.shape[3];
  require(depth > 1, "moments of one channel");
  const Slots moments(lead.count * rows, 2 * depth);
  convolve(pool, lead.count, border, x, w, b, y, [&](int64_t g, int64_t row, const float* out) {
    float* slot = moments[g * rows + row];
    row_moments(out, width, depth, slot, slot + depth);
  });
  for (int64_t g = 0; g < lead.count; ++g)
    for (int64_t c = 0; c < depth; ++c) {
      const double first = moments[g * rows][c];
      double m = 0, q = 0;
      for (int64_t r = 0; r < rows; ++r) m += moments[g * rows + r][c] - first;
      const double centre = float(first + m / double(rows));
      for (int64_t r = 0; r < rows; ++r) {
        const double e = moments[g * rows + r][c] - centre;
        q += e * e * double(width) + moments[g * rows + r][depth + c];
      }
      mean[g][c] = float(centre);
      square[g][c] = float(q);
    }
}

// z = leaky((conv(x, w) + b - mean) * gain + offset), with no map between; one output channel: the
// convolution alone.
inline void convolve_and_normalise(ffi::ThreadPool pool, int32_t border, float leak, Input x_,
                                   Input w_, Input b_, Input mean_, Input gain_, Input offset_,
                                   Output z_) {
  const Lead lead(z_, 4);
  const Out z = lead.out(z_, 4);
  const In mean = lead.in(mean_, 1), gain = lead.in(gain_, 1), offset = lead.in(offset_, 1);
  check_norm(z.shape[3], {&mean, &gain, &offset});
  convolve(pool, lead.count, border, lead.in(x_, 4), lead.in(w_, 4), lead.in(b_, 1), z,
           [&](int64_t g, int64_t, float* row) {
             const Norm norm{mean[g], gain[g], offset[g], leak};
             if (z.shape[3] > 1) norm.apply(row, z.shape[2], z.shape[3], row);
           });
}

inline void normalise(ffi::ThreadPool pool, float leak, Input y_, Input mean_, Input gain_,
                      Input offset_, Output z_) {
  const Lead lead(z_, 4);
  const In y = lead.in(y_, 4), mean = lead.in(mean_, 1), gain = lead.in(gain_, 1);
  const In offset = lead.in(offset_, 1);
  const Out z = lead.out(z_, 4);
  const int64_t depth = z.shape[3], pixels = z.size() / depth, block = 128;
  check_norm(depth, {&mean, &gain, &offset});
  const int64_t tasks = ceil_div(pixels, 8 * block);
  parallel(pool, lead.count * tasks, [&](int64_t task) {
    const int64_t g = task / tasks, first = task % tasks * 8 * block;
    const Norm norm{mean[g], gain[g], offset[g], leak};
    for (int64_t p = first; p < std::min(pixels, first + 8 * block); p += block)
      norm.apply(y[g] + p * depth, std::min(block, pixels - p), depth, z[g] + p * depth);
  });
}

// Sums over pixels of du and of du * (y - mean), du the gradient before the activation.
inline void reduce(ffi::ThreadPool pool, float leak, Input dz_, Input y_, Input mean_, Input gain_,
                   Input offset_, Output plain_, Output centred_) {
  const Lead lead(plain_, 1);
  const In dz = lead.in(dz_, 4), y = lead.in(y_, 4), mean = lead.in(mean_, 1);
  const In gain = lead.in(gain_, 1), offset = lead.in(offset_, 1);
  const Out plain = lead.out(plain_, 1), centred = lead.out(centred_, 1);
  const int64_t depth = y.shape[3], pixels = y.size() / depth, block = 256;
  check_norm(depth, {&mean, &gain, &offset});
  require(dz.shape == y.shape, "the gradient does not fit");
  const int64_t tasks = ceil_div(pixels, block);
  const Slots slots(lead.count * tasks, 2 * depth);
  parallel(pool, lead.count * tasks, [&](int64_t task) {
    const int64_t g = task / tasks, p0 = task % tasks * block, n = std::min(block, pixels - p0);
    const Norm norm{mean[g], gain[g], offset[g], leak};
    const float *from = y[g] + p0 * depth, *grad = dz[g] + p0 * depth;
    channels(depth, [&](auto type, int64_t c) {
      using T = decltype(type);
      T a[2] = {}, b[2] = {};
      for (int64_t p = 0; p < n; ++p) {
        const T e = norm.centred(load<T>(from + p * depth + c), c);
        const T du = norm.before(e, load<T>(grad + p * depth + c), c);
        a[p % 2] += du;
        b[p % 2] += du * e;
      }
      store(slots[task] + c, a[0] + a[1]);
      store(slots[task] + depth + c, b[0] + b[1]);
    });
  });
  for (int64_t g = 0; g < lead.count; ++g) {
    slots.sum(g * tasks, (g + 1) * tasks, 0, depth, plain[g]);
    slots.sum(g * tasks, (g + 1) * tasks, depth, 2 * depth, centred[g]);
  }
}

// Gradients of a convolution: towards the maps, dx, and the kernel, dw; either may be absent (no
// floats). gradient(group, first float of a row, pixels, step, out): the gradient behind the
// convolution, `step` floats per pixel.
template <class Gradient>
class Backward {
 public:
  Backward(const Lead& lead, int32_t border, const In& x, const In& w, Gradient gradient)
      : groups_(lead.count), border_(border), x_(x), w_(w), gradient_(gradient),
        from_(w.shape[2]), to_(w.shape[3]),
        x_step_(to_ == 1 ? round_up(from_, kLanes) : from_),
        g_step_(to_ == 1 ? 1 : round_up(to_, kLanes)),
        slot_(9 * (to_ == 1 ? x_step_ : from_ * g_step_)), maps_(x.shape, slot_) {
    check_kernel(x, w);
  }

  void run(ffi::ThreadPool& pool, const Out* dx, const Out* dw) const {
    std::vector<Kernel> flipped;
    for (int64_t g = 0; dx && g < groups_; ++g)
      flipped.emplace_back(g_step_, to_, from_, [this, g](int64_t tap, int64_t o, int64_t i) {
        return w_[g][((8 - tap) * from_ + i) * to_ + o];
      });
    const Slots slots(groups_ * maps_.tasks, dw ? slot_ : 0);
    const int64_t wide = (maps_.width + 2) * from_;
    parallel(pool, groups_ * maps_.tasks, [&](int64_t task) {
      const int64_t g = task / maps_.tasks;
      const int64_t x_pixels = maps_.width + 2, g_pixels = maps_.width + 4;
      const Scratch scratch({3 * x_pixels * x_step_, 3 * g_pixels * g_step_, g_pixels * g_step_,
                             wide, wide});
      const Ring xs{scratch[0], x_pixels, x_step_}, gs{scratch[1], g_pixels, g_step_};
      std::memset(scratch[2], 0, g_pixels * g_step_ * 4);
      std::memset(slots[task], 0, slots.size * 4);
      maps_.each_block(task % maps_.tasks, [&](int64_t image, int64_t first, int64_t last) {
        const float* pixels = x_[g] + image * maps_.floats();
        auto fetch = [&](int64_t r) {
          gradient_row(g, image, r, gs[r]);
          if (dw) border_row(pixels, maps_, r, border_, x_step_, xs[r]);
        };
        fetch(first - 1);
        fetch(first);
        for (int64_t r = first; r < last; ++r) {
          fetch(r + 1);
          if (dw) towards_kernel(xs, gs, r, slots[task]);
          if (dx) {
            float* out = (*dx)[g] + (image * maps_.height + r) * maps_.row_floats();
            towards_maps(flipped[g], gs, scratch[2], r, scratch[3], scratch[4], out);
          }
        }
      });
    });
    if (dw) sum_kernels(pool, slots, *dw);
  }

 private:
  // A row of the gradient, two pixels of zeros on either side.
  void gradient_row(int64_t g, int64_t image, int64_t row, float* out) const {
    const int64_t n = maps_.width, step = g_step_;
    if (row < 0 || row >= maps_.height) {
      std::memset(out, 0, (n + 4) * step * 4);
      return;
    }
    std::memset(out, 0, 2 * step * 4);
    std::memset(out + (n + 2) * step, 0, 2 * step * 4);
    gradient_(g, (image * maps_.height + row) * n * to_, n, step, out + 2 * step);
  }
  void towards_kernel(const Ring& xs, const Ring& gs, int64_t r, float* total) const {
    constexpr int kRows = kRegisters == 32 ? 12 : 6;
    for (int ky = 0; ky < 3; ++ky) {
      const float *x = xs[r - 1 + ky], *g = gs[r];
      if (to_ == 1)  // position m of g before position p of x: tap 2 - m
        outer<3>(g, 1, 3, x, x_step_, x_step_, maps_.width + 2, total + ky * 3 * x_step_);
      else if (from_ == 1)
        outer<3>(x, 1, 3, g + 2 * g_step_, g_step_, g_step_, maps_.width,
                 total + ky * 3 * g_step_);
      else
        outer<kRows>(x, from_, 3 * from_, g + 2 * g_step_, g_step_, g_step_, maps_.width,
                     total + ky * 3 * from_ * g_step_);
    }
  }
  void towards_maps(const Kernel& flipped, const Ring& gs, const float* none, int64_t r,
                    float* wide, float* more, float* out) const {
    const int64_t n = maps_.width, height = maps_.height;
    if (border_ == kZeros)
      return flipped.row(gs[r - 1] + g_step_, gs[r] + g_step_, gs[r + 1] + g_step_, n, nullptr,
                         out);
    // What lies outside the image passes its gradient to the pixels that it repeats.
    flipped.row(gs[r - 1], gs[r], gs[r + 1], n + 2, nullptr, wide);
    auto add = [&](const float* above, const float* below) {
      flipped.row(above, none, below, n + 2, nullptr, more);
      for (int64_t i = 0; i < (n + 2) * from_; ++i) wide[i] += more[i];
    };
    if (r == source(-1, height, border_)) add(none, gs[0]);
    if (r == source(height, height, border_)) add(gs[height - 1], none);
    std::memcpy(out, wide + from_, n * from_ * 4);
    for (const int64_t x : {int64_t(-1), n}) {
      float* to = out + source(x, n, border_) * from_;
      for (int64_t c = 0; c < from_; ++c) to[c] += wide[(x + 1) * from_ + c];
    }
  }
  void sum_kernels(ffi::ThreadPool& pool, const Slots& slots, const Out& dw) const {
    const int64_t depth = to_ == 1 ? 1 : from_, row = to_ == 1 ? x_step_ : g_step_;
    parallel(pool, groups_ * 9, [&](int64_t task) {
      const int64_t g = task / 9, tap = task % 9, size = depth * row;
      const int64_t at = to_ == 1 ? tap / 3 * 3 + 2 - tap % 3 : tap;
      std::vector<float> total(size);
      slots.sum(g * maps_.tasks, (g + 1) * maps_.tasks, at * size, (at + 1) * size, total.data());
      const int64_t valid = to_ == 1 ? from_ : to_;
      for (int64_t i = 0; i < depth; ++i)
        std::memcpy(dw[g] + (tap * depth + i) * valid, &total[i * row], valid * 4);
    });
  }
  const int64_t groups_;
  const int32_t border_;
  const In &x_, &w_;
  const Gradient gradient_;
  const int64_t from_, to_, x_step_, g_step_, slot_;
  const Maps maps_;
};

template <class Gradient>
void backward(ffi::ThreadPool& pool, const Lead& lead, int32_t border, const In& x, const In& w,
              Gradient gradient, Output& dx_, Output& dw_) {
  const Backward<Gradient> run(lead, border, x, w, gradient);
  const Out dx = lead.out(dx_, 4), dw = lead.out(dw_, 4);
  run.run(pool, dx.size() ? &dx : nullptr, dw.size() ? &dw : nullptr);
}

// Gradients of a convolution with one output channel, from the gradient behind it.
inline void head_backward(ffi::ThreadPool pool, int32_t border, Input dy_, Input x_, Input w_,
                          Output dx, Output dw) {
  const Lead lead(dw, 4);
  const In dy = lead.in(dy_, 4), x = lead.in(x_, 4), w = lead.in(w_, 4);
  require(w.shape[3] == 1, "a head has one channel");
  backward(pool, lead, border, x, w,
           [&](int64_t g, int64_t first, int64_t pixels, int64_t, float* out) {
             std::memcpy(out, dy[g] + first, pixels * 4);
           }, dx, dw);
}

// Gradients of convolution, normalisation and activation from the gradient behind them: that
// behind the convolution is gain * du + shift + slope * (y - mean).
inline void block_backward(ffi::ThreadPool pool, int32_t border, float leak, Input dz_, Input y_,
                           Input mean_, Input gain_, Input offset_, Input shift_, Input slope_,
                           Input x_, Input w_, Output dx, Output dw) {
  const Lead lead(dw, 4);
  const In dz = lead.in(dz_, 4), y = lead.in(y_, 4), mean = lead.in(mean_, 1);
  const In gain = lead.in(gain_, 1), offset = lead.in(offset_, 1), shift = lead.in(shift_, 1);
  const In slope = lead.in(slope_, 1), x = lead.in(x_, 4), w = lead.in(w_, 4);
  const int64_t depth = y.shape[3];
  require(depth > 1, "a block has several channels");
  check_norm(depth, {&mean, &gain, &offset, &shift, &slope});
  backward(pool, lead, border, x, w,
           [&](int64_t g, int64_t first, int64_t pixels, int64_t step, float* out) {
    const Norm norm{mean[g], gain[g], offset[g], leak};
    const float *from = y[g] + first, *grad = dz[g] + first;
    if (step > depth) std::memset(out, 0, pixels * step * 4);
    channels(depth, [&](auto type, int64_t c) {
      using T = decltype(type);
      const T scale = load<T>(gain[g] + c), constant = load<T>(shift[g] + c);
      const T linear = load<T>(slope[g] + c);
      for (int64_t p = 0; p < pixels; ++p) {
        const T e = norm.centred(load<T>(from + p * depth + c), c);
        const T du = norm.before(e, load<T>(grad + p * depth + c), c);
        store(out + p * step + c, du * scale + constant + linear * e);
      }
    });
  }, dx, dw);
}

}  // namespace cfi
