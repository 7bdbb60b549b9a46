"""Nothing is lost in silence: characters that a model's tokenizer does not know.

They are replaced by what sounds alike, and what is left over is named.
"""

import re
import unicodedata
from collections.abc import Callable

from ptts_jax.text.mapped import Mapped
from ptts_jax.text.tokenizer import Tokenizer

# What may stand for a character, the closest first.
_ALIKE = {
    **dict.fromkeys("‘’‚‛′`´ʼ", ("'", "")),
    **dict.fromkeys("“”„‟″«»‹›", ('"', "")),
    **dict.fromkeys("–—―−‐‑‒", ("–", "-", ",", " ")),
    "…": ("...", "."),
    "¿": ("",), "¡": ("",), "·": (".", " "), "•": (",", " "),
    "ß": ("ss",), "ẞ": ("SS",), "æ": ("ae",), "Æ": ("Ae",), "œ": ("oe",), "Œ": ("Oe",),
    "ø": ("o",), "Ø": ("O",), "ł": ("l",), "Ł": ("L",), "đ": ("d",), "Đ": ("D",), "ð": ("d",),
    "Ð": ("D",), "þ": ("th",), "Þ": ("Th",), "ı": ("i",), "ŋ": ("ng",), "ħ": ("h",),
    "[": ("(", ","), "]": (")", ","), "{": ("(", ","), "}": (")", ","), "(": (",",), ")": (",",),
    "!": (".",), "?": (".",), ";": (",",), ":": (",",), ",": (" ",), ".": (" ",), "-": (" ",),
    '"': ("",), "'": ("",),
}  # fmt: skip


def knows(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Whether the tokenizer has a piece of its own for a character: no "unknown", no bytes."""

    def known(character: str) -> bool:
        pieces = [tokenizer.piece(token).strip("▁ ") for token in tokenizer.encode(character)]
        pieces = [piece for piece in pieces if piece]
        return bool(pieces) and not any(re.fullmatch(r"<unk>|<0x..>", piece) for piece in pieces)

    return known


def fold(text: Mapped, known: Callable[[str], bool]) -> tuple[Mapped, list[str]]:
    """The text in characters that are known, and those for which nothing stands: they are gone."""
    strange = [c for c in dict.fromkeys(text.text) if not c.isspace() and not known(c)]
    if not strange:
        return text, []
    alike = {character: _alike(character, known) for character in strange}
    pattern = re.compile("[" + "".join(map(re.escape, strange)) + "]")
    lost = [character for character in strange if alike[character] is None]
    return text.sub(pattern, lambda match: alike[match[0]] or ""), lost


def _alike(character: str, known: Callable[[str], bool]) -> str | None:
    """What is said for a character; "" for a sign that has no sound, None for what is lost."""
    plain = unicodedata.normalize("NFKD", character)
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    candidates = [*_ALIKE.get(character, ()), bare, character]
    candidates += [change(c) for c in candidates for change in (str.lower, str.upper)]
    for candidate in candidates:
        if all(c.isspace() or known(c) for c in candidate):
            return candidate
    silent = unicodedata.category(character)[0] in "PZC"
    return " " if silent else None
