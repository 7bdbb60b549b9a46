// The XLA custom calls around kernels.h, and what Python asks and tells the library.
#include <algorithm>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

std::atomic<int> max_threads{4};  // of one call

int8k::Workers workers_of(ffi::ThreadPool& pool) {
  const int64_t cores = pool.num_threads(), threads = std::min<int64_t>(cores, max_threads);
  return {threads - 1, cores, [&pool](std::function<void()> f) { pool.Schedule(std::move(f)); }};
}

ffi::Error dot(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::AnyBuffer w, ffi::Buffer<ffi::F32> scale,
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
  const int8k::Presence presence;
  const int8k::Workers workers = workers_of(pool);
  p.workers = &workers;
  int8k::dot(p, isa);
  return ffi::Error::Success();
}

ffi::Error float_dot(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::AnyBuffer w,
                     ffi::Buffer<ffi::F32> bias, ffi::ResultBuffer<ffi::F32> y, int32_t isa) {
  const bool half = w.element_type() == ffi::BF16;
  if (!half && w.element_type() != ffi::F32) {
    return ffi::Error::InvalidArgument("int8 float_dot: weights are float32 or bfloat16");
  }
  const auto xs = x.dimensions(), ws = w.dimensions();
  if (xs.size() != 2 || ws.size() != 2 || xs[1] != ws[1] ||
      static_cast<int64_t>(y->element_count()) != xs[0] * ws[0] ||
      (bias.element_count() && static_cast<int64_t>(bias.element_count()) != ws[0])) {
    return ffi::Error::InvalidArgument("int8 float_dot: shapes do not fit together");
  }
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8 float_dot: this processor lacks the instruction set");
  }
  const int8k::Presence presence;
  const int8k::Workers workers = workers_of(pool);
  int8k::FloatProblem p{x.typed_data(), nullptr, nullptr, y->typed_data(),
                        xs[0],          xs[1],   ws[0],   &workers};
  if (half) p.half = static_cast<const uint16_t*>(w.untyped_data());
  else p.w = static_cast<const float*>(w.untyped_data());
  if (bias.element_count()) p.bias = bias.typed_data();
  int8k::dot(p, isa);
  return ffi::Error::Success();
}

// Caches come in as arguments and go out as results in the same memory: XLA copies them before the
// call if anybody still needs the old ones.
ffi::Error attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> k_new,
                  ffi::Buffer<ffi::F32> v_new, ffi::AnyBuffer k, ffi::AnyBuffer v,
                  ffi::Buffer<ffi::S32> pos, ffi::Buffer<ffi::S32> query,
                  ffi::Buffer<ffi::S32> cursor, ffi::ResultBuffer<ffi::F32> out,
                  ffi::Result<ffi::AnyBuffer> k_out, ffi::Result<ffi::AnyBuffer> v_out,
                  int32_t window, int32_t isa) {
  const auto qs = q.dimensions(), ns = k_new.dimensions(), ks = k.dimensions();
  if (qs.size() != 4 || ns.size() != 4 || ks.size() != 3) {
    return ffi::Error::InvalidArgument("int8 attend: q and new keys have 4 dimensions, caches 3");
  }
  const bool half = k.element_type() == ffi::BF16;
  for (const auto type : {k.element_type(), v.element_type(), k_out->element_type(),
                          v_out->element_type()}) {
    if (type != (half ? ffi::BF16 : ffi::F32)) {
      return ffi::Error::InvalidArgument("int8 attend: both caches are float32, or both bfloat16");
    }
  }
  if (k.untyped_data() != k_out->untyped_data() || v.untyped_data() != v_out->untyped_data()) {
    return ffi::Error::InvalidArgument("int8 attend: the caches must be updated in place");
  }
  int8k::Attention a{};
  a.q = q.typed_data(), a.k_new = k_new.typed_data(), a.v_new = v_new.typed_data();
  a.k = k_out->untyped_data(), a.v = v_out->untyped_data(), a.half = half;
  a.pos = pos.typed_data(), a.query = query.typed_data(), a.out = out->typed_data();
  a.batch = qs[0], a.time = qs[1], a.heads = qs[2], a.width = qs[3];
  a.kv_heads = ns[2], a.slots = ks[1], a.window = window;
  a.start = std::clamp<int64_t>(cursor.typed_data()[0], 0, std::max<int64_t>(a.slots - a.time, 0));
  const auto count = [](auto& buffer) { return static_cast<int64_t>(buffer.element_count()); };
  const int64_t kept = a.batch * a.kv_heads * a.slots * a.width;
  const int64_t added = a.batch * a.time * a.kv_heads * a.width;
  if (!int8k::valid(a) || count(k) != kept || count(v) != kept || count(k_new) != added ||
      count(v_new) != added || count(pos) != a.batch * a.slots ||
      count(query) != a.batch * a.time || count(*out) != count(q)) {
    return ffi::Error::InvalidArgument("int8 attend: shapes do not fit together");
  }
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8 attend: this processor lacks the instruction set");
  }
  const int8k::Presence presence;
  const int8k::Workers workers = workers_of(pool);
  a.workers = &workers;
  int8k::attend(a, isa);
  return ffi::Error::Success();
}

