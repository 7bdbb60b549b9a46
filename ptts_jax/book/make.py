"""From a plan to files: speak what is not spoken yet, lay the chapters out, write them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptts_jax.book import sound, writing
from ptts_jax.book.contents import Book
from ptts_jax.book.ledger import Ledger
from ptts_jax.book.plan import Planned
from ptts_jax.book.sound import Chapter
from ptts_jax.bulk.lines import Line
from ptts_jax.bulk.models import Models
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.shards import Spoken
from ptts_jax.bulk.speaking import Speaker, about
from ptts_jax.engine import subtitles
from ptts_jax.engine.request import Options
from ptts_jax.store.paths import atomic_write
from ptts_jax.text.reading import Manner


@dataclass(frozen=True)
class Manners:
    """How all of a book is said."""

    voice: str | None
    options: Options
    manner: Manner
    words: bool

    def line(self, number: int, text: str, voice: str | None) -> Line:
        manner = replace(self.manner, loudness=None)  # that of a chapter is made later
        return Line(number, text, None, voice or self.voice, None, self.options, manner)


@dataclass
class Making:
    """A book that is being made."""

    models: Models
    speaker: Speaker
    ledger: Ledger
    manners: Manners
    progress: Progress
    failed: list[dict[str, Any]]

    def speak(self, chapter: Planned) -> list[dict[str, Any] | None]:
        """The records of a chapter's pieces; None for one that cannot be said."""
        loaded = self.models.get()
        lines = [self.manners.line(n, u.text, u.voice) for n, u in enumerate(chapter.units)]
        names = [about(loaded, line)["id"] for line in lines]
        missing = {
            name: line
            for name, line in zip(names, lines, strict=True)
            if self.ledger.find(name, self.manners.words) is None
        }
        self.progress.others(self.progress.before + len(lines) - len(missing))

        def tell(line: Line, spoken: Spoken) -> None:
            record, failed = spoken.record, spoken.place is None
            if failed:
                wrong = {"text": line.text, "error": record["error"]}
                self.failed.append({"chapter": chapter.title, **wrong})
            else:
                self.ledger.note(record, spoken.place)
            self.progress.add(record.get("duration", 0.0), failed)

        self.speaker.speak(list(missing.values()), self.ledger.keep, tell)
        return [self.ledger.find(name, self.manners.words) for name in names]


def lay_out(planned: Sequence[Planned], making: Making, wanted: float | None) -> Iterator[Chapter]:
    """Speaks and lays out one chapter after the other."""
    for chapter in planned:
        records = making.speak(chapter)
        rate = making.models.get().engine.sample_rate
        laid = sound.lay(chapter, records, making.ledger, rate, wanted)
        if laid.laid:
            yield laid


def write_one(
    path: Path, book: Book, chapters: Sequence[Chapter], ledger: Ledger, narrator: str | None
) -> list[Path]:
    """A book in one file."""
    about = writing.tags(book, narrator)
    target = writing.m4b(path)
    with writing.opened(target, chapters[0].rate, about, chapters, book.cover) as out:
        for chapter in chapters:
            for block in sound.blocks(chapter, ledger):
                out.write(block)
    return [path]


def write_each(
    folder: Path,
    kind: str,
    book: Book,
    chapters: Sequence[Chapter],
    ledger: Ledger,
    narrator: str | None,
) -> list[Path]:
    """A file for each chapter, and a playlist."""
    folder.mkdir(exist_ok=True)
    about, files = writing.tags(book, narrator), []
    for number, chapter in enumerate(chapters, 1):
        path = folder / f"{writing.name(number, len(chapters), chapter.title)}.{kind}"
        target = writing.Target(path, *writing.KINDS[kind], {})
        own = writing.of_chapter(about, chapter, number, len(chapters))
        with writing.opened(target, chapter.rate, own) as out:
            for block in sound.blocks(chapter, ledger):
                out.write(block)
        files.append(path)
    rows = zip(files, chapters, strict=True)
    listed = writing.playlist((file.name, c.title, c.seconds) for file, c in rows)
    _write(folder / "playlist.m3u8", listed.encode())
    if book.cover is not None:
        _write(folder / f"cover.{'jpg' if book.cover.kind == 'jpeg' else 'png'}", book.cover.data)
    return files


def write_subtitles(folder: Path, kind: str, chapters: Sequence[Chapter]) -> None:
    """When each word is spoken, a file for each chapter."""
    folder.mkdir(exist_ok=True)
    for number, chapter in enumerate(chapters, 1):
        name = writing.name(number, len(chapters), chapter.title)
        subtitles.write(folder / f"{name}.{kind}", chapter.words())


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as part:
        part.write_bytes(data)
