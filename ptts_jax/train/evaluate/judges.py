"""The judges of an evaluation by name, and the note that spares them what they know.

A judge takes waves [T] and their rate and gives something for each: what is said, how good it
sounds, whose voice it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.store.paths import remember
from ptts_jax.train.evaluate import dnsmos, recogniser, similarity, whisper

Judge = Callable[[Sequence[np.ndarray], int], list[Any]]
RECOGNISERS = ("whisper", "pocketsphinx")  # the first that is asked counts
NAMES = (*RECOGNISERS, "dnsmos", "similarity")
_CHECKS = {
    "whisper": lambda: whisper.check(),
    "pocketsphinx": lambda: recogniser.check(),
    "dnsmos": lambda: dnsmos.check(),
    "similarity": lambda: similarity.check(),
}


@dataclass(frozen=True)
class Judges:
    """Who hears: the first recogniser's words are the word error rate."""

    hear: dict[str, Judge]
    quality: Judge | None = None
    embed: Judge | None = None

    def remembering(self, folder: Path) -> Judges:
        """The same, with notes in a folder of what they have judged before."""
        named = {n: remembering(h, folder / f"heard-{n}.json") for n, h in self.hear.items()}
        return replace(
            self,
            hear=named,
            quality=self.quality and remembering(self.quality, folder / "quality.json"),
            embed=self.embed and remembering(self.embed, folder / "voices.json"),
        )


def chosen(names: Sequence[str]) -> Judges:
    """The judges of these names; says what to install, or whom to leave out."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"--judges: no judge {name!r}: choose of {', '.join(NAMES)}")
        try:
            _CHECKS[name]()
        except ValueError as error:
            raise ValueError(f"{error}, or leave {name} out of --judges") from None
    hear = {"whisper": whisper.hear, "pocketsphinx": recogniser.hear}
    asked = {name: hear[name] for name in RECOGNISERS if name in names}
    if not asked:
        raise ValueError(f"--judges: take {' or '.join(RECOGNISERS)}, to hear what is said")
    return Judges(
        asked,
        dnsmos.rate if "dnsmos" in names else None,
        similarity.embed if "similarity" in names else None,
    )


def remembering(judge: Judge, path: Path) -> Judge:
    """A judge that keeps what it has said in a file: the teacher's audio is judged often."""

    def judged(waves: Sequence[np.ndarray], rate: int) -> list[Any]:
        known = _known(path)
        keys = [_key(wave, rate) for wave in waves]
        new = [i for i, key in enumerate(keys) if key not in known]
        if new:
            said = judge([waves[i] for i in new], rate)
            known.update(zip([keys[i] for i in new], said, strict=True))
            remember(path, json.dumps(known, indent=1, sort_keys=True))
        return [known[key] for key in keys]

    return judged


def _known(path: Path) -> dict[str, Any]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _key(wave: np.ndarray, rate: int) -> str:
    samples = np.ascontiguousarray(np.asarray(wave, np.float32))
    return hashlib.sha256(samples.tobytes() + str(rate).encode()).hexdigest()[:32]
