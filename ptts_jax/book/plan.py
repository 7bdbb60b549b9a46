"""From blocks to what is said at once: sentences, in which voice, and the pauses behind them.

Neighbouring sentences of a paragraph are said together as long as they are short: a sentence of one
or two words alone is what models fail at.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ptts_jax.book.contents import Block, Book, Chapter

TOGETHER = 220  # characters of sentences that are said together
LONGEST = 1000  # of one without an end, which is cut between words
PACE = 14.5  # characters a second, for an estimate
# Seconds of silence behind what is said.
PAUSES = {"heading": 1.0, "paragraph": 0.6, "item": 0.5, "quote": 0.7, "verse": 0.7, "table": 0.4,
          "note": 0.5, "code": 0.6}  # fmt: skip
SCENE = 1.5
BEFORE, AFTER = 0.5, 2.0  # of a chapter
LINE = 0.25  # of a verse

_SHORT = (
    "mr mrs ms dr prof st mt no vs vol pp fig ch capt col gen lt sgt rev hon jr sr etc e.g i.e cf"
)
_SHORT = set(f"{_SHORT} mme mlle hr fr z.b bzw usw sig dott sra sr dhr mevr".split())
_END = re.compile(r"""[.!?…]+["'”’»)\]]*\s+(?=["'“„«¿¡‘(\[]*[^\W_a-zß-ÿ])""")
_SAID = re.compile(r'“[^”]+”|„[^“”]+[“”]|«[^»]+»|"[^"]+"')


@dataclass(frozen=True)
class Unit:
    """What is said at once."""

    text: str
    kind: str
    voice: str | None  # None: the narrator's
    pause: float  # behind it


@dataclass(frozen=True)
class Voices:
    """Who says what: by kind of block, in dialogue, or in a chapter by its number."""

    named: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, chapter: int) -> str | None:
        return self.named.get(str(chapter)) if kind not in self.named else self.named[kind]


@dataclass(frozen=True)
class Planned:
    """A chapter in units."""

    title: str
    units: Sequence[Unit]

    @property
    def seconds(self) -> float:
        """How long it will be, about."""
        said = sum(len(unit.text) for unit in self.units) / PACE
        return BEFORE + AFTER + said + sum(unit.pause for unit in self.units)


@dataclass(frozen=True)
class Choices:
    """What is said at all."""

    notes: bool = False  # at the end of their chapter
    code: bool = False
    voices: Voices = Voices()


def plan(book: Book, choices: Choices, skipped: Counter) -> list[Planned]:
    """The chapters of a book that have something to say; `skipped` counts what is left out."""
    planned = []
    for number, chapter in enumerate(book.chapters, 1):
        units = list(_units(chapter, number, choices, skipped))
        if units:
            planned.append(Planned(chapter.title, units))
    return planned


def _units(chapter: Chapter, number: int, choices: Choices, skipped: Counter) -> Iterator[Unit]:
    notes = [block for block in chapter.blocks if block.kind == "note"]
    rest = [block for block in chapter.blocks if block.kind != "note"]
    if notes and not choices.notes:
        skipped["notes"] += len(notes)
    held: Unit | None = None
    for block in [*rest, *(notes if choices.notes else ())]:
        if block.kind == "code" and not choices.code:
            skipped["listings"] += 1
            continue
        if block.kind == "break":
            held = held and Unit(held.text, held.kind, held.voice, max(held.pause, SCENE))
            continue
        for unit in _of_block(block, number, choices.voices):
            if held is not None:
                yield held
            held = unit
    if held is not None:
        yield held


def _of_block(block: Block, chapter: int, voices: Voices) -> Iterator[Unit]:
    voice, pause = voices.of(block.kind, chapter), PAUSES[block.kind]
    if block.kind == "verse":
        pieces = [(line, voice, LINE) for line in block.text.split("\n")]
    elif "dialogue" in voices.named and block.kind in ("paragraph", "quote", "item"):
        pieces = [(text, voices.named["dialogue"] if said else voice, 0.0)
                  for text, said in spoken_parts(block.text)]  # fmt: skip
    else:
        pieces = [(block.text, voice, 0.0)]
    units = [
        Unit(text, block.kind, who, rest)
        for piece, who, rest in pieces
        for text in together(sentences(piece))
        if any(c.isalnum() for c in text)
    ]
    if units:
        last = units.pop()
        yield from units
        yield Unit(last.text, last.kind, last.voice, pause)


def spoken_parts(text: str) -> Iterator[tuple[str, bool]]:
    """A paragraph in parts, each with whether somebody in it says them."""
    at = 0
    for said in _SAID.finditer(text):
        if before := text[at : said.start()].strip():
            yield before, False
        yield said[0], True
        at = said.end()
    if rest := text[at:].strip():
        yield rest, False


def sentences(text: str) -> list[str]:
    """A paragraph's sentences; one without an end is cut between words."""
    parts, at = [], 0
    for end in _END.finditer(text):
        before = text[at : end.start()].split()
        word = before[-1].lower().strip("\"'“”‘’«»([") if before else ""
        dotted = text[end.start()] == "." and text[end.start() : end.end()].strip() == "."
        if dotted and (word in _SHORT or re.fullmatch(r"[^\W\d_](\.[^\W\d_])*", word)):
            continue  # an abbreviation, or somebody's initials
        parts.append(text[at : end.end()].strip())
        at = end.end()
    parts.append(text[at:].strip())
    return [piece for part in parts for piece in _cut(part) if piece]


def _cut(text: str) -> Iterator[str]:
    while len(text) > LONGEST:
        near = text[:LONGEST]
        at = max(near.rfind("; "), near.rfind(": "), near.rfind(", "))
        at = at + 1 if at > LONGEST // 2 else near.rfind(" ")
        at = at if at > 0 else LONGEST
        yield text[:at].strip()
        text = text[at:].strip()
    yield text


def together(parts: Sequence[str]) -> list[str]:
    """Neighbours that are short as one."""
    groups: list[str] = []
    for part in parts:
        if groups and len(groups[-1]) + 1 + len(part) <= TOGETHER:
            groups[-1] += " " + part
        else:
            groups.append(part)
    return groups
