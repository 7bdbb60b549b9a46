"""The input, looked through before the work: what is wrong with a line is said at the start."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ptts_jax.bulk.lines import Line, Settings
from ptts_jax.bulk.models import Models
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Shard, Source
from ptts_jax.messages import say
from ptts_jax.store.sources import is_name

SHOWN = 3  # mistakes that are told one by one
MOST_VOICES = 1000  # that are looked for


@dataclass
class Input:
    """What the lines of an input have in common."""

    lines: int = 0
    digest: str = ""  # tells them from any others
    wrong: list[tuple[int, str]] = field(
        default_factory=list
    )  # lines with what is wrong, the first
    errors: int = 0
    voices: dict[tuple[str | None, str | None], int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)

    def note(self, line: Line) -> None:
        """What a line says."""
        if line.error is not None:
            self.mistake(line.number, line.error)
            return
        if line.model is not None:
            self.models.setdefault(line.model, line.number)
        if line.voice is not None and len(self.voices) < MOST_VOICES:
            self.voices.setdefault((line.model, line.voice), line.number)

    def mistake(self, number: int, error: str) -> None:
        """A line that cannot be said."""
        self.errors += 1
        if len(self.wrong) < SHOWN:
            self.wrong.append((number, error))


def look_through(source: Source, size: int, settings: Settings | None, quiet: bool) -> Input:
    """All lines; without settings they are only counted."""
    found, digest = Input(), hashlib.blake2b(digest_size=16)
    progress = Progress(None, quiet)
    for shard in source.shards(size):
        digest.update(shard.digest().encode())
        found.lines += len(shard.contents)
        for line in _parsed(source, shard, settings):
            found.note(line)
        progress.counted(found.lines)
    progress.end()
    found.digest = digest.hexdigest()
    return found


def _parsed(source: Source, shard: Shard, settings: Settings | None) -> Iterator[Line]:
    return source.parsed(shard, settings) if settings is not None else iter(())


def check_voices(found: Input, models: Models) -> None:
    """Looks for the voices that lines name, as far as that costs nothing: what is a file is there
    or not, and ready voices of the default model are known."""
    tts = models.get().engine.tts
    for (model, voice), number in found.voices.items():
        try:
            if model is None and is_name(voice):
                tts.voice(voice)
            elif "/" in voice and ":" not in voice and not Path(voice).is_file():
                raise ValueError(f"voice {voice}: there is no such file")
        except ValueError as error:
            found.mistake(number, str(error))


def tell(found: Input, strict: bool, name: str) -> None:
    """Says what is wrong with lines; with `strict` that is an error."""
    for number, error in found.wrong:
        if strict:
            raise ValueError(f"{name}: line {number}: {error}")
        say(f"warning: {name}: line {number}: {error}")
    if found.errors > len(found.wrong):
        say(f"warning: {found.errors - len(found.wrong):,} more lines cannot be said")