ffi::Error convolve(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> past,
                    ffi::AnyBuffer w, ffi::Buffer<ffi::F32> bias, ffi::Buffer<ffi::F32> add,
                    ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::F32> left, int32_t stride,
                    int32_t dilation, int32_t elu, int32_t isa) {
  const bool half = w.element_type() == ffi::BF16;
  if (!half && w.element_type() != ffi::F32) {
    return ffi::Error::InvalidArgument("int8 conv: weights are float32 or bfloat16");
  }
  const auto xs = x.dimensions(), ws = w.dimensions();
  if (xs.size() != 3 || ws.size() != 3 || xs[2] != ws[1]) {
    return ffi::Error::InvalidArgument("int8 conv: x is [B, T, C], w is [K, C, N]");
  }
  int8k::Convolution c{};
  c.x = x.typed_data(), c.past = past.typed_data();
  if (half) c.half = static_cast<const uint16_t*>(w.untyped_data());
  else c.w = static_cast<const float*>(w.untyped_data());
  const auto count = [](auto& buffer) { return static_cast<int64_t>(buffer.element_count()); };
  if (count(bias)) c.bias = bias.typed_data(), c.biases = count(bias);
  if (count(add)) c.add = add.typed_data();
  c.y = y->typed_data(), c.left = left->typed_data();
  c.batch = xs[0], c.time = xs[1], c.cin = xs[2], c.cout = ws[2], c.taps = ws[0];
  c.stride = stride, c.dilation = dilation, c.elu = elu != 0;
  const bool good = int8k::valid(c);
  const int64_t kept = good ? c.batch * c.memory() * c.cin : 0;
  const int64_t made = good ? c.batch * c.outputs() * c.cout : 0;
  if (!good || count(past) != kept || count(*left) != kept || count(*y) != made ||
      (c.add && count(add) != made)) {
    return ffi::Error::InvalidArgument("int8 conv: shapes do not fit together");
  }
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8 conv: this processor lacks the instruction set");
  }
  const int8k::Presence presence;
  const int8k::Workers workers = workers_of(pool);
  c.workers = &workers;
  int8k::convolve(c, isa);
  return ffi::Error::Success();
}

ffi::Error norm(ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> scale, ffi::Buffer<ffi::F32> bias,
                ffi::ResultBuffer<ffi::F32> y, float eps, int32_t isa) {
  const auto xs = x.dimensions();
  const auto count = [](auto& buffer) { return static_cast<int64_t>(buffer.element_count()); };
  if (xs.size() != 2 || xs[1] < 1 || count(*y) != count(x) || count(scale) != count(bias) ||
      (count(scale) && count(scale) != xs[1])) {
    return ffi::Error::InvalidArgument("int8 norm: shapes do not fit together");
  }
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8 norm: this processor lacks the instruction set");
  }
  int8k::Norm n{x.typed_data(), nullptr, nullptr, y->typed_data(), xs[0], xs[1], eps};
  if (count(scale)) n.scale = scale.typed_data(), n.bias = bias.typed_data();
  const int8k::Presence presence;
  int8k::normalise(n, isa);
  return ffi::Error::Success();
}

}  // namespace

#define INT8_EXPORT __attribute__((visibility("default")))

extern "C" INT8_EXPORT XLA_FFI_Error* int8_dot(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_dot, dot,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int32_t>("bits")
                                  .Attr<int32_t>("group")
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT XLA_FFI_Error* int8_float_dot(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_float_dot, float_dot,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT XLA_FFI_Error* int8_attend(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_attend, attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int32_t>("window")
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT XLA_FFI_Error* int8_conv(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_conv, convolve,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int32_t>("stride")
                                  .Attr<int32_t>("dilation")
                                  .Attr<int32_t>("elu")
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT XLA_FFI_Error* int8_norm(XLA_FFI_CallFrame* call_frame);
XLA_FFI_DEFINE_HANDLER_SYMBOL(int8_norm, norm,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("eps")
                                  .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT int int8_supported(int isa) { return int8k::supported(isa); }
extern "C" INT8_EXPORT int int8_best_isa() { return int8k::best_isa(); }
extern "C" INT8_EXPORT void int8_limit_threads(int count) { max_threads = count; }
