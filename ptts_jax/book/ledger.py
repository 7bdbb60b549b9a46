"""What is spoken already, sentence by sentence: a kill costs the sentences that were being said.

Two files that only grow: audio, and a line for each sentence with where its audio is. What was cut
off at the end of either is not there.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptts_jax.audio.writing import plain_words
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.shards import Place

Record = dict[str, Any]


class Ledger:
    """The sentences of a folder; one process at a time has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[str, tuple[Record, Place]] = {}
        with plain_words(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            self._audio = (folder / "audio.bin").open("a+b")
            self._lines = (folder / "sentences.jsonl").open("a+b")
        self._lines.seek(0)
        for line in self._lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                noted = json.loads(line)
                self._records[noted["record"]["id"]] = noted["record"], tuple(noted["place"])
        if self._lines.tell() and not line.endswith(b"\n"):
            self._put(self._lines, b"\n")  # it was cut off: what follows is a line of its own

    def close(self) -> None:
        self._audio.close()
        self._lines.close()

    def keep(self, data: bytes) -> Place:
        """Appends audio."""
        at = self._audio.seek(0, os.SEEK_END)
        self._put(self._audio, data)
        return at, len(data)

    def note(self, record: Record, place: Place) -> None:
        """A sentence is spoken; its audio was kept."""
        noted = {"record": record, "place": place}
        self._put(self._lines, json.dumps(noted, ensure_ascii=False).encode() + b"\n")
        self._records[record["id"]] = record, place

    def find(self, name: str, words: bool) -> Record | None:
        """A sentence by its id, if its audio is sound, and with the times of its words if these are
        wanted."""
        record, place = self._records.get(name, (None, None))
        if record is None or (words and "words" not in record):
            return None
        return record if hashlib.sha256(self._read(place)).hexdigest() == record["sha256"] else None

    def audio(self, name: str) -> bytes:
        """The audio file of a sentence."""
        return self._read(self._records[name][1])

    def _read(self, place: Place) -> bytes:
        self._audio.seek(place[0])
        return self._audio.read(place[1])

    def _put(self, file: Any, data: bytes) -> None:
        with plain_words(str(self.folder)):
            file.write(data)
            file.flush()


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    """The ledger of a folder, for this process alone."""
    with plain_words(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    with Claims(folder / "claims", 120.0) as claims:
        if not claims.take(0):
            said = "another process makes this book, or did a moment ago; let it end, or delete it"
            raise ValueError(f"{folder}: {said}")
        ledger = Ledger(folder)
        try:
            yield ledger
        finally:
            ledger.close()
