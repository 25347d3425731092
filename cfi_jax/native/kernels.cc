// The handlers that XLA calls by these names; cfi_jax/native/functions.py says what they mean.
#include "attention.h"
#include "convolution.h"
#include "maps.h"

#define I .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
#define O .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
#define BORDER .Attr<int32_t>("border")
#define LEAK .Attr<float>("leak")
#define HANDLER(name, function, arguments)                       \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, cfi::Safe<cfi::function>::call, \
                                xla::ffi::Ffi::Bind().Ctx<xla::ffi::ThreadPool>() arguments)

HANDLER(CfiConvolve, convolve_with_moments, BORDER I I I O O O);
HANDLER(CfiConvolveNormalise, convolve_and_normalise, BORDER LEAK I I I I I I O);
HANDLER(CfiNormalise, normalise, LEAK I I I I O);
HANDLER(CfiReduce, reduce, LEAK I I I I I O O);
HANDLER(CfiBlockBackward, block_backward, BORDER LEAK I I I I I I I I I O O);
HANDLER(CfiHeadBackward, head_backward, BORDER I I I O O);
HANDLER(CfiAttend, attend, I I I I I I I I O);
HANDLER(CfiAttendBackward, attend_backward, I I I I I O O O O);
HANDLER(CfiHalve, halve, I O);
HANDLER(CfiHalveBackward, halve_backward, I I O);
HANDLER(CfiMix, mix, I I I I I I O O);
HANDLER(CfiMixBackward, mix_backward, I I I I I I I I O O O O O);
HANDLER(CfiGridMean, grid_mean, I O);
HANDLER(CfiGridMeanBackward, grid_mean_backward, I O);
HANDLER(CfiEnlarge, enlarge, I I O);
HANDLER(CfiEnlargeBackward, enlarge_backward, I O);
HANDLER(CfiSumBatch, sum_batch, I O);
