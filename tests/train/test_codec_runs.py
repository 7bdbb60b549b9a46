"""Runs of the codec's trainer: what is learnt, kept, and refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from ptts_jax.model import codec, config
from ptts_jax.train.codec import (
    command,
    crops,
    forward,
    latents,
    runs,
    stage,
)
from ptts_jax.train.data import corpus
from ptts_jax.train.run import log, loop
from tests.support.codec_runs import QUICK, C, random_params

# Runs


def hum(directory, silent=False, rate=C.sample_rate):
    """A corpus of chords; a frame is 96 samples."""
    rng, clips = np.random.default_rng(0), []
    for i in range(16):
        time = np.arange(rng.integers(700, 1500)) / C.sample_rate
        notes = rng.uniform(50, 400, 3)[:, None]
        wave = 0.2 * np.sin(2 * np.pi * notes * time).sum(0) * (0 if silent else 1)
        split = "heldout" if i % 4 == 3 else "train"
        clips.append((f"Chord {i}.", "ab"[i % 2], split, corpus.to_pcm(wave)))
    return corpus.write_corpus(directory, clips, rate, {"seed": 0})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return hum(tmp_path_factory.mktemp("hum"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of both halves, and the latents that it gives."""
    out = tmp_path_factory.mktemp("codec")
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    batch = crops.batches(data, clips, crop, 0)
    held = crops.batches(data, data.select(split="heldout"), crop, 0)
    validate = command.validator(held, C, QUICK)
    training = stage.stage(C, QUICK, batch, validate=validate)
    loop.run(training, out=out, steps=30, seed=0, quiet=True, log_every=5)
    params, c, _ = runs.load(out)
    made = latents.encode(params["encoder"], c, data, out / "latents", quiet=True)
    return out, params, made


def test_both_halves_learn(trained):
    out, params, _ = trained
    entries = log.read(out)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]
    assert entries[-1]["heldout"] > 0 and {"kl", "log", "linear", "wave"} < entries[0].keys()
    assert runs.load(out)[1:] == (C, 30)
    assert params.keys() == {"encoder", "decoder", "log_variance"}


