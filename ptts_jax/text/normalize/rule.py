"""What a rule is, and what several of them share."""

import functools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ptts_jax.text.normalize.language import Language

DIGIT = re.compile("[0-9]")
FREE = r"(?<![\w.,/])"  # a number that begins here is not the rest of another one


class Rule(NamedTuple):
    """A pattern, what is said for a match, and what a text must hold for it to be worth a look.

    Most texts need few of the patterns, so one that is a string is compiled when it is needed.
    """

    pattern: re.Pattern[str] | str
    say: Callable[[re.Match[str]], str | None]
    needs: re.Pattern[str] | None = None


def digits(pattern: str, say: Callable[[re.Match[str]], str | None]) -> Rule:
    """A rule for texts with digits."""
    return Rule(pattern, say, DIGIT)


compiled = functools.cache(re.compile)


def either(words: Iterable[str]) -> str:
    """A pattern of any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def pattern_of(language: Language, pattern: str) -> str:
    """A pattern of the language's file, in which {months} are its months."""
    return pattern.replace("{months}", f"(?:{language.data['months']})")


def is_one(language: Language, number: str) -> bool:
    """Whether a noun behind the number is in the singular."""
    whole, fraction = language.parts(number)
    if language.data.get("singular_below_two"):
        return int(whole) < 2
    return int(whole) == 1 and not fraction


def signed(language: Language, sign: str | None) -> str:
    return "" if not sign else language.data["plus" if sign == "+" else "minus"] + " "
