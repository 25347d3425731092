// Matrix products of many pixels with few channels, in tiles that fill the registers.
#pragma once
#include <algorithm>
#include <vector>

#include "vectors.h"

namespace cfi {
// A tile holds kPixels * kVectors sums: 24 of 32 registers, 12 of 16.
constexpr int kVectors = kLanes >= 8 ? 2 : 4;
constexpr int kPixels = (kRegisters == 32 ? 24 : 12) / kVectors;
constexpr int64_t kChunk = kVectors * kLanes;

// A matrix [depth, width] in columns of kChunk (the last of as many vectors as it needs), zeros
// beyond `width`.
class Packed {
 public:
  template <class F>
  Packed(int64_t depth, int64_t width, F value)
      : depth(depth), width(width), floats_(depth * round_up(width, kLanes)) {
    for (int64_t j = 0; j < width; ++j) {
      const int64_t chunk = j / kChunk * kChunk, vectors = lanes(chunk);
      float* column = floats_.data() + chunk * depth + (j - chunk);
      for (int64_t k = 0; k < depth; ++k) column[k * vectors] = value(k, j);
    }
  }
  const float* column(int64_t chunk) const { return floats_.data() + chunk * depth; }
  // Floats per row of the column that begins at `chunk`.
  int64_t lanes(int64_t chunk) const {
    return std::min(kChunk, round_up(width - chunk, kLanes));
  }
  const int64_t depth, width;

