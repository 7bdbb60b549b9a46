"""Voices that clients may name: the model's own, and those in a folder.

A client gives names, never paths. What it uploads is bounded before it is decoded.
"""

import io
import os
import re
import secrets
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.engine import voices
from ptts_jax.engine.voices import Voice
from ptts_jax.server import addresses
from ptts_jax.server.errors import ApiError

# OpenAI's names, each for one of ours, in turn.
OPENAI_NAMES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"),
    *("verse", "marin", "cedar"),
)
SUFFIXES = (".safetensors", ".wav", ".flac", ".ogg", ".mp3")  # of files in the folder
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MOST_BYTES = 10 << 20  # of an upload
MOST_SECONDS = 60  # of a recording
MOST_CHANNELS = 2
REMEMBERED = 16  # addresses


class Voices:
    """The voices of one model. Several processes may share the folder: no file is ever half."""

    def __init__(self, tts: Any, folder: Path | None = None, allow_addresses: bool = False) -> None:
        self._tts = tts
        self._folder = folder
        self._allow_addresses = allow_addresses
        self._fetched: OrderedDict[str, Voice] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """What a client may ask for, the folder's first, without OpenAI's names."""
        added = self.added()
        return [*added, *(name for name in self._ready() if name not in added)]

    def added(self) -> list[str]:
        """The voices in the folder, which clients may remove."""
        return list(self._in_folder())

    @property
    def writable(self) -> bool:
        """Whether clients may add voices."""
        return self._folder is not None

    def _ready(self) -> tuple[str, ...]:
        return self._tts.voices

    def _in_folder(self) -> dict[str, Path]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        files = sorted(self._folder.iterdir())
        return {f.stem: f for f in files if f.suffix in SUFFIXES and NAME.fullmatch(f.stem)}

    def resolve(self, asked: Any) -> Voice:
        """The voice that a request names: a text, {"id": ...}, or None for the default."""
        if isinstance(asked, Voice | voices.Mixture):
            return asked
        if asked is None:
            return self._default()
        if isinstance(asked, dict):
            asked = asked.get("id")
        if not isinstance(asked, str):
            raise ApiError(400, "voice: give a name, or an object with an id", "voice")
        files, ready = self._in_folder(), self._ready()
        try:
            mixed = None if asked in files else voices.mixture(asked, self.resolve)
        except ValueError as error:
            raise ApiError(400, str(error), "voice") from None
        if mixed is not None:
            return mixed
        if asked in files:
            return self._read(asked, files[asked])
        if asked in ready:
            return self._tts.voice(asked)
        if asked in OPENAI_NAMES:
            turn = OPENAI_NAMES.index(asked)
            return self._tts.voice(ready[turn % len(ready)]) if ready else self._default()
        if "://" in asked:
            return self._from_address(asked)
        raise self._unknown(asked)

    def _unknown(self, name: str) -> ApiError:
        known = ", ".join(self.names()) or "none"
        return ApiError(400, f"there is no voice {name[:80]!r}; there are: {known}", "voice")

    def _read(self, name: str, path: Path) -> Voice:
        try:
            return self._tts.voice(path)
        except (OSError, ValueError) as error:
            if not path.exists():  # somebody removed it meanwhile
                raise self._unknown(name) from None
            words = str(error).replace(str(path), f"the voice {name}")  # where it is tells too much
            raise ApiError(400, words, "voice") from None

    def _default(self) -> Voice:
        """The model's own voice; where it has none, the first of the folder."""
        try:
            return self._tts.voice()
        except ValueError:
            if self._ready() or not (files := self._in_folder()):
                raise
            return self._tts.voice(next(iter(files.values())))

    def _from_address(self, address: str) -> Voice:
        if not self._allow_addresses:
            words = "voices are not fetched from addresses here (see --allow_voice_urls)"
            raise ApiError(400, words, "voice")
        with self._lock:
            if address in self._fetched:
                self._fetched.move_to_end(address)
                return self._fetched[address]
        data = addresses.fetch(address, MOST_BYTES)
        voice = self.from_upload(data)
        with self._lock:
            self._fetched[address] = voice
            while len(self._fetched) > REMEMBERED:
                self._fetched.popitem(last=False)
        return voice

    def from_upload(self, data: bytes) -> Voice:
        """A voice from the bytes of a recording or of a voice file."""
        if len(data) > MOST_BYTES:
            raise ApiError(
                413, f"the recording is larger than {MOST_BYTES} bytes", code="too_large"
            )
        if len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "voice.safetensors"
                path.write_bytes(data)
                try:
                    return voices.read(path, self._tts.config.flow_lm)
                except ValueError as error:
                    raise ValueError(str(error).replace(str(path), "the voice file")) from None
        return self._tts.voice(_samples(data, self._tts.sample_rate))

    def add(self, name: str, data: bytes) -> None:
        """Keeps an uploaded voice in the folder, as a voice file: the recording is not kept."""
        folder = self._writable()
        if not NAME.fullmatch(name):
            words = "name: letters, digits, - and _, 64 at most, a letter or digit first"
            raise ApiError(400, words, "name")
        taken = ApiError(409, f"there is a voice {name} already", "name", "voice_exists")
        if name in self._ready() or name in OPENAI_NAMES or name in self._in_folder():
            raise taken
        beside = folder / f".{name}.{secrets.token_hex(4)}.safetensors"
        try:
            voice = self.from_upload(data)
            _save(voice, beside)
            _rename(beside, folder / f"{name}.safetensors")
        except FileExistsError:  # somebody was quicker
            raise taken from None
        except OSError as error:
            raise ApiError(507, f"the voice cannot be kept: {error.strerror or error}") from None
        finally:
            beside.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Takes a voice out of the folder."""
        self._writable()
        file = self._in_folder().get(name)
        if file is None:
            ours = "it is the model's own" if name in self._ready() else "there is none"
            raise ApiError(404, f"no voice {name[:80]!r} to remove: {ours}", code="voice_not_found")
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise ApiError(500, f"the voice cannot be removed: {error.strerror}") from None

    def _writable(self) -> Path:
        if self._folder is None:
            words = "this server keeps no voices: start it with --voices FOLDER"
            raise ApiError(400, words, code="no_voices_folder")
        return self._folder


def _save(voice: Voice, path: Path) -> None:
    try:
        voice.save(path)
    except ValueError as error:  # what a file system does not take is no mistake of the client
        raise OSError(str(error).replace(f"{path}: ", "")) from None


def _rename(path: Path, name: Path) -> None:
    """Gives a file its name, unless another has it: FileExistsError."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(path, name)


def _samples(data: bytes, rate: int) -> np.ndarray:
    """A recording [T] at a rate. Its length is checked before it is decoded, and while it is."""
    import soundfile

    from ptts_jax.audio import resample
    from ptts_jax.audio.reading import RATES

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not RATES[0] <= file.samplerate <= RATES[1] or file.channels > MOST_CHANNELS:
                raise ApiError(400, "the recording is not mono or stereo at a usual sample rate")
            most = MOST_SECONDS * file.samplerate
            samples = file.read(most + 1, dtype="float32", always_2d=True).mean(axis=1)
            given = file.samplerate
    except (soundfile.SoundFileError, TypeError, ValueError):
        words = "the recording is not readable: send WAV, FLAC, OGG or MP3"
        raise ApiError(400, words, "audio_sample") from None
    if len(samples) > most:
        words = f"the recording is longer than {MOST_SECONDS} s; a few seconds are enough"
        raise ApiError(400, words, "audio_sample", "too_long")
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise ApiError(400, "the recording holds no sound", "audio_sample")
    return resample(samples, given, rate)
