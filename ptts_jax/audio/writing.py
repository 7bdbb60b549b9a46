"""Audio files that come into being piece by piece, on disk or on stdout.

Knows nothing of where the samples come from. Everything is written as 16-bit samples; WAV by
hand, since a stream needs a header of its own, the other formats by soundfile.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ptts_jax.store.paths import atomic_write

# By suffix: what soundfile calls it. WAV needs no library.
FORMATS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
TAIL = 0.2  # seconds of silence after the end: players cut off the last bit
LEAST_SPACE = 1 << 20  # bytes that must be free on the disk before work begins
ENCODER_BLOCK = 1 << 16  # samples handed to an encoder at once
STREAM_BYTES = 2_000_000_000  # a stream's length is unknown; the header says this
HEADER_BYTES = 44
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class OutputClosed(Exception):
    """Whoever read the audio stream has gone."""


class AudioWriter(AbstractContextManager):
    """`with AudioWriter(path, rate) as out: out.write(pcm)`; "-" streams a WAV to stdout.

    The suffix decides the format. A file appears under its name when it is complete, which it also
    is after a KeyboardInterrupt, with what was written until then; any other error leaves nothing.
    What is wrong with the output is a ValueError of the constructor, so open it before the work
    (or call `check_output`). A stream whose reader leaves raises OutputClosed.
    """

    def __init__(self, path: str | Path, sample_rate: int):
        check_output(path)
        path = _plain(path)
        self.name = _name(path)
        self.rate = sample_rate
        self.samples = 0  # written so far, in the end with the closing silence
        self._encoder: Any = None  # a SoundFile, or None for WAV
        with plain_words(self.name), ExitStack() as stack:
            if str(path) == "-":
                self._file = _stdout()
                self._patchable = _starts_empty(self._file)
            elif _is_device(path):
                self._file = stack.enter_context(path.open("wb"))
                self._patchable = False
            else:
                part = stack.enter_context(atomic_write(path))
                self._file = stack.enter_context(part.open("wb"))
                self._patchable = True
                if path.suffix.lower() != ".wav":
                    self._encoder = stack.enter_context(_encoder(part, sample_rate))
            if self._encoder is None:
                self._put(wav_header(sample_rate, STREAM_BYTES))
            self._stack = stack.pop_all()

    def write(self, pcm: np.ndarray) -> None:
        """Appends samples [T] in -1..1."""
        pcm = np.asarray(pcm, np.float32).reshape(-1)
        data = int16(pcm)
        with plain_words(self.name):
            self._append(data)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt) and self.samples
        with plain_words(self.name):
            if kind is None or interrupted:
                with self._stack:
                    self._finish()
            else:
                self._stack.__exit__(kind, *error)

    def _finish(self) -> None:
        patchable = self._encoder is None and self._patchable
        if patchable:  # an interrupted write may have left any part of its samples
            self.samples = (self._file.seek(0, os.SEEK_END) - HEADER_BYTES) // 2
            self._file.seek(HEADER_BYTES + 2 * self.samples)
        self._append(np.zeros(int(TAIL * self.rate), np.int16))
        if patchable:
            end = self._file.tell()
            self._file.seek(0)
            self._put(wav_header(self.rate, end - HEADER_BYTES))
            self._file.seek(end)

    def _append(self, data: np.ndarray) -> None:
        # Counted first: an interrupt is noticed when a write returns, and then the data is there.
        if self._encoder is None:
            self.samples += len(data)
            self._put(data.tobytes())
        else:
            for at in range(0, len(data), ENCODER_BLOCK):
                part = data[at : at + ENCODER_BLOCK]
                self.samples += len(part)
                self._encoder.write(part)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()  # a player listens, or a full disk is noticed at once


def int16(pcm: np.ndarray) -> np.ndarray:
    """Samples in -1..1 as 16 bits, little-endian, rounded towards zero."""
    return (np.clip(pcm, -1, 1) * 32767).astype("<i2")


def encoded(pcm: np.ndarray, sample_rate: int, suffix: str) -> bytes:
    """Samples [T] as a whole file, whose suffix says what kind."""
    data = int16(np.asarray(pcm, np.float32))
    if suffix == ".wav":
        return wav_header(sample_rate, data.nbytes) + data.tobytes()
    import soundfile

    container, subtype = FORMATS[suffix]
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", sample_rate, 1, subtype, format=container) as out:
        for at in range(0, len(data), ENCODER_BLOCK):
            out.write(data[at : at + ENCODER_BLOCK])
    return file.getvalue()


def check_output(path: str | Path) -> None:
    """Refuses an output that cannot be written; cheap, for before the work that leads to it."""
    path = _plain(path)
    with plain_words(_name(path)):
        if str(path) == "-":
            _stdout()
        elif _is_device(path):
            if path.is_char_device() and _is_terminal(path):
                raise ValueError("it is a terminal; name a file")
            _check_suffix(path.suffix or ".wav", (".wav",))
        else:
            _check_place(path)
            _check_suffix(path.suffix, tuple(FORMATS))


def _name(path: Path) -> str:
    return "standard output" if str(path) == "-" else str(path)


def _plain(path: str | Path) -> Path:
    """The path, or "-" where it is another name of standard output."""
    return Path("-") if str(path) in STDOUT else Path(path)


def _is_device(path: Path) -> bool:
    """Whether it is a pipe, a device or an open file: written to as it is, never replaced."""
    opened = re.fullmatch(r"/dev/(stderr|fd/\d+)|/proc/self/fd/\d+", str(path))
    return path.exists() and not path.is_dir() and bool(opened or not path.is_file())


def _is_terminal(path: Path) -> bool:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def wav_header(rate: int, size: int) -> bytes:
    """The header of a mono 16-bit WAV file with `size` bytes of samples."""
    size = min(size, 2**32 - 1 - 36)  # what is longer, players read to its end
    riff = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE")
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return riff + form + struct.pack("<4sI", b"data", size)


def _encoder(path: Path, rate: int) -> Any:
    import soundfile

    container, subtype = FORMATS[path.suffix.lower()]
    return soundfile.SoundFile(str(path), "w", rate, 1, subtype, format=container)


def _check_suffix(suffix: str, known: tuple[str, ...]) -> None:
    if suffix.lower() not in known:
        raise ValueError(f"unknown kind of file {suffix!r}; name it {', '.join(known)}")


def _check_place(path: Path) -> None:
    """What is wrong with a place is said before the work, not after it."""
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir():
        raise ValueError("it is a folder; name a file in it")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; create it first")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if shutil.disk_usage(folder).free < LEAST_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _stdout() -> BinaryIO:
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        raise ValueError("there is none here; name a file")
    if sys.stdout.isatty():
        raise ValueError("it is a terminal; redirect it to a file or pipe it to a player")
    sys.stdout.flush()
    return stream


def _starts_empty(stream: BinaryIO) -> bool:
    """Whether a stream is a file that begins with us, so that its header can be corrected."""
    try:
        import fcntl

        appends = fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_APPEND
        return stream.seekable() and not appends and os.fstat(stream.fileno()).st_size == 0
    except (ImportError, OSError):
        return False


@contextmanager
def plain_words(name: str) -> Iterator[None]:
    """Failures to write as one line that names the output."""
    try:
        yield
    except BrokenPipeError:
        if name == "standard output":  # else Python complains once more when it exits
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputClosed(f"the reader of {name} has gone") from None
    except OSError as error:
        full = errno.errorcode.get(error.errno or 0) in ("ENOSPC", "EDQUOT", "EFBIG")
        fix = "free some space" if full else "choose another place"
        raise ValueError(f"cannot write {name}: {error.strerror or error}; {fix}") from None
    except RuntimeError as error:  # soundfile's
        words = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise ValueError(f"cannot write {name}: {words}; is the disk full?") from None
    except ValueError as error:
        raise ValueError(f"cannot write {name}: {error}") from None


def open_writer(path: str | Path, sample_rate: int) -> AudioWriter:
    """A context manager that writes audio to `path`, or to stdout for "-"; see AudioWriter."""
    return AudioWriter(path, sample_rate)


def write(path: str | Path, pcm: np.ndarray, sample_rate: int) -> None:
    """Writes samples [T] as one file."""
    with open_writer(path, sample_rate) as out:
        out.write(pcm)
