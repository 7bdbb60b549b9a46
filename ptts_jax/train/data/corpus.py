"""A corpus on disk: all clips' samples in one file, their texts in another.

pcm.npy [samples] int16, clips.jsonl (one line a clip), corpus.json (written last: its presence says
that the rest is whole). Knows nothing of where the clips come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.store.paths import atomic_write

SPLITS = ("train", "heldout")
FULL_SCALE = 32767


@dataclass(frozen=True)
class Clip:
    text: str
    speaker: str
    start: int  # samples
    length: int  # samples
    split: str


@dataclass(frozen=True, eq=False)
class Corpus:
    path: Path
    sample_rate: int
    recipe: dict[str, Any]
    clips: tuple[Clip, ...]
    pcm: np.ndarray  # [samples] int16, mapped from the disk

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clip.speaker for clip in self.clips))

    def audio(self, clip: Clip) -> np.ndarray:
        """[T] float32 in [-1, 1]."""
        return self.pcm[clip.start : clip.start + clip.length].astype(np.float32) / FULL_SCALE

    def select(self, split: str | None = None, speaker: str | None = None) -> tuple[Clip, ...]:
        if split is not None and split not in SPLITS:
            raise ValueError(f"split {split!r}: a corpus has {' and '.join(SPLITS)}")
        if speaker is not None and speaker not in self.speakers:
            found = ", ".join(self.speakers)
            raise ValueError(f"{self.path} has no speaker {speaker!r}: choose of {found}")
        return tuple(
            clip
            for clip in self.clips
            if split in (None, clip.split) and speaker in (None, clip.speaker)
        )


def to_pcm(wave: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] as int16."""
    return np.round(np.clip(wave, -1, 1) * FULL_SCALE).astype(np.int16)


def write_corpus(
    path: str | Path,
    clips: Iterable[tuple[str, str, str, np.ndarray]],
    sample_rate: int,
    recipe: dict[str, Any],
) -> Corpus:
    """Write (text, speaker, split, int16 [T]) as a corpus; the samples never lie in memory."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "corpus.json").unlink(missing_ok=True)
    rows: list[Clip] = []
    total = 0
    with atomic_write(path / "pcm.npy") as beside, beside.open("wb") as file:
        _header(file, 0)
        for text, speaker, split, pcm in clips:
            file.write(np.ascontiguousarray(pcm, "<i2").tobytes())
            rows.append(Clip(text, speaker, total, len(pcm), split))
            total += len(pcm)
        file.seek(0)
        _header(file, total)
    with atomic_write(path / "clips.jsonl") as beside:
        beside.write_text(
            "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows),
            encoding="utf-8",
        )
    with atomic_write(path / "corpus.json") as beside:
        about = {"sample_rate": sample_rate, "clips": len(rows), "samples": total}
        beside.write_text(json.dumps({**about, "recipe": recipe}, indent=1) + "\n")
    return open_corpus(path)


def _header(file: Any, samples: int) -> None:
    """NumPy's header, of the same size for any number of samples."""
    shape = f"({samples},)"
    text = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}"
    body = text.ljust(117) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body.encode())


def open_corpus(path: str | Path) -> Corpus:
    """Read what `python -m ptts_jax.train.data` has written."""
    path = Path(path)
    again = "make it again with python -m ptts_jax.train.data"
    if not (path / "corpus.json").is_file():
        raise ValueError(f"{path} holds no whole corpus (corpus.json is missing): {again}")
    try:
        about = json.loads((path / "corpus.json").read_text(encoding="utf-8"))
        lines = (path / "clips.jsonl").read_text(encoding="utf-8").splitlines()
        clips = tuple(Clip(**json.loads(line)) for line in lines)
        pcm = np.load(path / "pcm.npy", mmap_mode="r", allow_pickle=False)
        whole = (len(clips), len(pcm)) == (about["clips"], about["samples"])
        corpus = Corpus(path, about["sample_rate"], about["recipe"], clips, pcm)
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: the corpus is damaged ({error}): {again}") from None
    if not whole or pcm.dtype != np.int16:
        raise ValueError(f"{path}: pcm.npy, clips.jsonl and corpus.json do not agree: {again}")
    return corpus
