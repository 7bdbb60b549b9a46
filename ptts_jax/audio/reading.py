"""Audio as mono float32 arrays: reading files, resampling, making voice prompts.

Knows nothing of models: rates and lengths come from the caller. T: samples, C: channels.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

RATES = (2_000, 400_000)  # Hz; what lies outside is a damaged header
SILENCE = 1e-4  # peak below which a voice prompt holds nothing (-80 dBFS)
SHORTEST_PROMPT = 0.2  # seconds of sound a voice can be told from
LONG_PROMPT = 60.0  # seconds beyond which a prompt makes all speech slower and no better
LONGEST_PROMPT = 600.0  # seconds; each has about 0.6 MB of keys and values
PAUSE = 0.08  # seconds of silence at the end of a voice prompt
FADE = 0.02  # seconds before it that are faded out
FLOOR_DB = 35.0  # what is this far below the loudest frame is silence

_NOISELESS = (b"RIFF", b"fLaC", b"OggS")  # formats whose decoders print nothing

_log = logging.getLogger(__name__)
_descriptor = threading.Lock()


def read(path: str | Path) -> tuple[np.ndarray, int]:
    """An audio file, or what a pipe holds, as ([T] float32, rate), channels averaged."""
    import soundfile

    path = Path(path)
    if path.is_dir():
        raise ValueError(f"cannot read {path}: it is a folder; name an audio file")
    try:
        # Opened twice, since only Python says what is wrong with a path.
        with path.open("rb") as opened:
            source, first = _source(path, opened)
            if not first:
                raise EOFError
            quietly = contextlib.nullcontext() if first in _NOISELESS else _no_standard_error()
            with quietly, soundfile.SoundFile(source) as file:
                # In one go: reading on after a block seeks, which breaks the decoding of MP3.
                samples = file.read(dtype="float32", always_2d=True).mean(axis=1)  # [T, C] -> [T]
                rate = file.samplerate
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except EOFError:
        raise ValueError(f"cannot read {path}: it is empty") from None
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        words = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        fix = "use WAV, FLAC, OGG or MP3, and check that the file is whole"
        raise ValueError(f"cannot read {path}: not readable as audio ({words}); {fix}") from None
    except MemoryError:
        raise ValueError(f"cannot read {path}: too long for this machine's memory") from None
    if len(samples) == 0:
        raise ValueError(f"cannot read {path}: it holds no audio")
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"cannot read {path}: its sample rate of {rate} Hz makes no sense")
    if not np.isfinite(samples).all():
        raise ValueError(f"cannot read {path}: it holds NaN or infinite samples")
    return samples, rate


def _source(path: Path, opened: BinaryIO) -> tuple[str | BinaryIO, bytes]:
    """What soundfile reads, and its first bytes. A pipe cannot go back, so it is read whole."""
    if path.is_file():
        return str(path), opened.read(4)
    data = opened.read()
    return io.BytesIO(data), data[:4]


@contextlib.contextmanager
def _no_standard_error() -> Iterator[None]:
    """What C libraries print meanwhile goes nowhere: libmpg123 comments on many a sound file."""
    with _descriptor:
        try:
            saved = os.dup(2)
        except OSError:  # it is closed
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)


def resample(x: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """[..., T] at another rate, by a windowed-sinc polyphase filter."""
    if from_rate == to_rate:
        return x
    from scipy.signal import resample_poly

    common = math.gcd(from_rate, to_rate)
    return resample_poly(x, to_rate // common, from_rate // common, axis=-1).astype(x.dtype)


def end_on_pause(x: np.ndarray, rate: int) -> np.ndarray:
    """A voice prompt [T] that ends as those of training do: fading into a short silence.

    One that stops in the middle of speech makes the model finish that utterance first, and a long
    silence delays its start.
    """
    frame = max(1, int(0.02 * rate))
    frames = len(x) // frame
    if frames == 0:
        return x
    power = np.square(x[: frames * frame].reshape(frames, frame)).mean(axis=1)
    level = 20 * np.log10(np.sqrt(power) + np.float32(1e-12))  # [frames], dB
    end = (int(np.flatnonzero(level > level.max() - FLOOR_DB)[-1]) + 1) * frame
    fade = min(int(FADE * rate), end)
    prompt = np.zeros(end + int(PAUSE * rate), x.dtype)
    prompt[:end] = x[:end]
    prompt[end - fade : end] *= np.linspace(1, 0, fade, dtype=x.dtype)
    return prompt


def prepare_prompt(
    x: np.ndarray,
    rate: int,
    target_rate: int,
    truncate_seconds: float | None = None,
    *,
    name: str = "the voice prompt",
) -> np.ndarray:
    """Recorded speech [T], [C, T] or [T, C] as a voice prompt [T] at the model's rate.

    `name` is what errors call it. A prompt in which no speech can be is refused: what a model
    makes of it is noise.
    """
    x = _mono(np.asarray(x), name)
    if truncate_seconds is not None:
        x = x[: int(truncate_seconds * rate)]
    seconds = len(x) / rate
    if seconds > LONGEST_PROMPT:
        raise ValueError(
            f"{name} is {seconds / 60:.0f} minutes long, {LONGEST_PROMPT / 60:.0f} are the most; "
            "cut it to 10 to 30 seconds of speech"
        )
    if seconds > LONG_PROMPT:
        words = "%s is %.0f s long: 10 to 30 s sound as good, and each more makes speech slower"
        _log.warning(words, name, seconds)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinite samples")
    if np.abs(x).max() < SILENCE:
        raise ValueError(f"{name} is silent; record it again, louder")
    sound = len(x) / rate
    if sound >= SHORTEST_PROMPT:
        prompt = end_on_pause(resample(x, rate, target_rate), target_rate)
        sound = len(prompt) / target_rate - PAUSE
    if sound < SHORTEST_PROMPT:
        raise ValueError(
            f"{name} has only {sound:.2f} s of sound, too little to tell a voice from; "
            "use a few seconds of speech"
        )
    return prompt


def _mono(x: np.ndarray, name: str) -> np.ndarray:
    """Any array of samples as [T] float32; integers are full scale at their limits."""
    if x.ndim not in (1, 2) or x.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be an array of samples [T] or [C, T], not {x.dtype}{x.shape}"
        )
    if x.dtype.kind in "iu":
        half = 2.0 ** (8 * x.dtype.itemsize - 1)
        x = (x - half * (x.dtype.kind == "u")) / half
    if x.size == 0:
        raise ValueError(f"{name} holds no audio")
    x = x.astype(np.float32)
    return x if x.ndim == 1 else x.mean(axis=int(np.argmin(x.shape)))
