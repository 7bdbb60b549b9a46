"""python -m int8 report: its statistics, its measurements, and what it says of mistakes."""

import functools
import json
import re
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ptts_jax
from convert import flatten, unflatten
from int8 import QTensor, dequantize, dot, quantize
from int8.__main__ import main
from int8.report import (
    MAX_DB,
    bootstrap,
    interval,
    level_db,
    markdown,
    number,
    relative_rms,
    snr_db,
    summarize,
)
from ptts_jax import (
    codec,
    generate,
    quantization,
    stream,
    weights,
)
from ptts_jax.drivers import Job, Sampling
from ptts_jax.int8_report import codec as report_codec
from ptts_jax.int8_report import codec_speed, measure, speech, tables
from ptts_jax.int8_report.audio import log_mel_distance, pauses
from ptts_jax.int8_report.codec_tables import _verdict
from ptts_jax.int8_report.layers import errors, group_of, products, quantized_leaves
from ptts_jax.layers import Linear
from ptts_jax.quantization import Int8
from tests import tiny, tiny_files

TEXTS = ("Hello world.", "Please listen to the river.", "What a fine morning it is.")


# Statistics.


def test_errors_are_relative_to_the_reference():
    x = np.array([3.0, -4.0], np.float32)
    assert relative_rms(x, x) == 0
    assert relative_rms(x, 1.1 * x) == pytest.approx(0.1, rel=1e-6)
    assert snr_db(x, 1.1 * x) == pytest.approx(20, abs=1e-4)
    assert snr_db(x, x) == MAX_DB and snr_db(0 * x, x) == -MAX_DB
    assert relative_rms(0 * x, x) == 1 and relative_rms(0 * x, 0 * x) == 0
    assert level_db(np.full(9, 0.1)) == pytest.approx(-20)


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


def test_pauses_are_what_is_quiet_beside_the_loudest():
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(24000).astype(np.float32)
    assert not pauses(wave, 24000).any()
    wave[4800:9600] *= 1e-3
    assert pauses(wave, 24000).nonzero()[0].tolist() == list(range(4800, 9600))
    assert pauses(0.01 * wave, 24000).sum() == 4800
    assert pauses(np.zeros(0, np.float32), 24000).size == 0


# Layers.


@functools.cache
def setup(count=3):
    tts = model()
    jobs = tuple(
        Job(tuple(range(5 + i, 10 + 2 * i)), 2, 20 + 3 * i, 0, seed=i) for i in range(count)
    )
    voice = tts.voice(tiny_files.speech(1.0))
    return speech.Setup(tts.config, voice, jobs, Sampling(0.3))


@functools.cache
def model():
    return measure.ptts_jax.TTS(
        "tiny", tiny_files.CONFIG, jax.device_put(tiny_files.params()), None, voice_cloning=True
    )


def quantized(*groups, bits=8, group_size=None):
    return jax.device_put(
        quantization.quantize(tiny_files.params(), Int8(groups, bits, group_size))
    )


