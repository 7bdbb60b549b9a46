"""Speech from a classic engine: flite's voices, run as a command.

Gives samples with short silences at both ends. Knows nothing of corpora or models.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ptts_jax import audio

RATE = 16_000
LEAD, TAIL = 0.1, 0.2  # seconds of silence kept before and after
LEVEL = 0.08  # RMS of the sounding part: the voices differ in loudness
PEAK = 0.95
FRAME = 160  # samples that are loud or silent together
FLOOR = 0.02  # of the loudest frame's RMS: silence below it
PATIENCE = 60  # seconds for one sentence


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken: 1.0 is the voice's own."""

    stretch: float = 1.0  # of the duration
    pitch: Fraction = Fraction(1)


def command() -> str:
    """Where flite is."""
    found = shutil.which("flite")
    if found is None:
        raise ValueError("flite is not installed: install it (apt-get install flite)")
    return found


def check_voice(voice: str) -> None:
    """Refuse a voice that this flite does not have: it would speak with another one instead."""
    listed = subprocess.run(
        [command(), "-lv"], capture_output=True, text=True, check=False, timeout=PATIENCE
    ).stdout.split()
    names = [name for name in listed if name not in ("Voices", "available:")]
    if voice not in names:
        raise ValueError(f"flite has no voice {voice!r}: choose of {', '.join(names) or 'none'}")


def speak(text: str, voice: str, manner: Manner = Manner()) -> np.ndarray:  # noqa: B008 (frozen)
    """[T] float32 at RATE, trimmed and levelled."""
    # Not every voice has a pitch to set: speech made slower and played faster has the new pitch
    # and the old duration.
    stretch = manner.stretch * float(manner.pitch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        call = [command(), "-voice", voice, "--setf", f"duration_stretch={stretch:.4f}"]
        done = subprocess.run(
            [*call, "-t", text, "-o", str(path)], capture_output=True, check=False, timeout=PATIENCE
        )
        if done.returncode or not path.is_file():
            words = done.stderr.decode(errors="replace").strip().splitlines()
            reason = words[-1] if words else f"exit status {done.returncode}"
            raise ValueError(f"flite did not speak {text!r}: {reason}")
        wave, rate = audio.read(path)
    wave = audio.resample(wave, rate * manner.pitch.numerator, RATE * manner.pitch.denominator)
    try:
        return level(trim(wave, RATE))
    except ValueError as error:
        raise ValueError(f"flite did not speak {text!r}: {error}") from None


def trim(wave: np.ndarray, rate: int) -> np.ndarray:
    """[T] with LEAD and TAIL seconds of silence around its sound; refuses silence."""
    return cut(wave, *span(wave, rate))


def span(wave: np.ndarray, rate: int) -> tuple[int, int]:
    """Where the sound with its silences starts and ends; either may lie outside the wave."""
    frame = FRAME * rate // RATE
    count = len(wave) // frame
    power = np.square(wave[: count * frame].reshape(count, frame)).mean(axis=1)  # [frames]
    if count == 0 or power.max() < audio.SILENCE**2:
        raise ValueError("the audio is silent")
    loud = np.flatnonzero(power > power.max() * FLOOR**2)
    return int(loud[0]) * frame - round(LEAD * rate), int(loud[-1] + 1) * frame + round(TAIL * rate)


def cut(wave: np.ndarray, start: int, end: int) -> np.ndarray:
    """wave[start:end], with silence where the wave has nothing."""
    inside = wave[max(start, 0) : end]
    return np.pad(inside, (max(-start, 0), max(end - len(wave), 0)))


def level(wave: np.ndarray) -> np.ndarray:
    """[T] at the common loudness, never clipped."""
    sounding = wave[np.abs(wave) > FLOOR * np.abs(wave).max()]
    gain = LEVEL / np.sqrt(np.square(sounding).mean())
    return (wave * min(gain, PEAK / np.abs(wave).max())).astype(np.float32)
