// The same for the vocoder: some of its subframes, step by step in double precision.
// Usage: fuzz_vocoder CASES SEED
#include <algorithm>
#include <cmath>

#include "fuzz.h"

using fuzz::Buffer;
using fuzz::pick;
using int8k::Vocoder;

namespace {

using Numbers = std::vector<double>;

// The weights of a layer, which ends where its memory ends.
struct Weights {
  Weights(int64_t outputs, int64_t inputs, bool biased = true)
      : out(outputs), in(inputs), w(out * in), scale(out), bias(biased ? out : 0) {
    for (int64_t i = 0; i < w.count; ++i) w.data[i] = static_cast<int8_t>(pick(-127, 127));
    for (int64_t i = 0; i < out; ++i) {
      scale.data[i] = (1.5f + fuzz::uniform()) / (127 * std::sqrt(static_cast<float>(in)));
    }
    bias.fill(0.5f);
  }
  int8k::Layer layer() const {
    return {reinterpret_cast<const uint8_t*>(w.data), scale.data, bias.count ? bias.data : nullptr};
  }
  Numbers operator()(const Numbers& x) const {
    Numbers y;
    for (int64_t n = 0; n < out; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += w.data[n * in + k] * x[size_t(k)];
      y.push_back(sum * scale.data[n] + (bias.count ? bias.data[n] : 0));
    }
    return y;
  }

  int64_t out, in;
  Buffer<int8_t> w;
  Buffer<float> scale, bias;
};

struct Floats {
  Floats(int64_t outputs, int64_t inputs) : out(outputs), in(inputs), w(out * in), bias(out) {
    w.fill(1 / std::sqrt(static_cast<float>(in))), bias.fill(0.5f);
  }
  Numbers operator()(const Numbers& x) const {
    Numbers y(bias.data, bias.data + out);
    for (int64_t i = 0; i < w.count; ++i) y[size_t(i / in)] += double(w.data[i]) * x[size_t(i % in)];
    return y;
  }