def test_every_quantisable_layer_is_tried_in_every_format():
    leaves = quantized_leaves(tiny_files.params(), [Int8(("all",)), Int8(("ffn",), 4, 32)])
    params, few = model().params, setup(1)
    told = [run.latents for run in speech.free(params, few)]
    found = errors(params, leaves, lambda: speech.forced(params, few, told))
    tree, _ = quantization.apply(tiny_files.params(), Int8(("all",)))
    every = {name for name, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    assert {e.name for e in found if e.format == "8 bits"} == every
    assert {e.group for e in found} == set(quantization.GROUPS)
    by_4 = {e.name for e in found if e.format == "4 bits by 32"}
    assert by_4 == {name for name in every if group_of(name) == "ffn"}
    for e in found:
        low, high = (0.001, 0.03) if e.format == "8 bits" else (0.03, 0.3)
        assert low < e.weight < high and low < e.output < high, e
        assert e.shape == flatten(tree)[e.name].shape


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
    assert found.output == pytest.approx(relative_rms(exact, np.asarray(dot(x, q))), rel=1e-3)
    assert found.weight == pytest.approx(relative_rms(w, dequantize(q)), rel=1e-6)


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
    np.testing.assert_allclose(watched(params), plain(params), rtol=1e-6)
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
        assert found.forced_latent < 1e-5 and found.forced_snr > 90
        assert (found.free_latent, found.free_snr, found.free_mel) == (0, MAX_DB, 0)
        assert (found.forced_stop, found.free_stop) == (0, 0)
        assert found.free_by_frame == (0,) * len(a.latents)


def test_free_speech_is_that_of_the_facade():
    tts, here = model(), setup()
    for job, run in zip(here.jobs, speech.free(tts.params, here), strict=True):
        blocks = stream.stream(
            tts.params, tts.config, here.voice, [job], here.sampling, threading.Event()
        )
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
        assert d.forced_logit < 1e-5 and d.forced_stop == 0  # neither is heard by EOS
        assert 1e-3 < d.forced_latent < 0.1 and 10 < d.forced_snr < 60 and 0 < d.forced_mel < 3
        assert 0 < d.free_latent < 0.2 and 0 < d.free_snr < 60
    base, here = model().params, setup(1)
    told = [run.latents for run in speech.free(base, here)]
    (exact,), (eight,), (four,) = (
        speech.forced(params, here, told)
        for params in (base, quantized("ffn"), quantized("ffn", bits=4, group_size=32))
    )
    a, b = (speech.compare(here, (exact, other), (exact, exact)) for other in (eight, four))
    assert 0 < a.forced_logit <= a.forced_logit_most and a.forced_logit < b.forced_logit
    assert a.forced_latent < b.forced_latent and a.forced_snr > b.forced_snr


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_stops_are_counted_in_frames_of_the_right_sign(shift):
    params = unflatten(
        flatten(model().params) | {"lm/eos/b": model().params["lm"]["eos"]["b"] + shift}
    )
    here = setup()
    for d, job in zip(differences(params), here.jobs, strict=True):
        soon, late = generate.MIN_FRAMES_BEFORE_EOS + job.tail, job.limit
        assert d.frames + d.free_stop == (soon if shift > 0 else late)
        assert np.sign(d.forced_stop) in (0, -np.sign(shift))
        assert d.forced_logit == pytest.approx(100, rel=1e-3)


# The decoder in less precision.


def decoder_setup():
    c = tiny.PLAIN
    rng = np.random.default_rng(0)
    latents = [rng.standard_normal((n, c.mimi.latent_dim), np.float32) for n in (5, 18)]
    return c, tiny_files.params(c), latents


ALL = report_codec.PARTS["transformer, all convolutions"]


@pytest.fixture(scope="module")
def ranges():
    c, params, latents = decoder_setup()
    return report_codec.calibrate(params, c, latents)


def test_calibration_sees_what_goes_in(ranges):
    c, params, latents = decoder_setup()
    tree, _ = report_codec.variant(params, ALL, report_codec.DYNAMIC, {})
    chosen = {name for name, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    assert chosen < set(ranges)
    for largest, *others in ranges.values():
        assert largest >= others[0] >= others[1] > 0
    std, mean = (np.asarray(params["lm"][part]) for part in ("std", "mean"))
    first = np.abs(np.concatenate(latents) * std + mean).max()
    assert ranges["codec/decoder/quantizer/w"][0] == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        report_codec.DYNAMIC,
        report_codec.static(99.9),
        report_codec.WEIGHTS,
        report_codec.BF16,
    ],
)
def test_every_method_is_near_and_streams(method, ranges):
    c, params, latents = decoder_setup()
    base = report_codec.decode(params, c, latents)
    changed, changes = report_codec.variant(params, ALL, method, ranges)
    assert bool(changes) == (method not in (report_codec.DYNAMIC, report_codec.WEIGHTS))
    waves = report_codec.decode(changed, c, latents, changes)
    for a, b, x in zip(base, waves, latents, strict=True):
        assert a.shape == b.shape == (len(x) * c.mimi.frame_size,)
        assert 15 < snr_db(a, b) < 70
    alone = report_codec.decode(changed, c, latents[1:], changes)[0]
    assert snr_db(waves[1], alone) > 50  # but for values that round the other way


def test_methods_round_as_they_say(ranges):
    c, params, _ = decoder_setup()
    for method in (report_codec.WEIGHTS, report_codec.BF16):
        changed, _ = report_codec.variant(params, ALL, method, ranges)
        for name, leaf in flatten(changed).items():
            was = np.asarray(flatten(params)[name])
            touched = any(re.fullmatch(p, name) for p in ALL)
            assert (relative_rms(was, np.asarray(leaf)) > 0) == touched, name
            assert relative_rms(was, np.asarray(leaf)) < 0.02
    cut = report_codec._rounding(1.27)
    x = jnp.array([0.0, 0.004, 0.006, 1.0, 5.0, -5.0])
    np.testing.assert_allclose(cut(x), [0, 0, 0.01, 1, 1.27, -1.27], atol=1e-6)
    np.testing.assert_array_equal(cut(cut(x)), cut(x))