 private:
  std::vector<float> floats_;
};

// The left side: pixel p of `count` rows begins at rows[r] + p * step and gives `depth` floats.
struct Left {
  const float* rows[3];
  int count;
  int64_t step, depth;
};

// out[p][:] = first[:] (or out[p][:] where `add`) + sum over r, k of left[r][p][k] * right[r, k][:]
// for P pixels and N vectors of which `valid` floats exist. S: the left's step, 0 where only the
// caller knows it.
template <int P, int N, int S>
__attribute__((noinline)) void tile(const Left& left, int64_t pixel, const float* right,
                                    const float* first, bool add, float* out, int64_t out_step,
                                    int64_t valid) {
  Wide total[P][N];
  const int64_t step = S ? S : left.step;
  const bool whole = valid == N * kLanes;
  if (add) {
    float old[N * kLanes] = {};
    UNROLL for (int p = 0; p < P; ++p) {
      if (!whole) std::memcpy(old, out + p * out_step, valid * 4);
      const float* from = whole ? out + p * out_step : old;
      UNROLL for (int j = 0; j < N; ++j) total[p][j] = load<Wide>(from + j * kLanes);
    }
  } else {
    float start[N * kLanes] = {};
    if (first) std::memcpy(start, first, valid * 4);
    UNROLL for (int p = 0; p < P; ++p)
      UNROLL for (int j = 0; j < N; ++j) total[p][j] = load<Wide>(start + j * kLanes);
  }
  for (int r = 0; r < left.count; ++r) {
    const float* a = left.rows[r] + pixel * step;
    for (int64_t k = 0; k < left.depth; ++k, ++a, right += N * kLanes) {
      Wide b[N];
      UNROLL for (int j = 0; j < N; ++j) b[j] = load<Wide>(right + j * kLanes);
      UNROLL for (int p = 0; p < P; ++p) {
        const Wide x = splat<Wide>(a[p * step]);
        UNROLL for (int j = 0; j < N; ++j) total[p][j] += x * b[j];
      }
    }
  }
  float last[N * kLanes];
  UNROLL for (int p = 0; p < P; ++p) {
    float* to = whole ? out + p * out_step : last;
    UNROLL for (int j = 0; j < N; ++j) store(to + j * kLanes, total[p][j]);
    if (!whole) std::memcpy(out + p * out_step, last, valid * 4);
  }
}

template <int N, int S>
void columns(const Left& left, int64_t pixels, const Packed& right, int64_t chunk,
             const float* first, bool add, float* out, int64_t out_step) {
  const int64_t valid = std::min<int64_t>(N * kLanes, right.width - chunk);
  const float* column = right.column(chunk);
  if (first) first += chunk;
  out += chunk;
  int64_t p = 0;
  for (; p + kPixels <= pixels; p += kPixels)
    tile<kPixels, N, S>(left, p, column, first, add, out + p * out_step, out_step, valid);
  for (; p + kPixels / 3 <= pixels; p += kPixels / 3)
    tile<kPixels / 3, N, S>(left, p, column, first, add, out + p * out_step, out_step, valid);
  for (; p < pixels; ++p)
    tile<1, N, S>(left, p, column, first, add, out + p * out_step, out_step, valid);
}
template <int N>
void columns(const Left& left, int64_t pixels, const Packed& right, int64_t chunk,
             const float* first, bool add, float* out, int64_t out_step) {
  switch (left.step) {
    case 16: return columns<N, 16>(left, pixels, right, chunk, first, add, out, out_step);
    case 32: return columns<N, 32>(left, pixels, right, chunk, first, add, out, out_step);
    case 64: return columns<N, 64>(left, pixels, right, chunk, first, add, out, out_step);
    default: return columns<N, 0>(left, pixels, right, chunk, first, add, out, out_step);
  }
}
// The product for `pixels` pixels and all columns; `first`: added to every pixel, null for zeros.
inline void product(const Left& left, int64_t pixels, const Packed& right, const float* first,
                    bool add, float* out, int64_t out_step) {
  for (int64_t chunk = 0; chunk < right.width; chunk += kChunk) {
    switch (right.lanes(chunk) / kLanes) {
      case 1: columns<1>(left, pixels, right, chunk, first, add, out, out_step); break;
      case 2: columns<2>(left, pixels, right, chunk, first, add, out, out_step); break;
#if !defined(__AVX__)
      case 3: columns<3>(left, pixels, right, chunk, first, add, out, out_step); break;
      case 4: columns<4>(left, pixels, right, chunk, first, add, out, out_step); break;
#endif
    }
  }
}

// total[m][:] += sum over pixels of a[p * step + m] * d[p * d_step + :], M rows of N vectors.
template <int M, int N>
__attribute__((noinline)) void outer_tile(const float* a, int64_t step, const float* d,
                                          int64_t d_step, int64_t pixels, float* total,
                                          int64_t total_step) {
  Wide s[M][N] = {};
  for (int64_t p = 0; p < pixels; ++p, a += step, d += d_step) {
    Wide b[N];
    UNROLL for (int j = 0; j < N; ++j) b[j] = load<Wide>(d + j * kLanes);
    UNROLL for (int m = 0; m < M; ++m) {
      const Wide x = splat<Wide>(a[m]);
      UNROLL for (int j = 0; j < N; ++j) s[m][j] += x * b[j];
    }
  }
  UNROLL for (int m = 0; m < M; ++m)
    UNROLL for (int j = 0; j < N; ++j) {
      float* to = total + m * total_step + j * kLanes;
      store(to, load<Wide>(to) + s[m][j]);
    }
}
// The same for `depth` rows, a multiple of M, and `width` columns, a multiple of kLanes: what fits
// the registers at a time, pixels in blocks that fit the nearest cache.
template <int M>
void outer(const float* a, int64_t step, int64_t depth, const float* d, int64_t d_step,
           int64_t width, int64_t pixels, float* total) {
  constexpr int64_t kBlock = 64;
  for (int64_t p = 0; p < pixels; p += kBlock) {
    const int64_t n = std::min(kBlock, pixels - p);
    for (int64_t m = 0; m < depth; m += M) {
      int64_t j = 0;
      for (; j + 2 * kLanes <= width; j += 2 * kLanes)
        outer_tile<M, 2>(a + p * step + m, step, d + p * d_step + j, d_step, n,
                         total + m * width + j, width);
      if (j < width)
        outer_tile<M, 1>(a + p * step + m, step, d + p * d_step + j, d_step, n,
                         total + m * width + j, width);
    }
  }
}

}  // namespace cfi
