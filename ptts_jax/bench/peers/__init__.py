"""Other engines to measure ours beside: a module for each, all with the names of `Peer`.

What runs in an engine's own process stands in its `*_speaker.py`, a plain script that imports
nothing of ours; the rest prepares files, and says what cannot be measured, and why.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ptts_jax.bench.models import Subject
from ptts_jax.bench.peers import pocket_tts, ptts, sherpa_onnx


class Peer(Protocol):
    """What a module here has."""

    NAME: str  # in --peer, in tables and in the names of files

    def missing(self) -> str | None:
        """Why it cannot run here, and what to do about that."""

    def refuses(self, subject: Subject) -> str | None:
        """Why it cannot speak this model."""

    def options(self, subject: Subject, quantized: bool) -> dict[str, Any]:
        """What its speaker is made with; writes the files that this needs."""

    def weights(self, subject: Subject) -> Path:
        """The file that holds its weights."""

    def limits(self, isa: str) -> Mapping[str, str]:
        """Variables that hold it to an instruction set (see isa.py)."""


KNOWN: dict[str, Peer] = {peer.NAME: peer for peer in (pocket_tts, ptts, sherpa_onnx)}


def installed(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of the peers that can run here, and a line for each other."""
    return _sorted(names, lambda peer: peer.missing(), "left out")


def able(names: Sequence[str], subject: Subject) -> tuple[list[str], list[str]]:
    """Those of the peers that can speak a model, and a line for each other."""
    if subject.ours:
        reason = "its codec speaks by a vocoder, which other engines have not"
        return [], [f"{name} is left out for {subject.name}: {reason}" for name in names]
    return _sorted(names, lambda peer: peer.refuses(subject), f"left out for {subject.name}")


def _sorted(names: Iterable[str], reason: Any, what: str) -> tuple[list[str], list[str]]:
    found, lines = [], []
    for name in names:
        if problem := reason(KNOWN[name]):
            lines.append(f"{name} is {what}: {problem}")
        else:
            found.append(name)
    return found, lines
