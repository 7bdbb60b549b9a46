"""What the vocoder is told: features of known sounds, the weights out of Opus's source, a run."""

import dataclasses

import jax
import numpy as np
import pytest

from ptts_jax.model import codec
from ptts_jax.train.codec import command, fargan, features, pitch, runs, told
from ptts_jax.train.data import corpus
from tests.model.test_vocoder import MIMI
from tests.support import tiny
from tests.support.opus_source import opus

RATE = 16_000


def hum(hz, seconds=0.5):
    """A voice: all harmonics below 4 kHz."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, int(seconds * RATE)) / RATE)
    parts = [np.sin(k * phase) / k for k in range(1, int(4000 / np.max(hz)))]
    return (0.1 * np.sum(parts, axis=0)).astype(np.float32)


def noise(seconds=0.5, seed=0):
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


# Pitch


@pytest.mark.parametrize("hz", [90.0, 200.0, 350.0])
def test_the_pitch_of_a_steady_voice(hz):
    found, voiced = pitch.pitch(hum(hz), RATE, 160)
    assert voiced[4:-4].all() and len(found) == 50
    np.testing.assert_allclose(found[4:-4], hz, rtol=0.005)


def test_the_pitch_of_a_glide_is_that_of_its_moment():
    hz = np.linspace(100, 200, RATE // 2)
    found, _ = pitch.pitch(hum(hz), RATE, 160)
    np.testing.assert_allclose(found[4:-4], hz[::160][4:-4], rtol=0.02)


def test_noise_has_no_voice_and_a_gap_is_bridged():
    assert not pitch.pitch(noise(), RATE, 160)[1].any()
    wave = np.concatenate([hum(100), np.zeros(RATE // 4, np.float32), hum(200)])
    found, voiced = pitch.pitch(wave, RATE, 160)
    gap = ~voiced
    assert 15 <= gap.sum() <= 35
    assert (np.diff(found[45:80]) > -1).all() and found[50] < found[62] < found[74]


# Features


def test_bands_of_a_tone():
    wave = np.sin(2 * np.pi * 1000 * np.arange(RATE // 4) / RATE).astype(np.float32)
    found = features.features(wave)
    bands = found[5:-5, :18] @ features.cosines().T
    assert (bands.argmax(1) == 5).all()  # the tips are 200 Hz apart
    np.testing.assert_allclose(features.cosines() @ features.cosines().T, np.eye(18), atol=1e-9)


def test_ten_times_the_sound_is_two_decades_more():
    wave = noise(0.2)
    soft, loud = (features.features(wave * gain)[2:-2] for gain in (0.1, 1.0))
    np.testing.assert_allclose(loud[:, 0] - soft[:, 0], 2 * np.sqrt(18), rtol=1e-3)
    np.testing.assert_allclose(loud[:, 1:18], soft[:, 1:18], atol=1e-2)


def test_the_prediction_whitens():
    """The filter of an envelope is its inverse, but for what linear prediction cannot follow."""
    bands = np.interp(np.arange(18), [0, 5, 10, 17], [5, 6, 4, 3])[None]
    answer = np.log10(np.abs(np.fft.rfft(features.prediction(bands)[0], 320)) ** 2)
    sum_ = np.interp(np.arange(161), features.TIPS, bands[0] + np.log10(features.WIDTHS)) + answer
    assert sum_[8:140].std() < 0.35 < np.std(answer[8:140])


def test_a_voice_is_periodic_and_noise_is_not():
    assert features.features(hum(120))[5:-5, 19].mean() > 0.3
    assert features.features(noise())[5:-5, 19].mean() < 0.1


def test_distances():
    wanted = np.zeros((1, 3, 20), np.float32)
    wanted[..., 19] = [0.5, -0.5, 0.5]
    found = wanted.copy()
    found[..., 0] = np.sqrt(18)  # one decade in every band
    found[:, 1, 18] = 1.0
    parts = told.distances(found, wanted)
    assert float(parts["bands"]) == pytest.approx(1)
    assert float(parts["move"]) == pytest.approx(0, abs=1e-6) == float(parts["even"])
    assert float(parts["pitch"]) == pytest.approx(0.02 / (0.9 + 0.02 + 0.9))


# The weights


def test_weights_of_opus(tmp_path):
    folder, shapes = opus(tmp_path / "opus")
    found = fargan.read(folder)
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda s: s.shape, shapes)
    first = found["subframe"]["first"]["w"]  # [192, 328]
    values = np.arange(192 * 328) % 100 * (127 * 0.25)
    assert list(first[0, :4]) == list(values[:4])  # a block: four inputs of an output,
    assert list(first[1, :4]) == list(values[4:8])  # then those of the next
    assert list(first[0, 4:8]) == list(values[32:36])
    assert found["pitches"][1, 0] == 12
    assert "b" not in found["subframe"]["gru_0_state"]
    with pytest.raises(ValueError, match="no source of Opus"):
        fargan.read(tmp_path)


# A run


@pytest.mark.slow
def test_a_codec_learns_what_to_tell(tmp_path, monkeypatch):
    folder, _ = opus(tmp_path / "opus")
    sounds = [hum(hz, 1) for hz in (100, 150, 200)] + [noise(1), hum(170, 1)]
    splits = ["train"] * 4 + ["heldout"]
    clips = zip(splits, sounds, strict=True)
    made = [("Hm.", "a", split, corpus.to_pcm(wave)) for split, wave in clips]
    corpus.write_corpus(tmp_path / "corpus", made, RATE, {})
    monkeypatch.setattr(command, "VOICED", dataclasses.replace(MIMI, frame_rate=25.0))
    line = f"codec --corpus={tmp_path}/corpus --out={tmp_path}/run --steps=30 --rate=1e-2 --batch=4"
    assert command.main([*line.split(), f"--vocoder={folder}", "--frames=8", "--quiet"]) == 0
    lines = [log for log in (tmp_path / "run" / "log.jsonl").read_text().splitlines() if log]
    assert "heldout_bands" in lines[-1] or "heldout_bands" in lines[-2]
    params, c, step = runs.load(tmp_path / "run")
    assert step == 30 and c.vocoder == MIMI.vocoder
    same = jax.tree.map(np.array_equal, params["decoder"]["vocoder"], fargan.read(folder))
    assert all(jax.tree.leaves(same)), "the vocoder moved"


def test_told_of_a_corpus_is_kept(tmp_path, monkeypatch):
    clips = [("Hm.", "a", "train", corpus.to_pcm(hum(100, s))) for s in (0.1, 0.25)]
    made = corpus.write_corpus(tmp_path / "corpus", clips, RATE, {})
    of = told.of_corpus(made, 1280, tmp_path, True)
    assert of(made.clips[0]).shape == (2, 160) and of(made.clips[1]).shape == (4, 160)
    expected = features.features(np.pad(made.audio(made.clips[1]), (0, 1120)))
    np.testing.assert_allclose(of(made.clips[1]).reshape(-1, 20), expected, atol=1e-6)
    monkeypatch.setattr(told, "features", None)  # not computed again
    assert told.of_corpus(made, 1280, tmp_path, True)(made.clips[0]).shape == (2, 160)


def test_the_fast_pass_is_the_model():
    from ptts_jax.train.codec import forward

    params = tiny.params(dataclasses.replace(tiny.PLAIN, mimi=MIMI))["codec"]
    wave = noise(4 * MIMI.frame_size / RATE)[None]
    z, _ = codec.encode(params, MIMI, wave, codec.encoder_state(MIMI, 1))
    np.testing.assert_allclose(forward.encode(params["encoder"], MIMI, wave), z, atol=1e-4)
    side = codec.Decoder(MIMI, audible=False)
    expected, _ = side.apply({"params": params["decoder"]}, z, codec.decoder_state(MIMI, 1))
    np.testing.assert_allclose(
        forward.features(params["decoder"], MIMI, z), expected, rtol=1e-3, atol=1e-3
    )
