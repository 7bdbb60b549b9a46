"""The command line with local files: what it says, and what it leaves behind."""

import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax.model import released
from tests.support.speaking import LAST_LINE, piped, wave


def test_a_file(run, place):
    code, out, err = run("Hello", "there.", "--seed=3")
    assert code == 0 and out == ""
    assert re.fullmatch(LAST_LINE.format("out.wav"), err.splitlines(keepends=True)[-1])
    first = wave("out.wav")
    assert float(err.split(" s of audio")[0].split("\n")[-1]) == pytest.approx(
        first.size / 24000 - 0.2, abs=0.006
    )
    assert run("--seed=3", "--output", "b.flac", "--quiet", "Hello there.") == (0, "", "")
    np.testing.assert_array_equal(wave("b.flac"), first)
    run("--seed=4", "--output=c.ogg", "Hello there.")
    assert soundfile.info("c.ogg").frames not in (0, first.size)
    assert {p.name for p in place.iterdir()} == {"out.wav", "b.flac", "c.ogg"}


def test_the_text_from_everywhere(run, place, monkeypatch):
    Path("text.txt").write_bytes("\ufeffHello there.\r\n".encode())  # as some editors save it
    run("--seed=3", "Hello there.", "--output=want.wav")
    run("--seed=3", "--text_file=text.txt", "--output=file.wav")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=pipe.wav")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=dash.wav", "-")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=named.wav", "--text_file=-")
    for name in ("file", "pipe", "dash", "named"):
        np.testing.assert_array_equal(wave(f"{name}.wav"), wave("want.wav"))
    piped(monkeypatch, b"what is not read")
    run("--seed=3", "--output=words.wav", "Hello there.")
    np.testing.assert_array_equal(wave("words.wav"), wave("want.wav"))


def test_no_text_is_a_greeting(run, monkeypatch):
    heard = []
    stream = ptts_jax.TTS.stream

    def listen(self, text, *args, **options):
        heard.append(text)
        return stream(self, text, *args, **options)

    monkeypatch.setattr(ptts_jax.TTS, "stream", listen)
    assert run()[0] == 0
    monkeypatch.setattr(sys, "stdin", None)  # closed
    assert run()[0] == 0
    assert heard == [released.default_text(None)] * 2


@pytest.mark.parametrize(
    "words",
    [
        ("-5 degrees, they said.",),
        ("--", "-Hello", "--there"),
        ("- A list", "- of words"),
        ("--eos_threshold=-4", "x"),
        ("--eos_threshold", "-4", "x"),
        ("x", "--temperature", "0"),
        ("--seed=-1", "x"),
        ("--seed", str(10**30), "x"),
        ("--noise_clamp=1e-9", "x"),
        ("--frames_after_eos=0", "--steps=3", "--max_tokens=2", "one two three"),
        ("--noquiet", "--nolist_voices", "x"),
    ],
)
def test_words_and_flags_that_are_meant(words, run):
    code, _, err = run(*words)
    assert code == 0, err
    wave("out.wav")


def test_flags_reach_the_speech(run):
    for name, flags in {
        "plain": [],
        "hot": ["--temperature=1"],
        "clamped": ["--noise_clamp=0.1"],
        "stepped": ["--steps=2"],
        "late": ["--eos_threshold=1e9"],
        "tail": ["--frames_after_eos=30"],
        "short": ["--max_tokens=3"],
    }.items():
        run("--seed=1", f"--output={name}.wav", *flags, "Hello there, my friends.")
    made = {p.stem: wave(p) for p in Path().glob("*.wav")}
    assert len({x.tobytes() for x in made.values()}) == 7
    assert made["late"].size > made["plain"].size < made["tail"].size


