// Arguments and results of a call, with the axes that jax.vmap puts before an array's own.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.h"

namespace cfi {
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::Result<ffi::Buffer<ffi::F32>>;

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// One array per group: `rank` axes, the pointer of each group.
template <class T>
struct Groups {
  std::vector<int64_t> shape;
  std::vector<T*> at;
  T* operator[](int64_t group) const { return at[group]; }
  int64_t size() const {
    int64_t n = 1;
    for (int64_t side : shape) n *= side;
    return n;
  }
};
using In = Groups<const float>;
using Out = Groups<float>;

// The axes before `rank` own ones, as a result has them: groups of calls, computed one by one.
class Lead {
 public:
  Lead(Output& result, size_t rank) {
    const auto sides = result->dimensions();
    require(sides.size() >= rank, "a result has too few axes");
    lead_.assign(sides.begin(), sides.end() - rank);
    for (int64_t side : lead_) count *= side;
  }
  In in(const Input& array, size_t rank) const { return view<const float>(array, rank); }
  Out out(Output& array, size_t rank) const { return view<float>(*array, rank); }
  int64_t count = 1;

 private:
  template <class T, class Buffer>
  Groups<T> view(const Buffer& array, size_t rank) const {
    const auto sides = array.dimensions();
    require(sides.size() == lead_.size() + rank, "arrays differ in their number of leading axes");
    Groups<T> groups;
    groups.shape.assign(sides.end() - rank, sides.end());
    const int64_t size = groups.size();
    for (int64_t group = 0; group < count; ++group) {
      int64_t place = 0, step = size, rest = group;
      for (int axis = int(lead_.size()) - 1; axis >= 0; --axis) {
        require(sides[axis] == 1 || sides[axis] == lead_[axis], "leading axes do not broadcast");
        if (sides[axis] > 1) place += rest % lead_[axis] * step;
        step *= sides[axis];
        rest /= lead_[axis];
      }
      groups.at.push_back(array.typed_data() + place);
    }
    return groups;
  }
  std::vector<int64_t> lead_;
};

// A handler that throws as one that returns its error.
template <auto F>
struct Safe;
template <class... Args, void (*F)(Args...)>
struct Safe<F> {
  static ffi::Error call(Args... args) {
    try {
      F(std::move(args)...);
    } catch (const std::bad_alloc&) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "native kernels: out of memory");
    } catch (const std::exception& error) {
      return ffi::Error(ffi::ErrorCode::kInvalidArgument,
                        std::string("native kernels: ") + error.what());
    }
    return ffi::Error::Success();
  }
};

}  // namespace cfi
