"""Writing audio: whole files, streams, and what is left when it ends early."""

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from ptts_jax import audio
from ptts_jax.audio import open_writer, read
from tests.support.tones import RATE, tone

# Writing.


def pcm16(x: np.ndarray) -> np.ndarray:
    return np.trunc(np.clip(x.astype("f4"), -1, 1) * np.float32(32767)).astype("i2")


def test_wav_in_pieces(tmp_path):
    x = np.concatenate([tone(0.5), [2.0, -2.0, 0.99999, -1.0]]).astype("f4")
    path = tmp_path / "a.wav"
    with open_writer(path, RATE) as out:
        for piece in np.array_split(x, 7):
            out.write(piece)
            assert not path.exists()
    assert os.listdir(tmp_path) == ["a.wav"]
    assert out.samples == len(x) + RATE // 5
    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (1, 2, RATE, len(x) + RATE // 5)
        data = np.frombuffer(file.readframes(-1), "<i2")
    np.testing.assert_array_equal(data[: len(x)], pcm16(x))
    assert not data[len(x) :].any()
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("name", "container", "noise"),
    [
        ("a.flac", "FLAC", 1e-4),
        ("a.FLAC", "FLAC", 1e-4),
        ("a.ogg", "OGG", 0.02),
        ("a.opus", "OGG", 0.02),
        ("a.mp3", "MP3", 0.02),
    ],
)
def test_other_formats(name, container, noise, tmp_path):
    x = tone(4)  # more than one block
    audio.write(tmp_path / name, x, RATE)
    assert soundfile.info(tmp_path / name).format == container
    y, rate = read(tmp_path / name)
    assert rate == RATE and abs(len(y) - len(x) - RATE // 5) < 2000
    assert np.sqrt(np.mean((y[: len(x)] - x) ** 2)) < noise
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_interrupt_keeps_what_was_spoken(name, tmp_path):
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / name, RATE) as out:
        out.write(tone(1))
        raise KeyboardInterrupt
    y, _ = read(tmp_path / name)
    assert len(y) >= RATE
    assert os.listdir(tmp_path) == [name]


class Interrupted:
    """An open file or encoder whose write does its work, or a part of it; then Ctrl-C comes."""

    def __init__(self, inner, written: int | None):
        self.inner, self.written = inner, written

    def write(self, data) -> None:
        self.inner.write(data[: self.written])
        raise KeyboardInterrupt

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    "name, place, written, samples",
    [
        ("a.wav", "_file", None, 6000),
        ("a.wav", "_file", 2001, 4000),
        ("a.wav", "_file", 0, 3000),
        ("a.flac", "_encoder", None, 6000),
    ],
    ids=["whole", "half a sample", "nothing", "encoded"],
)
def test_interrupt_within_a_write(name, place, written, samples, tmp_path, monkeypatch):
    """What is counted is what the file holds."""
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / name, RATE) as out:
        out.write(tone(0.125))
        with monkeypatch.context() as patch:
            patch.setattr(out, place, Interrupted(getattr(out, place), written))
            out.write(tone(0.125))
    y, _ = read(tmp_path / name)
    silence = RATE // 5
    assert len(y) == out.samples == samples + silence
    np.testing.assert_allclose(y[3000:samples], tone(0.125)[: samples - 3000], atol=1e-4)
    assert not y[samples:].any()


def test_interrupt_before_the_first_sound_leaves_nothing(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "a.wav", RATE):
        raise KeyboardInterrupt
    assert (tmp_path / "a.wav").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_any_other_error_leaves_nothing(name, tmp_path):
    with pytest.raises(RuntimeError, match="mine"), open_writer(tmp_path / name, RATE) as out:
        out.write(tone(1))
        raise RuntimeError("mine")
    assert os.listdir(tmp_path) == []


def test_nothing_written_is_a_short_silence(tmp_path):
    with open_writer(tmp_path / "a.wav", RATE):
        pass
    assert len(read(tmp_path / "a.wav")[0]) == RATE // 5


def unwritable(path) -> str:
    """The one line that the constructor gives, and the check that may precede it."""
    for check in (audio.check_output, lambda path: open_writer(path, RATE)):
        with pytest.raises(ValueError) as caught:
            check(path)
    text = str(caught.value)
    assert text.startswith(f"cannot write {path}: ") and "\n" not in text
    return text


@pytest.mark.parametrize("name", ["a.aac", "a", "a.wav.gz", "wav"])
def test_unknown_suffix(name, tmp_path):
    text = unwritable(tmp_path / name)
    assert all(suffix in text for suffix in (".wav", ".flac", ".ogg", ".mp3"))
    assert os.listdir(tmp_path) == []