def test_a_voice_is_exported(run, place):
    code, out, err = run("--export_voice=me.safetensors")  # reads no standard input
    assert (code, out) == (0, "") and err.endswith("voice -> me.safetensors\n")
    run("--seed=1", "Hello.")
    run("--seed=1", "--voice=me.safetensors", "--output=again.wav", "Hello.")
    np.testing.assert_array_equal(wave("again.wav"), wave("out.wav"))
    assert run("--quiet", "--export_voice=b.safetensors", "--output=both.wav", "Hi.")[2] == ""
    assert Path("b.safetensors").read_bytes() == Path("me.safetensors").read_bytes()
    wave("both.wav")
    assert {p.suffix for p in place.iterdir()} == {".wav", ".safetensors"}


def test_a_converted_file_needs_nothing_else(run, files, me, monkeypatch):
    from convert.__main__ import main as convert

    run("--seed=1", "Hello.")
    assert convert(["convert", str(files.yaml), "mine.safetensors"]) == 0
    monkeypatch.setattr(ptts_jax.store.hub, "fetch_first", None)  # nor the cache
    words = ("--model=mine.safetensors", f"--voice={me}", "--seed=1", "--output=b.wav", "Hello.")
    code, _, err = run(*words, model=False)
    assert code == 0, err
    np.testing.assert_array_equal(wave("b.wav"), wave("out.wav"))


def test_lists(run):
    code, out, err = run("--list_models", model=False)
    assert (code, err) == (0, "") and out.split() == [*released.names(), "bundled"]
    code, out, err = run("--list_voices", model=False)
    assert (code, err) == (0, "") and out.split() == list(released.VOICES)


def test_a_model_of_ones_own_has_no_voice(files, refuse):
    words = (f"--model={files.yaml}", "Hello.")
    assert "model has no voice of its own: name a recording" in refuse(*words, model=False)


def test_what_changes_nothing_is_said(run, monkeypatch):
    monkeypatch.setattr(ptts_jax.TTS, "without_effect", lambda self, options: ["seed", "steps"])
    line = "--seed and --steps: without effect on this model\n"
    assert line in run("--seed=1", "Hello.")[2]
    assert run("--seed=1", "--quiet", "Hello.")[2] == ""


def test_a_voice_from_a_pipe(run, place, me):
    """`--voice <(ffmpeg ...)`."""
    pipe = place / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(me.read_bytes()))
    feeder.start()
    assert run("--seed=1", f"--voice={pipe}", "Hello.")[0] == 0
    feeder.join()
    run("--seed=1", "--output=b.wav", "Hello.")
    np.testing.assert_array_equal(wave("out.wav"), wave("b.wav"))


def test_the_short_name_of_output(run):
    assert run("-o", "a.wav", "Hi.")[0] == 0
    assert run("-o=b.wav", "Hi.")[0] == 0
    wave("a.wav"), wave("b.wav")


def test_help(run):
    for words in (["--help"], ["Hello", "-h"], ["--nonsense", "--help"]):
        code, out, err = run(*words, model=False)
        assert (code, err) == (0, "")
        for name in ("model", "voice", "output", "export_voice", "max_tokens", "int8"):
            assert f"--{name} " in out
        assert ".mp3, .opus" in out.replace("\n", " ") or ".opus, .mp3" in out
        assert "(default: out.wav)" in out and "(default: english)" in out
        assert "python -m ptts_jax.speak" in out and "/speak.py" not in out
        assert all(len(line) <= 110 for line in out.splitlines())


def test_progress_only_on_a_terminal(run, monkeypatch):
    assert "spoken" not in run("Hello.")[2]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    live = run("Hello.")[2]
    assert "s spoken" in live
    assert re.fullmatch(LAST_LINE.format("out.wav"), live.rpartition("\033[K")[2])
    assert run("--quiet", "Hello.")[2] == ""


def test_a_long_text_is_warned_of_once(run, caplog):
    unbroken = "fox jumps over lazy " * 20
    run(unbroken)
    assert [("words may be skipped" in m) for m in caplog.messages] == [True]
    run("--quiet", unbroken)
    assert len(caplog.messages) == 1