def test_fewer_bits_for_more_of_the_decoder_is_worse(ranges):
    c, params, latents = decoder_setup()
    base = report_codec.decode(params, c, latents)[1]

    def snr(patterns, method):
        changed, changes = report_codec.variant(params, patterns, method, ranges)
        return snr_db(base, report_codec.decode(changed, c, latents, changes)[1])

    bf16, weights_alone, fixed = (
        snr(ALL, method)
        for method in (
            report_codec.BF16,
            report_codec.WEIGHTS,
            report_codec.static(100.0),
        )
    )
    assert bf16 > weights_alone > fixed
    assert snr(report_codec.PARTS["transformer"], report_codec.BF16) > bf16


def test_noise_is_judged_in_pauses():
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal(24000)
    wave[4800:9600] *= 1e-4
    hiss = np.where(pauses(wave, 24000), 1e-3, 1e-2) * rng.standard_normal(24000)
    found = report_codec.judge(wave, wave + hiss, 24000)
    assert found.error_in_pauses == pytest.approx(-60, abs=0.5)
    assert found.error == pytest.approx(-41, abs=0.5) and found.snr == pytest.approx(20, abs=0.5)
    loud = 0.1 * rng.standard_normal(24000)
    assert report_codec.judge(loud, loud + hiss, 24000).error_in_pauses is None


def test_what_is_timed_computes_the_right_thing():
    c, params, latents = decoder_setup()
    block, state = latents[1][None, :8], codec.decoder_state(c.mimi, 1)
    tree, _ = report_codec.variant(params, ALL, report_codec.DYNAMIC, {})
    expected, exact = codec_speed._step(c)(params, {}, state, block)
    small = codec_speed._bf16_weights(params, tree)
    assert set(small) == {n for n, leaf in flatten(tree).items() if isinstance(leaf, QTensor)}
    after, wave = codec_speed._step(c)(params, small, state, block)
    assert 25 < snr_db(np.asarray(exact), np.asarray(wave)) < 70
    for got, want in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=0.1)


# The command.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_files.write(tmp_path_factory.mktemp("model"))


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


def run(*arguments):
    return main(["report", *map(str, arguments)])