def test_bad_places(tmp_path, monkeypatch):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").write_text("")
    assert "folder" in unwritable(tmp_path / "folder.wav")
    assert "no folder" in unwritable(tmp_path / "none" / "a.wav")
    assert "no folder" in unwritable(tmp_path / "file" / "a.wav")
    for name in ("a.wav", "a.flac"):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        assert "space" in unwritable(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.wav"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_folder_without_permission(name, tmp_path):
    code = (
        "import os, sys\n"
        "from ptts_jax.audio import check_output, open_writer\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for check in (check_output, lambda path: open_writer(path, 24000)):\n"
        "    try: check(sys.argv[1])\n"
        "    except ValueError as error: print(error)\n"
    )
    if os.geteuid() == 0:  # root may write anywhere, so another user tries
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / name)], capture_output=True, text=True
    )
    line = f"cannot write {folder / name}: Permission denied; choose another place\n"
    assert done.stdout == 2 * line, done.stderr


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_disk_that_fills_up(name, tmp_path):
    code = (
        "import numpy as np, resource, sys\n"
        "from ptts_jax.audio import open_writer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "noise = np.random.default_rng(0).normal(0, 0.2, 24000)\n"
        "try:\n"
        "    with open_writer(sys.argv[1], 24000) as out:\n"
        "        for _ in range(60): out.write(noise)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True
    )
    assert done.stdout.startswith(f"cannot write {tmp_path / name}: "), done.stderr
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    assert os.listdir(tmp_path) == []


def test_link_keeps_pointing(tmp_path):
    (tmp_path / "real.wav").write_bytes(b"old")
    (tmp_path / "a.wav").symlink_to("real.wav")
    audio.write(tmp_path / "a.wav", tone(0.1), RATE)
    assert (tmp_path / "a.wav").is_symlink()
    assert len(read(tmp_path / "real.wav")[0]) == int(0.3 * RATE)


def test_device():
    audio.write("/dev/null", tone(0.1), RATE)
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")
    assert "space" in str(pytest.raises(ValueError, open_writer, "/dev/full", RATE).value)


# Streaming to stdout.


SPEAK = (
    "import numpy as np, sys\n"
    "from ptts_jax.audio import OutputClosed, open_writer\n"
    "try:\n"
    "    with open_writer('-', 24000) as out:\n"
    "        for _ in range(int(sys.argv[1])): out.write(np.full(2400, 0.5, 'f4'))\n"
    "except (OutputClosed, ValueError) as error:\n"
    "    print(type(error).__name__, error, file=sys.stderr)\n"
)


def speak(blocks: int, **options: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SPEAK, str(blocks)], **options)


def test_stream_through_a_pipe(tmp_path):
    out, _ = speak(5, stdout=subprocess.PIPE).communicate()
    assert out[:4] == b"RIFF" and struct.unpack("<I", out[40:44]) == (2_000_000_000,)
    samples = np.frombuffer(out[44:], "<i2")
    assert len(samples) == 12_000 + 4_800 and set(samples[:12_000]) == {16383}
    (tmp_path / "a.wav").write_bytes(out)
    assert len(read(tmp_path / "a.wav")[0]) == len(samples)


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_stream_into_a_file(mode, tmp_path):
    with open(tmp_path / "a.wav", mode) as file:
        assert speak(5, stdout=file).wait() == 0
    data = (tmp_path / "a.wav").read_bytes()
    assert len(data) == 44 + 2 * 16_800
    known = struct.unpack("<I", data[40:44])[0]
    assert known == (2_000_000_000 if mode == "ab" else 2 * 16_800)


def test_reader_that_leaves():
    child = speak(10_000, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(child.stdout.read(1000)) == 1000
    child.stdout.close()
    err = child.stderr.read().decode()
    assert child.wait() == 0
    assert err == "OutputClosed the reader of standard output has gone\n"


def test_stream_is_not_for_terminals(monkeypatch):
    master, slave = os.openpty()
    child = speak(1, stdout=slave, stderr=subprocess.PIPE)
    assert b"ValueError cannot write standard output: it is a terminal" in child.communicate()[1]
    os.close(master)
    os.close(slave)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(ValueError, match="standard output"):
        open_writer("-", RATE)


def test_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    reader = subprocess.Popen(["cat", tmp_path / "pipe.wav"], stdout=subprocess.PIPE)
    audio.write(tmp_path / "pipe.wav", tone(0.1), RATE)
    assert len(reader.communicate()[0]) == 44 + 2 * int(0.3 * RATE)
    os.mkfifo(tmp_path / "pipe.flac")
    assert "unknown kind" in unwritable(tmp_path / "pipe.flac")
    audio.check_output(tmp_path / "pipe.wav")


def test_ctrl_c_while_writing_keeps_a_valid_file(tmp_path):
    code = (
        "import numpy as np, sys, time\n"
        "from ptts_jax.audio import open_writer\n"
        "try:\n"
        "    with open_writer(sys.argv[1], 24000) as out:\n"
        "        print('ready', flush=True)\n"
        "        while True: out.write(np.full(2400, 0.5, 'f4')); time.sleep(0.001)\n"
        "except KeyboardInterrupt: pass\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.wav")], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    assert child.wait() == 0
    child.stdout.close()
    assert os.listdir(tmp_path) == ["a.wav"]
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert 44 + 2 * file.getnframes() == (tmp_path / "a.wav").stat().st_size
        assert file.getnframes() % 2400 == 0 and file.getnframes() > RATE // 5
