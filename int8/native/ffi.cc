// The XLA custom calls around kernels.h, and what Python asks and tells the library.
#include <algorithm>
#include <optional>
#include <utility>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

std::atomic<int> max_threads{4};  // of one call

int8k::Workers workers_of(ffi::ThreadPool& pool) {
  const int64_t cores = pool.num_threads(), threads = std::min<int64_t>(cores, max_threads);
  return {threads - 1, cores, [&pool](std::function<void()> f) { pool.Schedule(std::move(f)); }};
}

template <class Buffer>
int64_t count(const Buffer& buffer) {
  return static_cast<int64_t>(buffer.element_count());
}

// The weights of a product or a convolution, which hold float32 or bfloat16.
template <class P>
void take_weights(const ffi::AnyBuffer& w, P& p) {
  if (w.element_type() == ffi::BF16) p.half = static_cast<const uint16_t*>(w.untyped_data());
  else p.w = static_cast<const float*>(w.untyped_data());
}

// Solves a problem, if this processor can.
template <class P>
ffi::Error run(const P& p, int32_t isa, void (*kernel)(const P&, int)) {
  if (isa != int8k::kAuto && !int8k::supported(isa)) {
    return ffi::Error::InvalidArgument("int8: this processor lacks the forced instruction set");
  }
  const int8k::Presence presence;
  kernel(p, isa);
  return ffi::Error::Success();
}

// The same with XLA's threads to help.
template <class P>
ffi::Error run(P& p, ffi::ThreadPool& pool, int32_t isa, void (*kernel)(const P&, int)) {
  const int8k::Workers workers = workers_of(pool);
  p.workers = &workers;
  return run(p, isa, kernel);
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
  p.bias = count(bias) ? bias.typed_data() : nullptr;
  p.y = y->typed_data();
  p.rows = xs[0], p.in = xs[1], p.out = ws[0];
  p.bits = bits, p.group = group;
  const int64_t scales = p.out * (group ? p.in / group : 1);
  if (!int8k::valid(p) || static_cast<int64_t>(w.size_bytes()) * 8 != p.out * p.in * p.bits ||
      count(scale) != scales || count(*y) != p.rows * p.out || (p.bias && count(bias) != p.out)) {
    return ffi::Error::InvalidArgument("int8 dot: shapes, bits and group size do not fit together");
  }
  return run(p, pool, isa, int8k::dot);
}

ffi::Error float_dot(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::AnyBuffer w,
                     ffi::Buffer<ffi::F32> bias, ffi::ResultBuffer<ffi::F32> y, int32_t isa) {
  if (w.element_type() != ffi::BF16 && w.element_type() != ffi::F32) {
    return ffi::Error::InvalidArgument("int8 float_dot: weights are float32 or bfloat16");
  }
  const auto xs = x.dimensions(), ws = w.dimensions();
  if (xs.size() != 2 || ws.size() != 2 || xs[1] != ws[1] ||
      count(*y) != xs[0] * ws[0] || (count(bias) && count(bias) != ws[0])) {
    return ffi::Error::InvalidArgument("int8 float_dot: shapes do not fit together");
  }
  int8k::FloatProblem p{};
  p.x = x.typed_data(), p.y = y->typed_data();
  p.rows = xs[0], p.in = xs[1], p.out = ws[0];
  take_weights(w, p);
  if (count(bias)) p.bias = bias.typed_data();
  return run(p, pool, isa, int8k::dot);
}

// Caches come in as arguments and go out as results in the same memory: XLA copies them before the
// call if anybody still needs the old ones.
ffi::Error attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> k_new,
                  ffi::Buffer<ffi::F32> v_new, ffi::AnyBuffer k, ffi::AnyBuffer v,
                  ffi::Buffer<ffi::S32> pos, ffi::Buffer<ffi::S32> query,
                  ffi::Buffer<ffi::S32> slot, ffi::Buffer<ffi::S32> filled,
                  ffi::Buffer<ffi::S32> pinned, ffi::ResultBuffer<ffi::F32> out,
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
  a.slot = slot.typed_data(), a.filled = filled.typed_data(), a.pinned = pinned.typed_data();
  const int64_t kept = a.batch * a.kv_heads * a.slots * a.width;
  const int64_t added = a.batch * a.time * a.kv_heads * a.width;
  if (!int8k::valid(a) || count(k) != kept || count(v) != kept || count(k_new) != added ||
      count(v_new) != added || count(pos) != a.batch * a.slots ||
      count(query) != a.batch * a.time || count(slot) != a.batch * a.time ||
      count(filled) != a.batch || count(pinned) != a.batch || count(*out) != count(q)) {
    return ffi::Error::InvalidArgument("int8 attend: shapes do not fit together");
  }
  return run(a, pool, isa, int8k::attend);
}