def test_a_report(files, texts, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    policies = ["attention,ffn", "codec:4:32"]
    options = [files.yaml, "--texts", texts, "--seed", 3, "--policies", *policies]
    assert run(*options, "--out", out) == 0
    captured = capsys.readouterr()
    document = (out / "report.md").read_text(encoding="utf-8")
    assert captured.out == document
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [p["name"] for p in found["policies"]] == policies
    for policy in found["policies"]:
        assert f"| {policy['name']} | " in document
        assert len(policy["texts"]) == len(found["texts"]) == len(TEXTS)
        assert policy["megabytes"] < found["megabytes"]
        values = [text["forced_snr"] for text in policy["texts"]]
        assert policy["summary"]["forced_snr"]["median"]["value"] == np.median(values)
    spoken = ptts_jax.load(str(files.yaml), int8=True).params  # what is measured is what speaks
    assert found["policies"][0]["megabytes"] == measure.megabytes(spoken)
    assert {layer["group"] for layer in found["layers"]} == {"attention", "ffn", "codec"}
    for name, reason in found["policies"][1]["left"]:
        assert name in document and reason in document
    assert found["policies"][1]["left"], "the tiny decoder does not fit groups of 32"
    assert "2 of 2: codec:4:32" in captured.err and "synthetic hum" in captured.err
    again = tmp_path / "again"
    assert run(*options, "--out", again) == 0
    same = json.loads((again / "report.json").read_text(encoding="utf-8"))
    assert [same[key] for key in ("policies", "layers")] == [
        found[key] for key in ("policies", "layers")
    ]


def test_texts_that_need_chunks_are_several_utterances(files, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("A word and another, and then one more. " * 12, encoding="utf-8")
    subject = measure.prepare(str(files.yaml), str(path))
    assert len(subject.texts) == len(subject.setup.jobs) > 1
    assert [job.index for job in subject.setup.jobs] == list(range(len(subject.texts)))


def test_an_interrupted_report_keeps_what_it_has(files, texts, tmp_path, monkeypatch, capsys):
    whole = measure._policy
    calls = []

    def policy(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(measure, "_policy", policy)
    options = [files.yaml, "--texts", texts, "--policies", "flow", "ffn"]
    assert run(*options, "--out", tmp_path / "out") == 130
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [p["name"] for p in found["policies"]] == ["flow"]
    assert "interrupted" in capsys.readouterr().err


def test_the_experiment(files, texts, tmp_path, monkeypatch, capsys):
    parts = {"transformer": report_codec.PARTS["transformer"]}
    for module in (report_codec, codec_speed):
        monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setattr(codec_speed, "ROUNDS", 2)
    out = tmp_path / "out"
    assert run(files.yaml, "--texts", texts, "--codec_experiment", "--out", out) == 0
    found = json.loads((out / "codec.json").read_text(encoding="utf-8"))
    document = (out / "codec.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == document
    keys = [(q["part"], q["method"]) for q in found["qualities"]]
    assert keys == [(part, method) for part in parts for method in report_codec.METHODS]
    assert [s["part"] for s in found["speeds"]] == ["", "transformer", "transformer"]
    assert all(s["least"] <= s["median"] for s in found["speeds"])
    assert "no pauses" in document and "| unless in pauses |" in document


def test_verdicts():
    def q(snr, quiet):
        return {"least_snr": snr, "most_in_pauses": quiet}

    cases = [(51, -71), (49, -71), (51, -69), (51, None), (49, None)]
    assert [_verdict(q(*case)) for case in cases] == ["yes", "no", "no", "unless in pauses", "no"]


def test_plots(files, texts, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert run(files.yaml, "--texts", texts, "--policies", "flow", "ffn:4:32", "--out", out) == 0
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_plot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    problem = tables.plot({"policies": [{}]}, tmp_path / "x.png")
    assert "matplotlib is not installed" in problem and not list(tmp_path.iterdir())


def test_nothing_measured_is_said():
    assert tables.document({"policies": [], "layers": []}) == "Nothing was measured."


# Mistakes: one line each, before any work where that can be.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "atention"], "unknown int8 group 'atention'; did you mean attention"),
        (["--policies", "ffn", "all:5"], "--policies all:5: bits 5"),
        (["--policies", "ffn:4:33"], "--policies ffn:4:33: group_size 33"),
        (["--policies", "ffn:four"], "--policies ffn:four: give GROUPS"),
        (["--policies", "ffn:4:32:1"], "--policies ffn:4:32:1: give GROUPS"),
        (["--policies", "ffn", "--codec_experiment"], "not of use with --codec_experiment"),
        (["--texts", "nowhere.txt"], "--texts nowhere.txt: cannot be read (No such file"),
        (["--eos_threshold", "nan"], "eos_threshold nan"),
        (["--voice", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_bad_arguments(files, arguments, message, capsys):
    assert run(files.yaml, *arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("int8: ") and message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b"fine\n...\n", "...: the text holds no letter"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_bad_texts(files, tmp_path, content, message, capsys):
    path = tmp_path / "texts"
    path.write_bytes(content)
    assert run(files.yaml, "--texts", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--texts {path}" in line and message in line


def test_an_output_that_cannot_be(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(files.yaml, "--out", tmp_path / "file") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be a folder" in line


def test_models_that_cannot_be_reported_on(files, tmp_path, capsys):
    assert main([str(files.yaml), str(tmp_path / "q.safetensors"), "--groups", "ffn"]) == 0
    capsys.readouterr()
    assert run(tmp_path / "q.safetensors") == 1
    assert "is quantised already; give the float model" in capsys.readouterr().err
    tts = measure.ptts_jax.load(files.yaml)
    weights.save_converted(
        tmp_path / "mute.safetensors",
        tts.params,
        tts.config,
        name="mute",
        tokenizer=tts.tokenizer.serialized,
        voice_cloning=False,
    )
    assert run(tmp_path / "mute.safetensors") == 1
    assert "cannot clone one; give --voice" in capsys.readouterr().err
    assert run(tmp_path / "none.yaml") == 1


def test_one_text_is_too_few_for_the_experiment(files, tmp_path, capsys):
    path = tmp_path / "texts"
    path.write_text("Only one.")
    assert run(files.yaml, "--texts", path, "--codec_experiment") == 1
    assert "give two texts or more" in capsys.readouterr().err
