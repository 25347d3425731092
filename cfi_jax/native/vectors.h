// Vectors of floats by the compiler's own extension (GCC, Clang), as wide as the machine's.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

namespace cfi {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Wide __attribute__((vector_size(kLanes * 4)));
typedef float Quad __attribute__((vector_size(16)));
template <class T>
using Mask = decltype(T{} > T{});  // integers of 32 bits: 0 or -1 where compared

template <class T>
inline T load(const float* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(float* p, T v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
inline T splat(float x) {
  return x - T{};
}
template <class T>
inline T larger(T a, T b) {
  return a > b ? a : b;
}
// The same, NaN where either is.
template <class T>
inline T larger_or_nan(T a, T b) {
  return (a > b) | (a != a) ? a : b;
}

// Lanes exchanged with those `by` (a power of two) away.
template <int by>
inline Quad exchange(Quad v) {
#if defined(__clang__)
  return __builtin_shufflevector(v, v, by, 1 ^ by, 2 ^ by, 3 ^ by);
#else
  return __builtin_shuffle(v, Mask<Quad>{by, 1 ^ by, 2 ^ by, 3 ^ by});
#endif
}
// All lanes combined by an operation of two vectors, in one order.
template <class F>
inline float combine(Wide v, F f) {
  Quad parts[kLanes / 4];
  std::memcpy(parts, &v, sizeof v);
  for (int n = kLanes / 8; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) parts[i] = f(parts[i], parts[i + n]);
  parts[0] = f(parts[0], exchange<2>(parts[0]));
  return f(parts[0], exchange<1>(parts[0]))[0];
}
inline float sum(Wide v) {
  return combine(v, [](Quad a, Quad b) { return a + b; });
}
inline float largest(Wide v) {
  return combine(v, [](Quad a, Quad b) { return larger(a, b); });
}

// e^x for x of at most 88, relative error below 2e-7; 0 below -87, NaN for NaN.
template <class T>
inline T exponential(T x) {
  const T floor = splat<T>(-87.0f);
  const T bounded = larger(floor, x);  // in this order NaN is kept
  const float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
  const T n = (bounded * 1.44269504f + round) - round;
  const T r = bounded - n * 0.693359375f - n * -2.12194440e-4f;
  T p = splat<T>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Mask<T> power = (__builtin_convertvector(n, Mask<T>) + 127) << 23;
  T scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < floor ? T{} : p * scale;
}
// 1 / (1 + e^-x), by the exponential that cannot overflow.
template <class T>
inline T sigmoid(T x) {
  const T e = exponential(x < T{} ? x : -x);
  return (x < T{} ? e : splat<T>(1.0f)) / (1.0f + e);
}

// Calls f(vector type, index) for all of n floats, a multiple of 4.
template <class F>
inline void channels(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(Wide{}, i);
  for (; i < n; i += 4) f(Quad{}, i);
}
inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
inline int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

}  // namespace cfi
