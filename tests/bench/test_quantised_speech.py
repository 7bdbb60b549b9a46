"""What the int8 report measures: figures, spectra, single layers, speech."""

import functools
import threading

import jax
import numpy as np
import pytest

import ptts_jax
from convert import flatten, unflatten
from int8 import QTensor, dequantize, dot, quantize
from ptts_jax.bench.int8 import speech
from ptts_jax.bench.int8.audio import log_mel_distance
from ptts_jax.bench.int8.layers import Policy, errors, group_of, products, quantized_leaves
from ptts_jax.bench.statistics import (
    MAX_DB,
    bootstrap,
    interval,
    markdown,
    number,
    relative_rms,
    snr_db,
    summarize,
)
from ptts_jax.engine import stream
from ptts_jax.engine.parts import Part
from ptts_jax.engine.request import Job, Sampling
from ptts_jax.engine.speech import Utterance
from ptts_jax.model import codec, generate
from ptts_jax.model.layers import Linear
from ptts_jax.store import quantization
from ptts_jax.store.quantization import Int8
from tests.support import tiny, tiny_files

# Statistics.


def test_errors_are_relative_to_the_reference():
    x = np.array([3.0, -4.0], np.float32)
    assert relative_rms(x, x) == 0
    assert relative_rms(x, 1.1 * x) == pytest.approx(0.1, rel=1e-6)
    assert snr_db(x, 1.1 * x) == pytest.approx(20, abs=1e-4)
    assert snr_db(x, x) == MAX_DB and snr_db(0 * x, x) == -MAX_DB
    assert relative_rms(0 * x, x) == 1 and relative_rms(0 * x, 0 * x) == 0


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, hits, rounds = np.random.default_rng(0), 0, 100
    for seed in range(rounds):
        found = bootstrap(rng.normal(5, 2, 40), np.mean, seed)
        assert found.low < found.value < found.high
        hits += found.low < 5 < found.high
    assert 0.87 < hits / rounds < 1


def test_an_estimate_is_of_its_samples_and_the_same_each_time():
    values = [1.0, 2.0, 30.0]
    found = summarize(values)
    assert found == summarize(values)
    assert (found.median.value, found.mean.value, found.worst, found.count) == (2, 11, 30, 3)
    assert 1 <= found.median.low < found.median.high <= 30
    same = bootstrap([7.0] * 5)
    assert (same.low, same.value, same.high) == (7, 7, 7)
    assert summarize([-3.0, 1.0]).worst == 3
    for bad in ([], [1.0, np.nan], [np.inf]):
        with pytest.raises(ValueError, match="needs samples"):
            bootstrap(bad)


def test_numbers_are_short_and_plain():
    shown = {0.0: "0", 1234.56: "1235", 99.96: "100", 12.34: "12.3", 0.012345: "0.0123", -2.0: "-2"}
    assert {x: number(x) for x in shown} == shown
    assert interval(bootstrap([1.5, 1.5]), 100) == "150 (150 to 150)"
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


# Audio.


def test_the_distance_of_spectra_is_in_db():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(24000).astype(np.float32)
    assert log_mel_distance(wave, wave, 24000) == 0
    assert log_mel_distance(wave, 2 * wave, 24000) == pytest.approx(6.02, abs=0.01)
    assert log_mel_distance(wave, 2 * wave[:9000], 24000) == pytest.approx(6.02, abs=0.01)
    assert log_mel_distance(wave[:10], wave[:10], 24000) == 0  # shorter than a window
    other = wave + 0.01 * rng.standard_normal(24000)
    assert 0 < log_mel_distance(wave, other, 24000) < 1


# Layers.


@functools.cache
def setup(count=3):
    tts = model()
    jobs = tuple(
        Job(tuple(range(5 + i, 10 + 2 * i)), 2, 20 + 3 * i, 0, i, Sampling(0.3))
        for i in range(count)
    )
    voice = tts.voice(tiny_files.speech(1.0))
    return speech.Setup(tts.config, voice, jobs)


@functools.cache
def model():
    return ptts_jax.TTS(
        "tiny", tiny_files.CONFIG, jax.device_put(tiny_files.params()), None, voice_cloning=True
    )


def quantized(*groups, bits=8, group_size=None):
    return jax.device_put(
        quantization.quantize(tiny_files.params(), Int8(groups, bits, group_size))
    )