  int64_t out, in;
  Buffer<float> w, bias;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Numbers joined(std::initializer_list<Numbers> parts) {
  Numbers all;
  for (const Numbers& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Numbers times(Numbers x, double by) {
  for (double& v : x) v *= by;
  return x;
}

Numbers tanh_of(Numbers x) {
  for (double& v : x) v = std::tanh(v);
  return x;
}

Numbers gated(const Weights& gate, Numbers x) {
  const Numbers by = gate(x);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= sigmoid(by[i]);
  return x;
}

struct Model {
  using N = Vocoder;
  Weights first{N::kFirst, 2 * N::kInput}, first_gate{N::kFirst, N::kFirst};
  Weights input[3] = {{480, N::told(0), false}, {384, N::told(1), false}, {384, N::told(2), false}};
  Weights state[3] = {{480, 160, false}, {384, 128, false}, {384, 128, false}};
  Weights gru_gate[3] = {{160, 160}, {128, 128}, {128, 128}};
  Weights skip{N::kSkip, N::skipped()}, skip_gate{N::kSkip, N::kSkip}, out{N::kSamples, N::kSkip};
  Floats gain{1, N::kCondition}, shares{4, N::kFirst};
};

struct State {
  Numbers signal, inputs, grus[3];
  double last;
};

// What a subframe is by the plain form; the state moves on.
Numbers expected(const Model& m, State& s, const float* told, int64_t period) {
  const Numbers condition(told, told + Vocoder::kCondition);
  const double gain = std::exp(m.gain(condition)[0]), loud = 1 / (1e-5 + gain);
  const auto heard = [&](int64_t at) {
    return std::clamp(loud * s.signal[size_t(std::max<int64_t>(at, 0))], -1.0, 1.0);
  };
  Numbers around, before;
  for (int64_t i = -2; i < 42; ++i) {
    const int64_t at = 256 + i - period;
    around.push_back(heard(at < 256 ? at : at - period));
  }
  for (int64_t i = 216; i < 256; ++i) before.push_back(heard(i));
  const Numbers x = joined({condition, around, before});
  const Numbers past(around.begin() + 2, around.end() - 2);
  const Numbers y = gated(m.first_gate, tanh_of(m.first(joined({s.inputs, x}))));
  Numbers shares = m.shares(y), h = y, outs;
  for (double& share : shares) share = sigmoid(share);
  for (int i = 0; i < 3; ++i) {
    Numbers& old = s.grus[i];
    const Numbers in = m.input[i](joined({h, times(past, shares[size_t(i)]), before}));
    const Numbers kept = m.state[i](old);
    const size_t width = old.size();
    for (size_t j = 0; j < width; ++j) {
      const double keep = sigmoid(in[j] + kept[j]);
      const double reset = sigmoid(in[width + j] + kept[width + j]);
      const double made = std::tanh(in[2 * width + j] + reset * kept[2 * width + j]);
      old[j] = keep * old[j] + (1 - keep) * made;
    }
    h = gated(m.gru_gate[i], old);
    outs = joined({outs, h});
  }
  const Numbers all = joined({outs, y, times(past, shares[3]), before});
  Numbers wave = times(tanh_of(m.out(gated(m.skip_gate, tanh_of(m.skip(all))))), gain);
  s.signal.erase(s.signal.begin(), s.signal.begin() + 40);
  s.signal.insert(s.signal.end(), wave.begin(), wave.end());
  s.inputs = x;
  for (double& v : wave) v = s.last = v + 0.85 * s.last;
  return wave;
}

bool close(const Numbers& want, const float* got, bool bad) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (bad ? !std::isnan(got[i]) : !(std::fabs(got[i] - want[i]) <= 3e-5)) return false;
  }
  return true;
}

bool vocoder_case() {
  const Model m;
  Vocoder v{};
  v.batch = pick(0, 3), v.time = pick(1, 4);
  Buffer<float> conditions(v.batch * v.time * Vocoder::kCondition);
  Buffer<int32_t> period(v.batch * v.time);
  Buffer<float> signal(v.batch * Vocoder::kSignal), inputs(v.batch * Vocoder::kInput), last(v.batch);
  Buffer<float> gru0(v.batch * 160), gru1(v.batch * 128), gru2(v.batch * 128);
  const Buffer<float>* grus[] = {&gru0, &gru1, &gru2};
  conditions.fill(1), signal.fill(pick(0, 1) ? 3 : 0.3f), inputs.fill(1), last.fill(1);
  gru0.fill(1), gru1.fill(1), gru2.fill(1);
  for (int64_t i = 0; i < period.count; ++i) period.data[i] = static_cast<int32_t>(pick(32, 255));
  const int64_t bad = pick(0, 9);  // a row that is told a NaN
  if (bad < v.batch) conditions.data[bad * v.time * Vocoder::kCondition + 7] = std::nanf("");
  v.conditions = conditions.data, v.period = period.data;
  v.first = m.first.layer(), v.first_gate = m.first_gate.layer();
  for (int i = 0; i < 3; ++i) {
    v.gru_input[i] = m.input[i].layer(), v.gru_state[i] = m.state[i].layer();
    v.gru_gate[i] = m.gru_gate[i].layer();
  }
  v.skip = m.skip.layer(), v.skip_gate = m.skip_gate.layer(), v.out = m.out.layer();
  v.gain = {m.gain.w.data, m.gain.bias.data}, v.shares = {m.shares.w.data, m.shares.bias.data};

  std::vector<Numbers> waves;
  std::vector<State> ends;
  const auto row = [](const Buffer<float>& from, int64_t b, int64_t width) {
    return Numbers(from.data + b * width, from.data + (b + 1) * width);
  };
  for (int64_t b = 0; b < v.batch; ++b) {
    State s{row(signal, b, 256), row(inputs, b, Vocoder::kInput),
            {row(gru0, b, 160), row(gru1, b, 128), row(gru2, b, 128)}, last.data[b]};
    for (int64_t t = b * v.time; t < (b + 1) * v.time; ++t) {
      waves.push_back(expected(m, s, v.conditions + t * Vocoder::kCondition, v.period[t]));
    }
    ends.push_back(s);
  }
  return fuzz::on_all([&](int isa) {
    Buffer<float> wave(v.batch * v.time * 40), own[] = {
        Buffer<float>(signal.count), Buffer<float>(inputs.count), Buffer<float>(last.count),
        Buffer<float>(gru0.count), Buffer<float>(gru1.count), Buffer<float>(gru2.count)};
    const Buffer<float>* from[] = {&signal, &inputs, &last, &gru0, &gru1, &gru2};
    for (int i = 0; i < 6; ++i) std::copy_n(from[i]->data, from[i]->count, own[i].data);
    const fuzz::Helpers helpers;
    v.workers = helpers.get(), v.wave = wave.data;
    v.signal = own[0].data, v.inputs = own[1].data, v.last = own[2].data;
    for (int i = 0; i < 3; ++i) v.grus[i] = own[3 + i].data;
    int8k::speak(v, isa);
    for (int64_t b = 0; b < v.batch; ++b) {
      const State& s = ends[size_t(b)];
      bool good = close(s.inputs, v.inputs + b * Vocoder::kInput, false) || b == bad;
      good &= close(s.signal, v.signal + b * 256, false) || b == bad;
      for (int i = 0; i < 3; ++i) {
        good &= close(s.grus[i], v.grus[i] + b * grus[i]->count / v.batch, b == bad);
      }
      for (int64_t t = b * v.time; t < (b + 1) * v.time; ++t) {
        good &= close(waves[size_t(t)], v.wave + t * 40, b == bad);
      }
      if (good) continue;
      std::printf("FAIL vocoder isa %d batch %ld time %ld row %ld bad %ld\n", isa, long(v.batch),
                  long(v.time), long(b), long(bad));
      return false;
    }
    return true;
  });
}

}  // namespace

int main(int argc, char** argv) { return fuzz::main(argc, argv, vocoder_case); }
