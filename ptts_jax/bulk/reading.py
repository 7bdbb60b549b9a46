"""The input, in shards of so many lines: JSON lines, a table, or a text with a line each.

A shard is read without looking into its lines: that costs little where it is done already. Bytes
that are no UTF-8 become surrogates, so that only the line that holds them is refused.
"""

import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ptts_jax.bulk import lines
from ptts_jax.bulk.lines import Line, Settings

FORMATS = ("jsonl", "csv", "tsv", "text")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
LONGEST = 1 << 24  # characters of a line: what is longer has no lines
Content = str | list[str]  # a line, or the cells of a row


@dataclass(frozen=True)
class Shard:
    """Neighbouring lines as they stand in the input, each with its number there."""

    number: int  # from 0
    contents: Sequence[tuple[int, Content]]
    columns: Sequence[str]  # of a table
    last: bool

    def digest(self) -> str:
        """Tells these lines from any others."""
        held = repr((self.columns, self.contents)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(held, digest_size=16).hexdigest()


class Source:
    """A file of lines, or standard input, which can be read only once."""

    def __init__(self, path: str, format: str | None, keep: Sequence[str] = ()) -> None:
        self.once = path == "-"
        self.name = "standard input" if self.once else path
        self.format = format or SUFFIXES.get(Path(path).suffix.lower())
        self.format = self.format or ("jsonl" if self.once else "text")
        self._path = path
        self._keep = keep
        if not self.once:  # what is wrong with it is said before the work
            for _ in self.shards(1):
                return
            raise ValueError(f"{self.name} is empty: there is nothing to say")

    def shards(self, size: int) -> Iterator[Shard]:
        """All lines, `size` of them at a time; the last shard may have fewer."""
        with self._open() as file:
            columns, found = self._contents(file)
            number, contents = 0, []
            for one in found:
                if len(contents) == size:
                    yield Shard(number, contents, columns, last=False)
                    number, contents = number + 1, []
                contents.append(one)
            if contents:
                yield Shard(number, contents, columns, last=True)

    def parsed(self, shard: Shard, settings: Settings) -> Iterator[Line]:
        """What the lines of a shard say."""
        for number, content in shard.contents:
            if isinstance(content, list):
                yield lines.of_cells(number, shard.columns, content, settings)
            elif self.format == "jsonl":
                yield lines.of_json(number, content, settings)
            else:
                yield lines.of_fields(number, {"text": content.strip()}, settings)

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        how = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
        newline = "" if self.format in ("csv", "tsv") else None
        if self.once:
            sys.stdin.reconfigure(**how, newline=newline)
            yield sys.stdin
            return
        try:
            file = open(self._path, newline=newline, **how)  # noqa: SIM115
        except OSError as error:
            raise ValueError(f"{self.name}: {error.strerror}; check the path") from None
        with file:
            yield file

    def _contents(self, file: TextIO) -> tuple[Sequence[str], Iterator[tuple[int, Content]]]:
        """The columns of a table, and the lines that are not blank."""
        if self.format not in ("csv", "tsv"):
            return (), self._lines(file)
        rows = self._rows(csv.reader(file, delimiter="," if self.format == "csv" else "\t"))
        columns = next(rows, (1, []))[1]
        if columns:
            self._check_columns(columns)
        return columns, rows

    def _lines(self, file: TextIO) -> Iterator[tuple[int, str]]:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if len(line) == LONGEST:
                raise ValueError(f"{self.name}: line {number} has more than {LONGEST} characters")
            if line.strip():
                yield number, line.rstrip("\n")

    def _rows(self, reader: "csv._reader") -> Iterator[tuple[int, list[str]]]:
        number = 1
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield number, row
                number = reader.line_num + 1
        except csv.Error as error:
            said = f"from line {number} on it is no table: {error}; is a quote not closed?"
            raise ValueError(f"{self.name}: {said}") from None

    def _check_columns(self, columns: Sequence[str]) -> None:
        if "text" not in columns:
            raise ValueError(f"{self.name}: its first row names no column `text`")
        if len(set(columns)) < len(columns):
            raise ValueError(f"{self.name}: its first row names a column twice")
        try:
            lines.check_names(columns, self._keep)
        except ValueError as error:
            raise ValueError(f"{self.name}: column {error}") from None