def test_latents_are_the_encoders(trained, data):
    out, params, made = trained
    for clip in data.clips[-1:]:
        frames = -(-clip.length // C.frame_size)
        wave = crops.fitted(data.audio(clip), frames * C.frame_size)[None]
        encode = jax.jit(lambda p, w: codec.encode(p, C, w, codec.encoder_state(C, 1))[0])
        np.testing.assert_allclose(made.of(clip), encode(params, wave)[0], atol=1e-4)
    train = np.concatenate([made.of(clip) for clip in data.select(split="train")])
    np.testing.assert_allclose(made.mean, train.mean(0), atol=1e-5)
    np.testing.assert_allclose(made.std, train.std(0), rtol=1e-4)
    made.check_corpus(data)
    made.check_codec(params["encoder"], "it")


def test_the_decoder_learns_alone(trained, data, tmp_path):
    _, params, made = trained
    recipe = dataclasses.replace(QUICK, decoder_only=True, rate=3e-3)
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    batch = crops.frame_batches(data, clips, {"latents": made.of}, crop, C.frame_size, 0)
    training = stage.stage(C, recipe, batch, start=params)
    state = loop.run(training, out=tmp_path, steps=30, seed=0, quiet=True, log_every=10)
    losses = [entry["loss"] for entry in log.read(tmp_path)]
    assert losses[-1] < losses[0]
    for name, kept in (("encoder", True), ("log_variance", True), ("decoder", False)):
        for kind in ("params", "ema"):
            pair = jax.tree.map(np.array_equal, state[kind][name], params[name])
            assert jax.tree.all(pair) == kept, (kind, name)


def test_the_posterior_learns_alone(trained, data, tmp_path):
    _, params, _ = trained
    recipe = dataclasses.replace(QUICK, posterior_only=True, rate=0.1, kl=0.1)
    batch = crops.batches(data, data.select(split="train"), crops.Crop(4, 5 * C.frame_size), 0)
    halves = {name: params[name] for name in ("encoder", "decoder")}  # as a model keeps them
    training = stage.stage(C, recipe, batch, start=halves)
    state = loop.run(training, out=tmp_path, steps=30, seed=0, quiet=True, log_every=10)
    losses = [entry["loss"] for entry in log.read(tmp_path)]
    assert losses[-1] < losses[0]
    for name in halves:
        assert jax.tree.all(jax.tree.map(np.array_equal, state["ema"][name], params[name]))
    assert not np.array_equal(state["ema"]["log_variance"], params["log_variance"])


def test_a_run_starts_from_a_model_that_speaks():
    params, c = runs.start("bundled")
    assert params.keys() == {"encoder", "decoder"} and c.sample_rate == 16000
    latents_ = jax.eval_shape(
        lambda p: forward.encode(p, c, np.zeros((1, c.frame_size), np.float32)), params["encoder"]
    )
    assert latents_.shape == (1, 1, c.latent_dim)


@pytest.mark.parametrize(
    ("recipe", "lower"),
    [
        # Together, since compiling each takes seconds.
        (
            dataclasses.replace(QUICK, energy=True, distill=5.0, teacher_width=8, bf16=True),
            ("loss", "distill", "log"),
        ),
        (dataclasses.replace(QUICK, adversarial=0.1), ("log",)),
    ],
    ids=["energy-distill-half", "adversarial"],
)
def test_other_objectives_learn(trained, data, tmp_path, recipe, lower):
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    beside = {"features": trained[2].of} if recipe.distill else {}
    batch = crops.frame_batches(data, clips, beside, crop, C.frame_size, 0)
    training = stage.stage(C, recipe, batch, start=random_params(C))  # quicker than fresh ones
    loop.run(training, out=tmp_path, steps=30, seed=0, quiet=True, log_every=5)
    entries = log.read(tmp_path)
    for name in lower:
        assert entries[-1][name] < entries[0][name], name


def test_batches_are_of_their_step(data):
    crop = crops.Crop(3, 4 * C.frame_size)
    made = crops.batches(data, data.clips, crop, 5)
    first, again, next_ = made(0)["wave"], made(0)["wave"], made(1)["wave"]
    assert first.shape == (3, crop.samples) and np.array_equal(first, again)
    assert not np.array_equal(first, next_)


def test_frames_stand_beside_their_samples(data):
    """A frame's number, kept beside it, leads back to its samples."""
    owner = {clip.start: clip for clip in data.clips}

    def numbers(clip):
        frames = np.arange(-(-clip.length // 96))
        return np.stack([np.full(len(frames), clip.start), frames], axis=1)

    crop = crops.Crop(8, 9 * 96)
    found = crops.frame_batches(data, data.clips, {"numbers": numbers}, crop, 96, 0)(3)
    for wave, rows in zip(found["wave"], found["numbers"], strict=True):
        own = data.audio(owner[rows[0, 0]])
        expected = crops.fitted(own[rows[0, 1] * 96 :], crop.samples)
        assert np.array_equal(wave, expected)


# What cannot be used


def refused(capsys, *arguments):
    assert command.main(["codec", *map(str, arguments)]) == 1
    words = capsys.readouterr().err
    assert words.startswith("error: ") and words.count("\n") == 1
    return words


def test_refusals(data, trained, tmp_path, capsys):
    out, _, made = trained
    base = (f"--corpus={data.path}", f"--out={tmp_path / 'run'}")
    assert "1200 Hz, the codec 16000 Hz" in refused(capsys, *base)
    assert "holds no whole corpus" in refused(capsys, f"--corpus={tmp_path}", base[1])
    assert "--start" in refused(capsys, *base, "--decoder_only")
    assert "--teacher" in refused(capsys, *base, "--distill=25")
    assert "too short, take 11 or more" in refused(capsys, *base, f"--start={out}", "--frames=4")
    assert "no checkpoint there" in refused(capsys, *base, f"--start={tmp_path}")
    assert "nonsense" in refused(capsys, *base, "--config=nonsense")
    assert "is not a model" in refused(capsys, *base, "--start=./nonsense")
    assert "give --start" in refused(capsys, *base, "--posterior_only")


def test_silence_is_refused(tmp_path):
    silent = hum(tmp_path, silent=True)
    with pytest.raises(ValueError, match="the audio is silent"):
        crops.batches(silent, silent.clips, crops.Crop(2, 960), 0)
    with pytest.raises(ValueError, match="there are no clips"):
        crops.batches(silent, (), crops.Crop(2, 960), 0)


def test_latents_that_never_move_are_refused(data, trained, tmp_path):
    params = trained[1]
    dead = jax.tree.map(np.zeros_like, params["encoder"])
    with pytest.raises(ValueError, match="always the same"):
        latents.encode(dead, C, data, tmp_path, quiet=True)
    with pytest.raises(ValueError, match="holds no whole latents"):
        latents.open_latents(tmp_path)


def test_latents_of_something_else_are_refused(data, trained, tmp_path):
    _, params, made = trained
    with pytest.raises(ValueError, match="not made by the encoder"):
        made.check_codec(jax.tree.map(lambda x: x + 1, params["encoder"]), "it")
    with pytest.raises(ValueError, match="not the latents of"):
        made.check_corpus(dataclasses.replace(data, clips=data.clips[1:]))
    for name in ("latents.npy", "latents.json"):
        (tmp_path / name).write_bytes((made.path / name).read_bytes())
    about = json.loads((tmp_path / "latents.json").read_text())
    about["counts"][0] += 1
    (tmp_path / "latents.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="damaged"):
        latents.open_latents(tmp_path)


def test_the_small_codec_is_a_config():
    problems = [message for holds, message in command.SMALL.rules() if not holds]
    assert not problems and command.SMALL.frame_size == 1280
    assert command.SMALL.upsample_stride == 16
    assert isinstance(command.SMALL, config.MimiConfig)