ffi::Error convolve(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> past,
                    ffi::AnyBuffer w, ffi::Buffer<ffi::F32> bias, ffi::Buffer<ffi::F32> add,
                    ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::F32> left, int32_t stride,
                    int32_t dilation, int32_t elu, int32_t filtered, int32_t isa) {
  if (w.element_type() != ffi::BF16 && w.element_type() != ffi::F32) {
    return ffi::Error::InvalidArgument("int8 conv: weights are float32 or bfloat16");
  }
  const auto xs = x.dimensions(), ws = w.dimensions();
  if (xs.size() != 3 || ws.size() != 3 || xs[2] != ws[1]) {
    return ffi::Error::InvalidArgument("int8 conv: x is [B, T, C], w is [K, C, N]");
  }
  int8k::Convolution c{};
  c.x = x.typed_data(), c.past = past.typed_data();
  take_weights(w, c);
  if (count(bias)) c.bias = bias.typed_data(), c.biases = count(bias);
  if (count(add)) c.add = add.typed_data();
  c.y = y->typed_data(), c.left = left->typed_data();
  c.batch = xs[0], c.time = xs[1], c.cin = xs[2], c.cout = ws[2], c.taps = ws[0];
  c.stride = stride, c.dilation = dilation, c.elu = elu != 0, c.filtered = filtered != 0;
  const bool good = int8k::valid(c);
  const int64_t kept = good ? c.batch * c.memory() * c.cin : 0;
  const int64_t made = good ? c.batch * c.outputs() * c.cout : 0;
  if (!good || count(past) != kept || count(*left) != kept || count(*y) != made ||
      (c.add && count(add) != made)) {
    return ffi::Error::InvalidArgument("int8 conv: shapes do not fit together");
  }
  return run(c, pool, isa, int8k::convolve);
}

ffi::Error norm(ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> scale, ffi::Buffer<ffi::F32> bias,
                ffi::ResultBuffer<ffi::F32> y, float eps, int32_t isa) {
  const auto xs = x.dimensions();
  if (xs.size() != 2 || xs[1] < 1 || count(*y) != count(x) || count(scale) != count(bias) ||
      (count(scale) && count(scale) != xs[1])) {
    return ffi::Error::InvalidArgument("int8 norm: shapes do not fit together");
  }
  int8k::Norm n{x.typed_data(), nullptr, nullptr, y->typed_data(), xs[0], xs[1], eps};
  if (count(scale)) n.scale = scale.typed_data(), n.bias = bias.typed_data();
  return run(n, isa, int8k::normalise);
}

// Takes one argument or result after the other, each of a type and a number of elements that are known.
template <class Get>
class Buffers {
 public:
  explicit Buffers(Get get) : get_(std::move(get)) {}

  template <ffi::DataType type = ffi::F32>
  ffi::NativeType<type>* take(int64_t elements) {
    const auto buffer = get_(next_++);
    fits_ &= buffer && buffer->element_type() == type && count(*buffer) == elements;
    return fits_ ? static_cast<ffi::NativeType<type>*>(buffer->untyped_data()) : nullptr;
  }

  int8k::Layer layer(int64_t out, int64_t in, bool bias = true) {
    int8k::Layer l{};
    if (bias) l.bias = take(out);
    l.w = reinterpret_cast<const uint8_t*>(take<ffi::S8>(out * in));
    l.scale = take(out);
    return l;
  }
  int8k::Dense dense(int64_t out, int64_t in) {
    const float* bias = take(out);
    return {take(out * in), bias};
  }
  bool fit() const { return fits_; }

 private:
  Get get_;
  size_t next_ = 0;
  bool fits_ = true;
};

