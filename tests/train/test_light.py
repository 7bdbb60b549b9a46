"""Kokoro's speech by a tenth of its work: a net learns what its generator says, and speaks."""

from collections import Counter

import numpy as np
import pytest

from ptts_jax.train import light as training
from ptts_jax.train.data import command, corpus, kokoro, light, script, synthesis
from ptts_jax.train.data.kokoro import Inside
from ptts_jax.train.run import checkpoint
from tests.support import faketeachers
from tests.support.opus_source import opus

HELD, TRAINED = "He is here.", ("Hello there.", "Who is it?", "Come in, please.")


@pytest.fixture
def asked(monkeypatch):
    """What sessions were asked for, and little to say."""
    names, run = [], faketeachers.Session.run

    def spy(self, wanted, *others):
        names.append(wanted[0])
        return run(self, wanted, *others)

    def lines(voice, count, seed=0, drilled=0):
        texts = (TRAINED * count)[:count]
        return [script.Line(HELD, "heldout"), *(script.Line(text, "train") for text in texts)]

    monkeypatch.setattr(faketeachers.Session, "run", spy)
    for module in (training.script, synthesis.script, light.script):
        monkeypatch.setattr(module, "lines", lines)
        monkeypatch.setattr(module, "held_out", lambda: (HELD,))
    return names


def learn(tmp_path, packages, *more):
    source = tmp_path / "opus"
    if not source.exists():
        opus(source, scale=1e-7, bias=0.01)
    flags = (f"--vocoder={source}", f"--out={tmp_path / 'run'}", "--voices=af_one", "--clips=13")
    return training.main(["light", *flags, f"--kokoro_voices={packages}", *more])


def speak(tmp_path, packages, run):
    flags = (f"--out={tmp_path / 'c'}", "--voices=kokoro:af_one", "--sentences=3", f"--light={run}")
    return command.main(["data", *flags, "--sample_rate=16000", f"--kokoro_voices={packages}"])


def test_it_learns_goes_on_and_speaks(packages, asked, tmp_path, capsys):
    assert learn(tmp_path, packages, "--steps=4", "--validate_every=4") == 0
    assert asked == ["audio"] * 13
    first, step, meta = checkpoint.load(tmp_path / "run")
    assert step == 4 and meta["stage"] == "light"
    assert learn(tmp_path, packages, "--steps=6") == 0
    assert len(asked) == 13  # what was heard is kept
    second, step, _ = checkpoint.load(tmp_path / "run")
    assert step == 6
    assert not np.array_equal(first["params"]["told"]["kernel"], second["params"]["told"]["kernel"])
    assert np.array_equal(first["params"]["mean"], second["params"]["mean"])
    assert "heldout_bands" in capsys.readouterr().err

    asked.clear()
    assert speak(tmp_path, packages, tmp_path / "run") == 0
    # Kokoro says what is held out itself; of the others its generator makes nothing.
    assert Counter(asked) == {"audio": 1, kokoro.HIDDEN: 3}
    made = corpus.open_corpus(tmp_path / "c")
    assert "light" in made.recipe["voices"]["kokoro:af_one"]
    seconds = [clip.length / made.sample_rate for clip in made.select("train")]
    assert all(0.2 < length < 1 for length in seconds), seconds


def test_what_shrieks_kokoro_says_itself(packages, asked, tmp_path, monkeypatch):
    assert learn(tmp_path, packages, "--steps=1") == 0
    asked.clear()
    monkeypatch.setattr(light, "LOUDEST", 0.0)
    assert speak(tmp_path, packages, tmp_path / "run") == 0
    assert Counter(asked) == {"audio": 4, kokoro.HIDDEN: 3}


def test_a_corpus_needs_a_run_of_light(packages, asked, tmp_path, capsys):
    assert speak(tmp_path, packages, tmp_path / "none") == 1
    assert "no checkpoint there" in capsys.readouterr().err
    checkpoint.save(tmp_path / "lm", {"ema": {"w": np.ones(1)}}, 3, {"stage": "lm"})
    assert speak(tmp_path, packages, tmp_path / "lm") == 1
    assert "lm: a run of lm; give one of train.light" in capsys.readouterr().err
    assert not (tmp_path / "c" / "corpus.json").exists()


def test_what_the_net_is_given_is_where_it_is_heard():
    """A half step is 12.5 ms, about its middle; a step of the vocoder is about where it begins."""
    half = np.arange(9, dtype=np.float32)
    inside = Inside(half[:, None], 125 * (half > 3), half, np.zeros(256), (), ())
    rows = light.given(inside, 12)
    heard = np.clip(np.arange(12) * 0.01 / 0.0125 - 0.5, 0, 8)
    assert np.allclose(rows[:, 0], heard, atol=1e-6)
    assert np.allclose(rows[:, -1], heard, atol=1e-6)
    assert rows[0, 1] == pytest.approx(np.log2(50 / 62.5) - 1.5)
    assert rows[-1, 1] == pytest.approx(np.log2(125 / 62.5) - 1.5)
    assert list(rows[[0, -1], 2]) == [0, 1]