def test_every_quantisable_layer_is_tried_in_every_format():
    policies = [Policy(Int8(("all",))), Policy(Int8(("ffn",), 4, 32))]
    leaves = quantized_leaves(tiny_files.params(), policies)
    params, few = model().params, setup(1)
    told = [run.latents for run in speech.free(params, few)]
    found = errors(params, leaves, lambda: speech.forced(params, few, told))
    tree, _ = quantization.apply(tiny_files.params(), Int8(("all",)))
    every = {name for name, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    assert {e["name"] for e in found if e["format"] == "8 bits"} == every
    assert {e["group"] for e in found} == set(quantization.GROUPS)
    by_4 = {e["name"] for e in found if e["format"] == "4 bits by 32"}
    assert by_4 == {name for name in every if group_of(name) == "ffn"}
    for e in found:
        low, high = (0.001, 0.03) if e["format"] == "8 bits" else (0.03, 0.3)
        assert low < e["weight"] < high and low < e["output"] < high, e
        assert e["shape"] == flatten(tree)[e["name"]].shape


def test_a_layers_error_is_that_of_its_product():
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((6, 8), np.float32), rng.standard_normal(6, np.float32)
    x = rng.standard_normal((1, 3, 8), np.float32)
    name = "lm/backbone/layers/layer_0/up/w"
    params = {"lm": {"backbone": {"layers": {"layer_0": {"up": {"w": w, "b": b}}}}}}
    q = quantize(w)

    def run():
        for part in (x[:, :1], x[:, 1:]):  # several calls count as one
            Linear(6).apply({"params": {"w": w, "b": b}}, part)

    (found,) = errors(params, {name: {"8 bits": q}}, run)
    exact = x @ w.T
    assert found["output"] == pytest.approx(relative_rms(exact, np.asarray(dot(x, q))), rel=1e-3)
    assert found["weight"] == pytest.approx(relative_rms(w, dequantize(q)), rel=1e-6)


def test_watching_changes_nothing_and_ends():
    c, params = tiny.PLAIN, tiny_files.params(tiny.PLAIN)
    latents = np.random.default_rng(0).standard_normal((1, 2, c.mimi.latent_dim), np.float32)
    start = codec.decoder_state(c.mimi, 1)
    seen = []

    def around(name, layer, call, args):
        seen.append(name)
        return call(*args)

    @jax.jit
    def watched(params):
        with products(params, around):
            return codec.decode(params["codec"], c.mimi, latents, start)[0]

    plain = jax.jit(lambda p: codec.decode(p["codec"], c.mimi, latents, start)[0])
    np.testing.assert_allclose(watched(params), plain(params), rtol=1e-6, atol=1e-7)  # of 0.2
    expected = [n for n in flatten(params) if n.startswith("codec/decoder/") and n.endswith("/w")]
    assert sorted(seen) == sorted(expected)
    jax.jit(lambda p: codec.decode(p["codec"], c.mimi, latents, start))(params)
    assert len(seen) == len(expected)


# Speech.


def test_told_its_own_latents_a_model_says_the_same_again():
    params, here = model().params, setup()
    free = speech.free(params, here)
    forced = speech.forced(params, here, [run.latents for run in free])
    for a, b, job in zip(free, forced, here.jobs, strict=True):
        assert 0 < len(a.latents) <= job.limit
        np.testing.assert_allclose(a.latents, b.latents, atol=2e-5)
        np.testing.assert_allclose(a.logits, b.logits, atol=2e-5)
        np.testing.assert_allclose(a.wave, b.wave, atol=2e-5)
        found = speech.compare(here, (a, b), (a, a))
        assert found["forced_latent"] < 1e-5 and found["forced_snr"] > 90
        assert (found["free_latent"], found["free_snr"], found["free_mel"]) == (0, MAX_DB, 0)
        assert (found["forced_stop"], found["free_stop"]) == (0, 0)
        assert found["free_by_frame"] == [0] * len(a.latents)


def test_free_speech_is_that_of_the_facade():
    tts, here = model(), setup()
    for job, run in zip(here.jobs, speech.free(tts.params, here), strict=True):
        said = Utterance([Part([job], here.voice)])
        blocks = stream.stream(tts.weights, tts.config, said, threading.Event())
        np.testing.assert_allclose(run.wave, np.concatenate(list(blocks)), atol=2e-5)


def test_more_utterances_than_rows(monkeypatch):
    params, here = model().params, setup()
    whole = speech.free(params, here)
    monkeypatch.setattr(speech, "ROWS", 2)
    parts = speech.free(params, here)
    forced = speech.forced(params, here, [run.latents for run in whole])
    assert len(parts) == len(forced) == len(whole) == 3
    for a, b, c in zip(whole, parts, forced, strict=True):
        np.testing.assert_allclose(a.wave, b.wave, atol=2e-5)
        np.testing.assert_allclose(a.latents, c.latents, atol=2e-5)


def differences(params):
    base, here = model().params, setup()
    free = speech.free(base, here)
    told = [run.latents for run in free]
    forced = speech.forced(base, here, told), speech.forced(params, here, told)
    freely = zip(free, speech.free(params, here), strict=True)
    pairs = zip(zip(*forced, strict=True), freely, strict=True)
    return [speech.compare(here, *pair) for pair in pairs]


def test_each_group_errs_where_it_can():
    for d in differences(quantized("flow", "codec")):
        assert d["forced_logit"] < 1e-5 and d["forced_stop"] == 0  # neither is heard by EOS
        assert (
            1e-3 < d["forced_latent"] < 0.1
            and 10 < d["forced_snr"] < 60
            and 0 < d["forced_mel"] < 3
        )
        assert 0 < d["free_latent"] < 0.2 and 0 < d["free_snr"] < 60
    base, here = model().params, setup(1)
    told = [run.latents for run in speech.free(base, here)]
    (exact,), (eight,), (four,) = (
        speech.forced(params, here, told)
        for params in (base, quantized("ffn"), quantized("ffn", bits=4, group_size=32))
    )
    a, b = (speech.compare(here, (exact, other), (exact, exact)) for other in (eight, four))
    assert 0 < a["forced_logit"] <= a["forced_logit_most"] and a["forced_logit"] < b["forced_logit"]
    assert a["forced_latent"] < b["forced_latent"] and a["forced_snr"] > b["forced_snr"]


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_stops_are_counted_in_frames_of_the_right_sign(shift):
    params = unflatten(
        flatten(model().params) | {"lm/eos/b": model().params["lm"]["eos"]["b"] + shift}
    )
    here = setup()
    for d, job in zip(differences(params), here.jobs, strict=True):
        soon, late = generate.MIN_FRAMES_BEFORE_EOS + job.tail, job.limit
        assert d["frames"] + d["free_stop"] == (soon if shift > 0 else late)
        assert np.sign(d["forced_stop"]) in (0, -np.sign(shift))
        assert d["forced_logit"] == pytest.approx(100, rel=1e-3)