// The layers in the order of their names, the state, conditions and periods; the waveform and the state.
ffi::Error speak(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets, int32_t isa) {
  using int8k::Vocoder;
  constexpr auto& widths = Vocoder::kWidths;
  const auto wrong = ffi::Error::InvalidArgument("int8 vocoder: shapes do not fit together");
  const size_t given = args.size();
  const auto conditions = given < 2 ? ffi::ErrorOr<ffi::AnyBuffer>(ffi::Unexpected(wrong))
                                    : args.get<ffi::AnyBuffer>(given - 2);
  if (!conditions.has_value() || conditions->dimensions().size() != 3) return wrong;
  Vocoder v{};
  v.batch = conditions->dimensions()[0], v.time = conditions->dimensions()[1];
  Buffers in([&](size_t i) {
    const auto b = args.get<ffi::AnyBuffer>(i);
    return b.has_value() ? std::optional<ffi::AnyBuffer>(*b) : std::nullopt;
  });
  v.first = in.layer(Vocoder::kFirst, 2 * Vocoder::kInput);
  v.first_gate = in.layer(Vocoder::kFirst, Vocoder::kFirst);
  v.gain = in.dense(1, Vocoder::kCondition);
  for (int64_t i = 0; i < Vocoder::kGrus; ++i) {
    v.gru_gate[i] = in.layer(widths[i], widths[i]);
    v.gru_input[i] = in.layer(3 * widths[i], Vocoder::told(i), false);
    v.gru_state[i] = in.layer(3 * widths[i], widths[i], false);
  }
  v.out = in.layer(Vocoder::kSamples, Vocoder::kSkip);
  v.shares = in.dense(Vocoder::kGrus + 1, Vocoder::kFirst);
  v.skip = in.layer(Vocoder::kSkip, Vocoder::skipped());
  v.skip_gate = in.layer(Vocoder::kSkip, Vocoder::kSkip);

  Buffers out([&](size_t i) {
    auto b = rets.get<ffi::AnyBuffer>(i);
    return b.has_value() ? std::optional<ffi::AnyBuffer>(**b) : std::nullopt;
  });
  v.wave = out.take(v.batch * v.time * Vocoder::kSamples);
  const auto kept = [&](int64_t width) {  // a part of the state, which becomes a result
    const float* from = in.take(v.batch * width);
    float* to = out.take(v.batch * width);
    if (from && to) std::copy_n(from, v.batch * width, to);
    return to;
  };
  v.signal = kept(Vocoder::kSignal), v.inputs = kept(Vocoder::kInput);
  for (int64_t i = 0; i < Vocoder::kGrus; ++i) v.grus[i] = kept(widths[i]);
  v.last = kept(1);
  v.conditions = in.take(v.batch * v.time * Vocoder::kCondition);
  v.period = in.take<ffi::S32>(v.batch * v.time);
  if (!in.fit() || !out.fit()) return wrong;
  return run(v, pool, isa, int8k::speak);
}

}  // namespace

#define INT8_EXPORT __attribute__((visibility("default")))
#define INT8_CALL(name, function, binding)                                            \
  extern "C" INT8_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* call_frame); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function, binding)

using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;

INT8_CALL(int8_dot, dot,
          ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<ffi::AnyBuffer>()
              .Arg<Floats>().Arg<Floats>().Ret<Floats>().Attr<int32_t>("bits")
              .Attr<int32_t>("group").Attr<int32_t>("isa"));

INT8_CALL(int8_float_dot, float_dot,
          ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<ffi::AnyBuffer>()
              .Arg<Floats>().Ret<Floats>().Attr<int32_t>("isa"));

INT8_CALL(int8_attend, attend,
          ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
              .Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<Ints>().Arg<Ints>().Arg<Ints>()
              .Arg<Ints>().Arg<Ints>().Ret<Floats>().Ret<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Attr<int32_t>("window")
              .Attr<int32_t>("isa"));

INT8_CALL(int8_conv, convolve,
          ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>()
              .Arg<ffi::AnyBuffer>().Arg<Floats>().Arg<Floats>().Ret<Floats>().Ret<Floats>()
              .Attr<int32_t>("stride").Attr<int32_t>("dilation").Attr<int32_t>("elu")
              .Attr<int32_t>("filtered").Attr<int32_t>("isa"));

INT8_CALL(int8_norm, norm,
          ffi::Ffi::Bind().Arg<Floats>().Arg<Floats>().Arg<Floats>().Ret<Floats>()
              .Attr<float>("eps").Attr<int32_t>("isa"));

INT8_CALL(int8_vocoder, speak,
          ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets()
              .Attr<int32_t>("isa"));

extern "C" INT8_EXPORT int int8_supported(int isa) { return int8k::supported(isa); }
extern "C" INT8_EXPORT int int8_best_isa() { return int8k::best_isa(); }
extern "C" INT8_EXPORT void int8_limit_threads(int count) { max_threads = count; }
