"""What a book is made of, wherever it came from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

PROSE = ("paragraph", "item", "quote", "verse")
KINDS = ("heading", *PROSE, "note", "code", "table", "break")


@dataclass(frozen=True)
class Block:
    """A piece of text that stands by itself."""

    kind: str  # one of KINDS; a break is a pause without a text
    text: str = ""
    level: int = 0  # of a heading, from 1
    anchors: tuple[str, ...] = ()  # what links may point at


@dataclass(frozen=True)
class Chapter:
    title: str
    blocks: Sequence[Block]

    @property
    def speaks(self) -> bool:
        """Whether there is more than its heading."""
        return any(block.kind in (*PROSE, "table") for block in self.blocks)


@dataclass(frozen=True)
class Cover:
    data: bytes
    kind: str  # jpeg or png


@dataclass(frozen=True)
class Book:
    title: str
    chapters: Sequence[Chapter]
    author: str | None = None
    language: str | None = None  # as en or en-GB
    date: str | None = None
    publisher: str | None = None
    description: str | None = None
    cover: Cover | None = None
    skipped: Counter = field(default_factory=Counter)  # how many of what was left out


def by_headings(blocks: Sequence[Block], title: str) -> list[Chapter]:
    """Chapters that begin at the headings of the highest level of which there are several."""
    levels = Counter(block.level for block in blocks if block.kind == "heading")
    level = min((one for one, count in levels.items() if count > 1), default=None)
    if level is None:
        return joined([Chapter(title, blocks)])
    chapters: list[Chapter] = []
    begun: list[Block] = []
    name = title
    for block in blocks:
        if block.kind == "heading" and block.level <= level:
            chapters.append(Chapter(name, begun))
            begun, name = [], block.text
        begun.append(block)
    return joined([*chapters, Chapter(name, begun)])


def joined(chapters: Iterable[Chapter]) -> list[Chapter]:
    """Chapters that have something to say. A heading alone, as of a part, goes before the next."""
    found: list[Chapter] = []
    waiting: list[Chapter] = []
    for chapter in chapters:
        if not chapter.speaks:
            waiting.append(chapter)
            continue
        blocks = [block for before in waiting for block in before.blocks]
        titles = [before.title for before in waiting if before.blocks]
        name = ": ".join(dict.fromkeys([*titles, chapter.title]))
        found.append(replace(chapter, title=name, blocks=[*blocks, *chapter.blocks]))
        waiting = []
    return found
