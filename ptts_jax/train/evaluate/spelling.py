"""Words as they are compared: one spelling for numbers, marks and both sides of the Atlantic.

A recogniser writes 9 for nine and harbor for harbour; neither is an error of the voice.
"""

from __future__ import annotations

import re
import unicodedata

from ptts_jax.train.data.script import spelled

_TOKEN = re.compile(r"[a-z0-9']+")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SAME = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "ok": "okay",
    "till": "until",
    "grey": "gray",
    "theatre": "theater",
    "centre": "center",
    "metre": "meter",
    "litre": "liter",
    "cheque": "check",
    "tyre": "tire",
    "programme": "program",
    "jewellery": "jewelry",
    "towards": "toward",
    "plough": "plow",
    "storey": "story",
    "defence": "defense",
    "licence": "license",
    "anymore": "any more",
    "percent": "per cent",
    "alright": "all right",
}
# British endings and what an American writes. Both sides of a comparison go through them, so that
# words such as promise, which change too, still match; four and hour must not.
_ENDINGS = (
    (re.compile(r"^(.{2,}[^aeiou])our(s|ed|ing|able|hood|ite|ful|less|y)?$"), r"\1or\2"),
    (re.compile(r"^(.{3,})is(e|ed|es|ing|ation)$"), r"\1iz\2"),
    (re.compile(r"^(.{2,})ll(ed|ing|er|ers)$"), r"\1l\2"),
)


def words(text: str) -> list[str]:
    """What is compared: plain lower case, numbers in words, American spelling."""
    text = unicodedata.normalize("NFKD", text.lower()).replace("’", "'")
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"\$(\d+)", r"\1 dollars", text).replace("%", " percent").replace("&", " and ")
    plain: list[str] = []
    for token in _TOKEN.findall(text):
        plain += _number(token) if token[0].isdigit() else _word(token.strip("'"))
    return plain


def _word(token: str) -> list[str]:
    if token in _SAME:
        return _SAME[token].split()
    for ending, american in _ENDINGS:
        token = ending.sub(american, token)
    return [token] if token else []


def _number(token: str) -> list[str]:
    """9 as nine, 21st as twenty first, 5pm as five pm; what is too long digit by digit."""
    digits, rest = re.fullmatch(r"(\d+)(.*)", token).groups()  # type: ignore[union-attr]
    if len(digits) > 6:
        said = [spelled(int(digit)) for digit in digits]
    else:
        said = spelled(int(digits)).replace("-", " ").split()
    if rest in ("st", "nd", "rd", "th"):
        last = said[-1]
        regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
        return [*said[:-1], _ORDINALS.get(last, regular)]
    if rest == "s":  # the 90s
        return [*said[:-1], f"{said[-1][:-1]}ies" if said[-1].endswith("y") else f"{said[-1]}s"]
    return [*said, *_word(rest.strip("'"))]
