"""Lines through the engine: many side by side, so that its rows are never empty.

There is no batching in here. A line is a request without a listener; so many of them wait for the
engine's rows that the next one is there when a row is free.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from ptts_jax import audio
from ptts_jax.audio import writing
from ptts_jax.bulk.lines import Line
from ptts_jax.bulk.models import Loaded, Models, voice_key
from ptts_jax.bulk.shards import Place, Spoken
from ptts_jax.engine import subtitles
from ptts_jax.store.download import HubError
from ptts_jax.text.reading import Manner

WAITING = 2  # times as many lines as the engine has rows are with it at a time
MOST_BROKEN = 3  # lines of a shard that the engine may fail at; with more it is not the lines
LINES_OWN = ("missing", "access", "source")  # reasons why a line's voice cannot be had


class Speaker:
    """What turns lines into audio files."""

    def __init__(
        self, models: Models, suffix: str, words: bool = False, check: bool = False
    ) -> None:
        self._models = models
        self._suffix = suffix
        self._words = words
        self._check = check
        self._broken = 0

    def speak(
        self,
        lines: Sequence[Line],
        keep: Callable[[bytes], Place],
        tell: Callable[[Line, Spoken], None],
    ) -> list[Spoken]:
        """What becomes of each line, in their order. `keep` takes audio files; `tell` hears of each
        line when it is done."""
        done: dict[int, Spoken] = {}

        def end(line: Line, spoken: Spoken) -> None:
            done[line.number] = spoken
            tell(line, spoken)

        lines = list(_with_own_ids(lines))
        for line in lines:
            if line.error is not None:
                end(line, failed(line, line.error))
        self._broken = 0
        # The longest first: whoever comes last keeps the others waiting.
        able = [line for line in lines if line.error is None]
        able.sort(key=lambda line: (line.model or "", -len(line.text), line.number))
        for name, some in groupby(able, key=lambda line: line.model):
            some = list(some)
            try:
                loaded = self._models.get(name)
            except ValueError as error:
                if name is None or not _lines_own(error):
                    raise
                for line in some:
                    end(line, failed(line, str(error)))
                continue
            _run(self._all(loaded, some, keep, end))
        return list(_with_names((done[line.number] for line in lines), self._suffix))

    async def _all(
        self, loaded: Loaded, lines: Iterable[Line], keep: Callable, end: Callable
    ) -> None:
        window = asyncio.Semaphore(WAITING * loaded.engine.slots)

        async def one(line: Line) -> None:
            try:
                end(line, await self._one(loaded, line, keep))
            finally:
                window.release()

        async with asyncio.TaskGroup() as tasks:
            for line in lines:
                await window.acquire()
                tasks.create_task(one(line))

    async def _one(self, loaded: Loaded, line: Line, keep: Callable[[bytes], Place]) -> Spoken:
        try:
            record = about(loaded, line)
            how = {**asdict(line.options), **vars(line.manner)}
            how |= {"seed": record["seed"], "loudness": None}
            how |= {"words": self._words, "checks": [] if self._check else None}
            how |= {"live": False, "bounded": False}  # what waits is bounded by the window
            speech = loaded.engine.submit(line.text, line.voice, **how)
        except ValueError as error:
            if not _lines_own(error):
                raise
            return failed(line, str(error))
        try:
            with speech:
                blocks = [block async for block in speech]
        except Exception as error:  # the engine's
            self._broken += 1
            if self._broken > MOST_BROKEN:
                raise
            return failed(line, f"the engine failed: {error!r}")
        wave, rate = np.concatenate([np.zeros(0, np.float32), *blocks]), speech.sample_rate
        if line.manner.loudness is not None:
            wave = audio.levelled(wave, rate, line.manner.loudness)
        data = writing.encoded(wave, rate, self._suffix)
        record |= {"duration": round(len(wave) / rate, 4), "sample_rate": rate}
        record["sha256"] = hashlib.sha256(data).hexdigest()
        if self._words:
            record["words"] = [subtitles.plain(word) for word in speech.words]
        if self._check:
            faults = [asdict(fault) for chunk in how["checks"] for fault in chunk.faults]
            record["checks"] = {
                "tries": max((c.tries for c in how["checks"]), default=0),
                "faults": faults,
            }
        return Spoken(record, keep(data))


def about(loaded: Loaded, line: Line) -> dict[str, Any]:
    """What the index tells of a line before it is spoken. Its id is a hash of all that decides the
    sound, unless it has one; a line without a seed takes one from the hash."""
    given = {name: value for name, value in asdict(line.options).items() if value is not None}
    usual = {field.name: field.default for field in fields(Manner)}
    manner = {name: value for name, value in vars(line.manner).items() if value != usual[name]}
    decides = {
        "text": line.text,
        "revision": loaded.revision,
        "voice": voice_key(line.voice),
        "options": given,
        "manner": {k: dict(v) if k == "lexicon" else v for k, v in manner.items()},
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    settings = given | manner
    settings.pop("lexicon", None)
    return {
        "id": line.id or digest[:24],
        "line": line.number,
        "text": line.text,
        "voice": line.voice,
        "model": loaded.name,
        "revision": loaded.revision,
        "seed": given.get("seed", int(digest[24:32], 16)),
        "settings": settings,
        **line.kept,
    }


def failed(line: Line, error: str) -> Spoken:
    """The object of a line that cannot be said."""
    named = {} if line.id is None else {"id": line.id}
    return Spoken({**named, "line": line.number, "text": line.text, **line.kept, "error": error})


def _with_own_ids(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, those refused that have the id of another one."""
    taken: set[str] = set()
    for line in lines:
        if line.id in taken:
            line = replace(line, error=f"id {line.id!r} is an earlier line's too")
        elif line.id is not None:
            taken.add(line.id)
        yield line


def _with_names(done: Iterable[Spoken], suffix: str) -> Iterator[Spoken]:
    """All with the names of their audio files; lines that are equal in all are numbered."""
    taken: dict[str, int] = {}
    for spoken in done:
        if spoken.place is None:
            yield spoken
            continue
        name = spoken.record["id"]
        count = taken[name] = taken.get(name, 0) + 1
        name += f"-{count}" * (count > 1)
        yield replace(spoken, record={**spoken.record, "id": name, "audio": name + suffix})


def _lines_own(error: ValueError) -> bool:
    """Whether it is the line's mistake, and not that of a network or a disk."""
    return not isinstance(error, HubError) or error.reason in LINES_OWN


def _run(work: Any) -> None:
    """Runs it to its end; of several errors the first."""
    try:
        asyncio.run(work)
    except ExceptionGroup as errors:
        first: Exception = errors
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise first from None
