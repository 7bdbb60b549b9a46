"""Plain text into blocks: paragraphs between blank lines, and headings as books have them."""

import re

from ptts_jax.book.contents import Block

_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NUMBER = "|".join(
    [
        r"\d{1,3}",
        "[IVXLC]{1,7}",
        *_NUMBERS,
        "eleven",
        "twelve",
        r"\w+teen",
        r"(?:twen|thir|for|fif)ty[\w-]*",
    ]
)
NAMED = "chapter part book section act chapitre partie kapitel teil capítulo capitolo hoofdstuk"
WHOLE = "prologue epilogue introduction preface foreword afterword prolog epilog vorwort nachwort"
WHOLE += " einleitung avant-propos préface prefacio prólogo epílogo"
HEADING = re.compile(
    rf"(({NAMED.replace(' ', '|')})\s+({NUMBER})\b.*|{WHOLE.replace(' ', '|')})[.:]?", re.IGNORECASE
)
HIGHER = ("part", "book", "partie", "teil")
BREAK = re.compile(r"(\W\s*){1,12}")
LONGEST = 100  # characters of a heading


def parse(text: str) -> list[Block]:
    """The blocks of a text."""
    blocks: list[Block] = []
    for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = [" ".join(line.split()) for line in part.strip("\n").split("\n")]
        said = " ".join(line for line in lines if line)
        if not said:
            continue
        if len(said) <= LONGEST and HEADING.fullmatch(said):
            level = 1 if said.split()[0].lower() in HIGHER else 2
            blocks.append(Block("heading", said, level))
        elif BREAK.fullmatch(said):
            blocks.append(Block("break"))
        elif _is_verse(part.strip("\n").split("\n")):
            blocks.append(Block("verse", "\n".join(line for line in lines if line)))
        else:
            blocks.append(Block("paragraph", _whole_words(lines)))
    return blocks


def _is_verse(lines: list[str]) -> bool:
    """Several short lines that are all set in."""
    return len(lines) > 1 and all(line[:2] in ("  ", "\t") and len(line) < 70 for line in lines)


def _whole_words(lines: list[str]) -> str:
    """Lines as one, with words that were cut at the end of a line whole again."""
    return re.sub(r"(?<=[a-zß-ÿ])-\n(?=[a-zß-ÿ])", "", "\n".join(lines)).replace("\n", " ").strip()
