"""A text that remembers where it came from, however often it is rewritten."""

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word as it is spoken, and the part [start, end) of the original text that it stands for."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Mapped:
    """A text, and for each of its characters the part [start, end) of the original text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str, offset: int = 0) -> "Mapped":
        """A text as it was written, `offset` characters behind the start of the original."""
        size = len(text)
        first, last = range(offset, offset + size), range(offset + 1, offset + size + 1)
        return cls(text, array("q", first), array("q", last))

    def __getitem__(self, part: slice) -> "Mapped":
        return Mapped(self.text[part], self.starts[part], self.ends[part])

    def sub(self, pattern: re.Pattern[str], say: Callable[[re.Match[str]], str | None]) -> "Mapped":
        """The text with each match replaced by what `say` makes of it; None leaves it as it is."""
        at, parts, starts, ends = 0, [], array("q"), array("q")
        for match in pattern.finditer(self.text):
            new = say(match)
            if new is None or new == match[0]:
                continue
            first, last = match.span()
            parts += self.text[at:first], new
            starts += self.starts[at:first]
            ends += self.ends[at:first]
            # What the rule only looked at, at either edge, stays where it was.
            before = _common(match[0], new)
            after = _common(match[0][before:][::-1], new[before:][::-1])
            starts += self.starts[first : first + before]
            ends += self.ends[first : first + before]
            count = len(new) - before - after
            if count:
                start, end = self._span(first + before, last - after)
                starts.extend([start] * count)
                ends.extend([end] * count)
            starts += self.starts[last - after : last]
            ends += self.ends[last - after : last]
            at = last
        if not parts:
            return self
        parts.append(self.text[at:])
        return Mapped("".join(parts), starts + self.starts[at:], ends + self.ends[at:])

    def by_line(self, change: Callable[["Mapped"], "Mapped"]) -> "Mapped":
        """The text with each line changed on its own."""
        at, lines = 0, []
        for line in re.findall(r"[^\n]*\n?", self.text):
            end = at + len(line) - line.endswith("\n")
            lines += change(self[at:end]), self[end : at + len(line)]
            at += len(line)
        return Mapped.join(lines)

    @classmethod
    def join(cls, parts: Iterable["Mapped"]) -> "Mapped":
        starts, ends, texts = array("q"), array("q"), []
        for part in parts:
            texts.append(part.text)
            starts.extend(part.starts)
            ends.extend(part.ends)
        return cls("".join(texts), starts, ends)

    def words(self) -> list[Word]:
        """The words between white space, each with its place in the original text."""
        found = []
        for match in re.finditer(r"\S+", self.text):
            first, last = match.span()
            found.append(Word(match[0], min(self.starts[first:last]), max(self.ends[first:last])))
        return found

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """The part of the original that [first, last) stands for; a point where it is empty."""
        if first < last:
            return min(self.starts[first:last]), max(self.ends[first:last])
        point = self.ends[first - 1] if first else self.starts[0] if self.text else 0
        return point, point


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    size = min(len(one), len(other))
    return next((i for i in range(size) if one[i] != other[i]), size)
