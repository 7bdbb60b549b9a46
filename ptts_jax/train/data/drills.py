"""Drills: lists, repeats, names of letters and single words, of which ordinary prose has few.

A voice that never said them loses its place in them. Knows words and chance; the sentences that
voices are judged by (hard.py) are of other frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

LONGEST = 90  # characters
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHARES = {"list": 36, "letters": 32, "repeat": 16, "single": 16}  # per cent

_LISTED = (
    "{0}.",
    "{0}.",
    "{0}.",
    "She needs {0}.",
    "There are {0} in it.",
    "First {0}.",
    "I can see {0}.",
    "They asked for {0}.",
)
_LETTERED = (
    "{a}. {b}. {name} called this morning.",
    "{a}. {name} lives near {other}.",
    "{name} {a}. {other} will be there.",
    "She left the {a}.{b}.{c}. last year.",
    "The {a}.{b}. has nothing to say.",
    "Is it {a}, {b} or {c}?",
    "The letters are {a}, {b}, {c} and {d}.",
    "{a}, {b}, {c}, {d}, {e}.",
    "Read plan {a} before plan {b}.",
    "His name is {a}. {b}. {c}. {name}.",
    "They signed it {a}.{b}. and {c}.{d}.",
    "Room {a} is behind room {b}.",
    "{a}. {b}.",
    "{a}.{b}.{c}.",
)
_REPEATED = (
    "{many}.",
    "{many}.",
    "The {0} and the {0} and the {1}.",
    "A {0} is a {0}, and a {1} is a {1}.",
    "{0} after {0}, {1} after {1}.",
    "He said {many}.",
    "It is {more} {0}.",
    "First the {0}, then the {1}, then the {0} again.",
)
_OFTEN = ("really", "much", "so", "too", "more and", "not", "quite")


def drills(words: Sequence[str], names: Sequence[str], random: Random) -> Iterator[str]:
    """Without end, if there are words."""
    makers: dict[str, Callable[[Sequence[str], Sequence[str], Random], str]] = {
        "list": _list,
        "letters": _letters,
        "repeat": _repeat,
        "single": _single,
    }
    names = names or ("Anna", "Peter", "Maria")
    while words:
        kind = random.choices(list(SHARES), list(SHARES.values()))[0]
        text = makers[kind](words, names, random)
        if len(text) <= LONGEST:
            yield text[0].upper() + text[1:]


def _list(words: Sequence[str], names: Sequence[str], random: Random) -> str:
    kind = names if random.random() < 0.25 else words
    some = [random.choice(kind) for _ in range(random.randint(4, 12))]
    while len(some) > 4 and len(", ".join(some)) > LONGEST - 20:
        some.pop()
    listed = f"{', '.join(some[:-1])}{random.choice((' and', ' and', ', and', ','))} {some[-1]}"
    return random.choice(_LISTED).format(listed)


def _letters(words: Sequence[str], names: Sequence[str], random: Random) -> str:
    letters = dict(zip("abcde", random.choices(LETTERS, k=5), strict=True))
    name, other = random.choice(names), random.choice(names)
    return random.choice(_LETTERED).format(name=name, other=other, **letters)


def _repeat(words: Sequence[str], names: Sequence[str], random: Random) -> str:
    one, other = random.choice(words), random.choice(words)
    many = random.choice((", ", ", ", " ")).join([one] * random.randint(2, 11))
    more = " ".join([random.choice(_OFTEN)] * random.randint(2, 7))
    return random.choice(_REPEATED).format(one, other, many=many, more=more)


def _single(words: Sequence[str], names: Sequence[str], random: Random) -> str:
    kind = names if random.random() < 0.15 else words
    return random.choice(kind) + random.choice((".", ".", "!", "?"))
