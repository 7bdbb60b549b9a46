"""What a language says: its word lists, read from a file, and its numbers, spelled by CLDR's rules.

The lists are data (`en.toml` and its neighbours); the spelling is `unicode-rbnf`'s. Nothing of
either is read before it is needed for the first time.
"""

import functools
import re
import threading
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "fr", "de", "it", "pt", "es", "nl")
LONGEST = 15  # digits of a number that is said as one; longer ones are said digit by digit
_SPELLING = threading.Lock()  # the spelling engine changes its rules while it works
SPACES = "\u00a0\u202f\u2009"  # no-break and thin spaces


@dataclass(frozen=True, eq=False)
class Language:
    """The word lists of one language, and how it reads numbers."""

    code: str
    data: dict[str, Any]

    @property
    def rules(self) -> dict[str, str]:
        """Kind of number -> CLDR's rule set."""
        return self.data["rules"]

    @functools.cached_property
    def engine(self) -> Any:
        """What spells numbers; `_SPELLING` is held. Texts without numbers need not wait for it."""
        from unicode_rbnf import RbnfEngine

        return RbnfEngine.for_language(self.code)

    @functools.cached_property
    def number(self) -> str:
        """A pattern of a number: digits in groups or not, and a decimal part or not."""
        groups = SPACES + re.escape(self.data["groups"]) + " " * self.data.get("spaced", False)
        point = re.escape(self.data["decimal"])
        if point != r"\.":  # "3.14" in a language that groups with points: no group has two digits
            point = rf"(?:{point}|\.(?!\d{{3}}(?!\d)))"
        return rf"(?:\d{{1,3}}(?:[{groups}]\d{{3}})+(?!\d)|\d+)(?:{point}\d+)?"

    def parts(self, number: str) -> tuple[str, str]:
        """The digits before and behind the decimal point."""
        decimal = self.data["decimal"]
        if decimal != "." and re.search(r"\.\d+$", number) and not re.search(r"\.\d{3}$", number):
            decimal = "."
        whole, point, fraction = number.rpartition(decimal)
        return re.sub(r"\D", "", whole if point else fraction), fraction if point else ""

    def cardinal(self, number: str, kind: str = "cardinal") -> str:
        """A number as it is written, in words."""
        whole, fraction = self.parts(number)
        said = self.whole(whole, kind)
        if fraction:
            said = f"{said} {self.data['point']} {self.digits(fraction)}"
        return said

    def whole(self, digits: str, kind: str = "cardinal") -> str:
        """A whole number; one with leading zeros, or far too many digits, digit by digit."""
        if len(digits) > LONGEST or (digits[0] in "0٠" and len(digits) > 1):
            return self.digits(digits)
        return self.spell(int(digits), kind)

    def digits(self, digits: str) -> str:
        return " ".join(self.spell(int(digit)) for digit in digits)

    def year(self, digits: str) -> str:
        return self.spell(int(digits), "year")

    def spell(self, number: int, kind: str = "cardinal") -> str:
        """A number by the rule set for its kind: cardinal, ordinal, year, masculine, feminine."""
        return _spelled(self, number, self.rules.get(kind, self.rules["cardinal"]))


@functools.lru_cache(maxsize=1 << 14)
def _spelled(language: Language, number: int, rule: str) -> str:
    with _SPELLING:
        said = "".join(language.engine.iter_format_number(number, rule))
    return said.replace("\xad", "")  # CLDR marks where long words may be broken


def check_language(code: str) -> None:
    """Refuse a code that is not one of ours."""
    if code not in LANGUAGES:
        raise ValueError(f"language {code!r}: give one of {', '.join(LANGUAGES)}")


@functools.cache
def language(code: str) -> Language:
    """The language of a code, as `en`."""
    check_language(code)
    text = (Path(__file__).parent / f"{code}.toml").read_text(encoding="utf-8")
    return Language(code, tomllib.loads(text))
