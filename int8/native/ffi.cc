// The XLA custom call around kernels.h, and the list of instruction sets for Python.
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

ffi::Error dot(ffi::Buffer<ffi::F32> x, ffi::AnyBuffer w, ffi::Buffer<ffi::F32> scale,
               ffi::Buffer<ffi::F32> bias, ffi::ResultBuffer<ffi::F32> y, int32_t bits,
               int32_t group, int32_t isa) {
  const auto xs = x.dimensions(), ws = w.dimensions();
  if (xs.size() != 2 || ws.size() != 2) {
    return ffi::Error::InvalidArgument("int8 dot: x and w must have two dimensions");
  }
  int8k::Problem p{};
  p.x = x.typed_data();
  p.w = static_cast<const uint8_t*>(w.untyped_data());
  p.scale = scale.typed_data();
  p.bias = bias.element_count() ? bias.typed_data() : nullptr;
  p.y = y->typed_data();
  p.rows = xs[0], p.in = xs[1], p.out = ws[0];
  p.bits = bits, p.group = group;
  const auto count = [](auto& buffer) { return static_cast<int64_t>(buffer.element_count()); };
  const int64_t scales = p.out * (group ? p.in / group : 1);
  if (!int8k::valid(p) || ws[1] * 8 != p.in * p.bits || count(scale) != scales ||
      count(*y) != p.rows * p.out || (p.bias && count(bias) != p.out)) {
    return ffi::Error::InvalidArgument("int8 dot: shapes, bits and group size do not fit together");
  }
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8 dot: this processor lacks the forced instruction set");
  }
  int8k::dot(p, isa);
  return ffi::Error::Success();
}

}  // namespace

#define INT8_EXPORT __attribute__((visibility("default")))

extern "C" INT8_EXPORT XLA_FFI_Error* int8_dot(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_dot, dot,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int32_t>("bits")
                                  .Attr<int32_t>("group")
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT int int8_supported(int isa) { return int8k::supported(isa); }
extern "C" INT8_EXPORT int int8_best_isa() { return int8k::best_isa(); }
