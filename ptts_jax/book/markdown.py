"""Markdown into blocks: headings, paragraphs, items, quotes, code, tables, notes, and front matter.

Marks of emphasis go, of a link its text stays, and an image is left out.
"""

import re
from collections import Counter
from collections.abc import Iterator

from ptts_jax.book.contents import Block

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
UNDERLINE = re.compile(r" {0,3}(=+|-{2,})\s*$")
RULE = re.compile(r" {0,3}([-*_])(\s*\1){2,}\s*$")
ITEM = re.compile(r"\s*([-*+]|\d{1,9}[.)])\s+")
NOTE = re.compile(r" {0,3}\[\^[^\]]+\]:\s*")
TABLE_LINE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*\|?\s*$")


def parse(text: str) -> tuple[list[Block], dict[str, str], Counter]:
    """The blocks of a text, what its front matter says, and how much of what was left out."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    about = _front_matter(lines)
    blocks = [block for block in _blocks(lines) if block.text or block.kind == "break"]
    return blocks, about, Counter()


def _front_matter(lines: list[str]) -> dict[str, str]:
    """`title: ...` and so on between two lines of dashes at the start, which are taken away."""
    if not lines or lines[0].strip() != "---":
        return {}
    end = next((n for n, line in enumerate(lines[1:], 1) if line.strip() in ("---", "...")), None)
    if end is None:
        return {}
    about = {}
    for line in lines[1:end]:
        if found := re.match(r"(\w+):\s*(.+)", line):
            about[found[1].lower()] = found[2].strip().strip("\"'")
    del lines[: end + 1]
    return about


def _blocks(lines: list[str]) -> Iterator[Block]:
    at, paragraph = 0, []
    kind = "paragraph"

    def ended() -> Iterator[Block]:
        nonlocal paragraph, kind
        if paragraph:
            yield Block(kind, inline(" ".join(paragraph)))
        paragraph, kind = [], "paragraph"

    while at < len(lines):
        line = lines[at]
        at += 1
        if fence := FENCE.match(line):
            yield from ended()
            held = []
            while at < len(lines) and not lines[at].strip().startswith(fence[1]):
                held.append(lines[at])
                at += 1
            at += 1
            yield Block("code", "\n".join(held))
        elif not line.strip():
            yield from ended()
        elif heading := HEADING.match(line):
            yield from ended()
            yield Block("heading", inline(heading[2]), len(heading[1]))
        elif paragraph and kind == "paragraph" and UNDERLINE.match(line):
            level = 1 if line.strip().startswith("=") else 2
            yield Block("heading", inline(" ".join(paragraph)), level)
            paragraph = []
        elif RULE.match(line):
            yield from ended()
            yield Block("break")
        elif not paragraph and re.match(r" {4}|\t", line):
            held = [line]
            while at < len(lines) and re.match(r" {4}|\t|\s*$", lines[at]):
                held.append(lines[at])
                at += 1
            yield Block("code", "\n".join(held).strip("\n"))
        elif "|" in line and at < len(lines) and TABLE_LINE.match(lines[at]) and not paragraph:
            rows = [line]
            at += 1
            while at < len(lines) and "|" in lines[at]:
                rows.append(lines[at])
                at += 1
            for row in rows:
                cells = [inline(cell) for cell in row.strip().strip("|").split("|")]
                yield Block("table", ", ".join(cell for cell in cells if cell) + ".")
        elif note := NOTE.match(line):
            yield from ended()
            kind, paragraph = "note", [line[note.end() :]]
        elif item := ITEM.match(line):
            yield from ended()
            kind, paragraph = "item", [line[item.end() :]]
        elif line.lstrip().startswith(">"):
            if kind != "quote":
                yield from ended()
            kind = "quote"
            paragraph.append(line.lstrip().lstrip("> "))
        else:
            paragraph.append(line.strip())
    yield from ended()


def inline(text: str) -> str:
    """A line as it is said."""
    text = re.sub(r"<!--.*?-->", "", text)
    text = re.sub(r"!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])", "", text)  # images
    text = re.sub(r"\[\^[^\]]+\]", "", text)  # marks of notes
    text = re.sub(r"\[([^\]]+)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)  # links
    text = re.sub(r"<(https?://[^>]+)>", r"\1", text)
    text = re.sub(r"</?[A-Za-z][^>]*>", "", text)
    text = re.sub(r"(`+)(.+?)\1", r"\2", text)
    text = re.sub(r"(?<![\w\\])(\*{1,3}|_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text)
    text = re.sub(r"(?<!\\)(\*{1,3})(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    text = re.sub(r"~~(.+?)~~", r"\1", text)
    text = re.sub(r"\\([\\`*_{}\[\]()#+.!|<>~-])", r"\1", text)
    return " ".join(text.split())
