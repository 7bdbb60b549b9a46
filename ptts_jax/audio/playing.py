"""Speech aloud while it is made: by sounddevice, or by a program that plays what it is sent.

A player is chosen before the work; that none can play is one line.
"""

import contextlib
import importlib
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ptts_jax.audio.writing import STREAM_BYTES, wav_header

# What plays a stream from its standard input; {rate} is the samples per second.
PROGRAMS = {
    "aplay": "-q -t raw -f S16_LE -c 1 -r {rate} -",
    "paplay": "--raw --format=s16le --channels=1 --rate={rate}",
    "ffplay": "-nodisp -autoexit -loglevel error -i pipe:0",  # a WAV: its flags change by version
    "afplay": "{file}",  # plays only a file, so when all is made
}
PIECE = 0.05  # seconds that are sent to a device at once
LATENCY = 0.2  # seconds of sound that a device holds


def find() -> str:
    """The name of what can play here; a ValueError where nothing can."""
    with contextlib.suppress(Exception):  # not installed, no PortAudio, or no device
        importlib.import_module("sounddevice").query_devices(kind="output")
        return "sounddevice"
    for program in PROGRAMS:
        if shutil.which(program):
            return program
    raise ValueError(
        f"--play: nothing here can play sound; install sounddevice (pip) or one of "
        f"{', '.join(PROGRAMS)}"
    )


class Player(AbstractContextManager):
    """`with Player(rate) as out: out.write(pcm)`; the end of the block is the end of the sound.

    After an error or an interrupt it is silent at once.
    """

    def __init__(self, sample_rate: int, name: str | None = None) -> None:
        self.name = name or find()
        self.rate = sample_rate
        self.samples = 0  # sent so far
        self._device: Any = None
        self._program: subprocess.Popen | None = None
        self._files = contextlib.ExitStack()
        self._errors = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._file: Any = None  # for a program that plays only files
        if self.name == "sounddevice":
            library = importlib.import_module("sounddevice")
            how = {"channels": 1, "dtype": "float32", "latency": LATENCY}
            try:
                self._device = library.OutputStream(sample_rate, **how)
                self._device.start()
            except library.PortAudioError as error:
                raise ValueError(f"--play: the sound device cannot play: {error}") from None
        elif self.name == "afplay":
            file = tempfile.NamedTemporaryFile(suffix=".wav")  # noqa: SIM115
            self._file = self._files.enter_context(file)
            self._file.write(wav_header(sample_rate, STREAM_BYTES))
        else:
            self._start(subprocess.PIPE)
            if self.name == "ffplay":
                self._send(wav_header(sample_rate, STREAM_BYTES))

    def _start(self, source: int) -> None:
        words = PROGRAMS[self.name].split()
        named = {"rate": self.rate, "file": self._file and self._file.name}
        command = [self.name, *(word.format(**named) for word in words)]
        # A session of its own: Ctrl-C comes to us alone, and we end it.
        self._program = subprocess.Popen(
            command, stdin=source, stdout=self._errors, stderr=self._errors, start_new_session=True
        )

    def write(self, pcm: np.ndarray) -> None:
        """More samples [T] in -1..1; waits while the player has enough."""
        pcm = np.clip(np.asarray(pcm, np.float32), -1, 1)
        self.samples += len(pcm)
        if self._device is not None:
            size = round(PIECE * self.rate)  # Ctrl-C waits for no more
            for at in range(0, len(pcm), size):
                self._device.write(pcm[at : at + size, None])
            return
        data = (pcm * 32767).astype("<i2").tobytes()
        self._file.write(data) if self._file is not None else self._send(data)

    def _send(self, data: bytes) -> None:
        assert self._program is not None and self._program.stdin is not None
        try:
            self._program.stdin.write(data)
            self._program.stdin.flush()
        except BrokenPipeError:
            self._program.wait()
            raise self._failure() from None

    def _failure(self) -> ValueError:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").split("\n")
        words = next((line.strip() for line in said if line.strip()), "it ended at once")
        return ValueError(f"--play: {self.name} cannot play: {words}")

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._end()

    def _finish(self) -> None:
        """Waits until all is heard."""
        if self._device is not None:
            self._device.stop()
            return
        if self._file is not None:
            self._file.flush()
            self._start(subprocess.DEVNULL)
        assert self._program is not None
        with contextlib.suppress(BrokenPipeError):
            if self._program.stdin is not None:
                self._program.stdin.close()
        if self._program.wait():
            raise self._failure()

    def _end(self) -> None:
        """Silence, at once."""
        if self._device is not None:
            self._device.abort()
            self._device.close()
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            if self._program.stdin is not None:
                with contextlib.suppress(OSError):
                    self._program.stdin.close()
        self._files.close()
