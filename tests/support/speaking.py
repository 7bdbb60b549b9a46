"""What the command says last, and the files that it writes."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile

LAST_LINE = (
    r"\d+\.\d\d s of audio in \d+\.\d\d s(: \d+\.\dx real time, first audio after \d+ ms"
    r"|, compiling included, which the next run need not do) -> {}\n"
)


def piped(monkeypatch, payload: bytes) -> None:
    stream = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(payload))
    monkeypatch.setattr(sys, "stdin", stream)


def wave(path: str | Path) -> np.ndarray:
    samples, rate = soundfile.read(path)
    assert rate == 24000 and samples.ndim == 1 and samples.std() > 0.005
    assert not samples[-4800:].any()  # the closing silence
    return samples
