"""Playing aloud, with programs and a library that only write down what they are sent."""

import os
import stat
import sys
import time
import types

import numpy as np
import pytest

from ptts_jax.audio import playing
from ptts_jax.audio.playing import Player

WAVE = np.sin(np.arange(30000) / 20).astype(np.float32)
SENT = (WAVE * 32767).astype("<i2").tobytes()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts a program that speaks shell in the place of a player's, and nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sounddevice", None)  # as if it were not installed
    monkeypatch.chdir(tmp_path)

    def put(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


def play(name: str | None = None) -> Player:
    with Player(24000, name) as out:
        for block in np.split(WAVE, [1000, 20000]):
            out.write(block)
    return out


@pytest.mark.parametrize("name", playing.PROGRAMS)
def test_a_program_gets_every_sample(programs, tmp_path, name):
    source = '"$1"' if name == "afplay" else ""
    programs(name, f'echo "$@" > words; cat {source} > heard')
    assert playing.find() == name
    assert play().samples == len(WAVE)
    heard, words = (tmp_path / "heard").read_bytes(), (tmp_path / "words").read_text()
    header = 44 if name in ("ffplay", "afplay") else 0
    assert heard[header:] == SENT
    assert header or "24000" in words


def test_the_first_program_that_is_there_plays(programs):
    programs("ffplay", "cat > /dev/null")
    programs("paplay", "cat > /dev/null")
    assert playing.find() == "paplay"


def test_the_end_waits_until_all_is_heard(programs, tmp_path):
    programs("aplay", "cat > /dev/null; sleep 0.3; echo done > done")
    play()
    assert (tmp_path / "done").exists()


def test_nothing_that_can_play(programs):
    with pytest.raises(ValueError, match="--play: nothing here can play sound; install sounddev"):
        playing.find()


def test_a_program_that_cannot_play_says_why(programs):
    programs("aplay", "echo 'audio open error: No such file' >&2; exit 1")
    with pytest.raises(ValueError, match="^--play: aplay cannot play: audio open error: No such"):
        play()


def test_an_interrupt_is_silence_at_once(programs, tmp_path):
    programs("aplay", "echo $$ > id; exec sleep 60")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Player(24000) as out:
        out.write(WAVE[:100])
        while not (tmp_path / "id").exists() or not (tmp_path / "id").read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


def test_the_library_goes_first(programs, monkeypatch):
    programs("aplay", "cat > /dev/null")
    calls: list = []

    class OutputStream:
        def __init__(self, rate, channels, dtype, latency):
            calls.append((rate, channels, dtype))

        def write(self, samples):
            calls.append(samples.copy())

        def __getattr__(self, name):
            return lambda: calls.append(name)

    library = types.ModuleType("sounddevice")
    library.OutputStream, library.PortAudioError = OutputStream, RuntimeError
    library.query_devices = lambda kind: {"name": "any"}
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    assert playing.find() == "sounddevice"
    play()
    heard = np.concatenate([call for call in calls if isinstance(call, np.ndarray)])
    np.testing.assert_array_equal(heard[:, 0], WAVE)
    assert calls[0] == (24000, 1, "float32")
    assert [call for call in calls if isinstance(call, str)] == ["start", "stop", "abort", "close"]
    calls.clear()
    with pytest.raises(KeyboardInterrupt), Player(24000):
        raise KeyboardInterrupt
    assert "stop" not in calls and "abort" in calls
    library.query_devices = lambda kind: 1 / 0  # no device
    assert playing.find() == "aplay"
