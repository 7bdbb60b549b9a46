"""The command with texts that need reading: numbers, marks, lexicons, speed."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax import speak
from ptts_jax.audio import loudness
from tests.support import tiny_files


@pytest.fixture
def run(files, tmp_path, tmp_path_factory, monkeypatch, capfd):
    """The command in an empty folder: (code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    me = Path(files.yaml).parent / "me.wav"
    soundfile.write(me, tiny_files.speech(1.3), 24000)

    def command(*words, model=files.yaml):
        flags = ["--model", str(model), "--voice", str(me), "--seed=3", "--quiet"]
        code = speak.main(["speak", *flags, *map(str, words)])
        out, err = capfd.readouterr()
        return code, out, err

    return command


def heard(run, *words):
    assert run(*words, "--output=heard.wav")[0] == 0
    return soundfile.read("heard.wav")[0]


def test_numbers_are_said_unless_it_is_forbidden(run):
    said = heard(run, "It costs five dollars.")
    np.testing.assert_array_equal(heard(run, "It costs $5."), said)
    as_it_is = heard(run, "--nonormalize", "It costs $5.")
    assert as_it_is.shape != said.shape or not np.array_equal(as_it_is, said)


def test_the_quiet_are_told_what_is_not_spoken(run, caplog):
    assert run("Hello 中国.")[0] == 0
    assert "2 characters unknown to this model: 中 国" in caplog.text


def test_marks_are_obeyed_unless_it_is_forbidden(run):
    with_pause, without = heard(run, "Hi. [pause 2]"), heard(run, "Hi.")
    assert with_pause.size == without.size + 2 * 24000
    assert heard(run, "--nomarkup", "--nonormalize", "Hi. [pause 2]").size != with_pause.size


def test_speed(run):
    slow, plain = heard(run, "--speed=0.5", "Hi there."), heard(run, "Hi there.")
    tail = int(0.2 * 24000)
    assert slow.size - tail == pytest.approx(2 * (plain.size - tail), abs=1)


def test_loudness_of_a_file_and_of_a_whole_is_exact(run, files):
    text = "One boat came down the river, and then two boats more."
    wave = heard(run, "--loudness=-30", text)[: -int(0.2 * 24000)]
    assert loudness.measure(wave, 24000) == pytest.approx(-30, abs=0.1)
    tts = ptts_jax.load(files.yaml)
    how = {"voice": Path(files.yaml).parent / "me.wav", "seed": 3, "loudness": -30}
    whole = tts.generate(text, **how)
    np.testing.assert_allclose(wave, whole, atol=1e-4)
    np.testing.assert_allclose(tts.generate_batch([text], **how)[0], whole, atol=1e-4)


def player(folder, script):
    path = folder / "aplay"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_play(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setenv("PATH", player(tmp_path, "cat > played"))
    assert run("--play", "Hi there.")[0] == 0
    played = np.frombuffer((tmp_path / "played").read_bytes(), "<i2")
    assert not (tmp_path / "out.wav").exists(), "nobody asked for a file"
    assert run("--play", "--output=out.flac", "Hi there.")[0] == 0
    written = soundfile.read("out.flac", dtype="int16")[0]
    np.testing.assert_array_equal(written[: len(played)], played)
    monkeypatch.setenv("PATH", player(tmp_path, "echo 'no such device' >&2; exit 1"))
    code, _, err = run("--play", "Hi there.")
    assert code == 1 and err == "error: --play: aplay cannot play: no such device\n"
    monkeypatch.setenv("PATH", "")
    code, _, err = run("--play", "Hi there.", model="nowhere.yaml")
    assert code == 1 and "nothing here can play sound" in err and err.count("\n") == 1


def test_print_text(run, tmp_path):
    Path("names.txt").write_text("Kyutai = Kew tie\n")
    text = "Dr. Kyutai has 3 dogs.\n\n[rate 1.5] Fast."
    code, out, err = run("--print_text", "--lexicon=names.txt", text)
    assert (code, err) == (0, "")
    assert out == "Doctor Kew tie has three dogs.\n[pause 0.7]\n[rate 1.5] Fast.\n"
    assert run("--print_text", "--language=fr", "12 et 1/2")[1] == "douze et un demi\n"
    assert run("--print_text", "--nonormalize", "12")[1] == "12\n"
    assert [path.name for path in tmp_path.iterdir()] == ["names.txt"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["One.\n[pause x]"], "line 2, column 1: [pause x]: give seconds from 0 to 60"),
        (["<speak>One"], "line 1, column 11: not well-formed SSML: no element found"),
        (["--speed=9", "One"], "speed 9.0: give a number from 0.25 to 4"),
        (["--language=xx", "One"], "language 'xx': give one of en, fr"),
        (["--lexicon=none.txt", "One"], "none.txt: cannot read the lexicon"),
        (["--lexicon=bad.txt", "One"], "bad.txt, line 1, column 1: write a line as"),
    ],
)
def test_mistakes_are_said_before_a_model_is_read(run, tmp_path, words, error):
    Path("bad.txt").write_text("what\n")
    code, out, err = run(*words, model="none.yaml")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {error}") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]


def test_a_voice_that_nobody_knows_leaves_nothing(run, tmp_path):
    code, _, err = run("One.\n\nTwo, [voice nobody.wav] three.")
    assert code == 1
    assert err.startswith("error: line 3, column 6: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lexicon_is_not_overwritten(run):
    Path("names.wav").write_text("a = b\n")
    code, _, err = run("--lexicon=names.wav", "--output=names.wav", "Hi")
    assert code == 1 and "would overwrite what is read" in err


def test_a_plain_text_imports_nothing_for_it():
    """What reads numbers and marks costs nothing where it is not asked for."""
    lazy = ["unicode_rbnf", "tomllib", "xml.parsers.expat", "ptts_jax.text.markup"]
    lazy += ["ptts_jax.text.normalize", "ptts_jax.text.lexicon", "ptts_jax.text.characters"]
    script = (
        f"import sys, ptts_jax.speak, ptts_jax.tts; print([m for m in {lazy} if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
