"""When each phoneme of a corpus is said, if its teacher told: timings.jsonl beside the clips.

One line a clip, in the corpus' order: {"phonemes": [...], "seconds": [...]}, the lengths from the
clip's first sample on. Both are empty where nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ptts_jax.store.paths import atomic_write
from ptts_jax.train.data.corpus import Corpus
from ptts_jax.train.data.said import Said

NAME = "timings.jsonl"


def pack(said: Said) -> dict[str, Any]:
    return {"phonemes": list(said.phonemes), "seconds": list(said.seconds)}


def write(corpus: Corpus, packed: Iterable[dict[str, Any]]) -> None:
    with atomic_write(corpus.path / NAME) as new:
        new.write_text(
            "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in packed), encoding="utf-8"
        )


def read(corpus: Corpus) -> list[dict[str, Any]] | None:
    """The timings of every clip; None if the corpus has none."""
    path = corpus.path / NAME
    if not path.is_file():
        return None
    times = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if len(times) != len(corpus.clips):
        raise ValueError(f"{path}: not of this corpus; make it again")
    return times
