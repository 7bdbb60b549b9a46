"""The script of a corpus: the held-out sentences, what each voice says of texts, then its drills.

Each voice has a stream of its own, so that neither more sentences nor another voice changes what
was said before. A pure function of the voice, the seed and the texts that are installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random

from ptts_jax.train.data import hard, prose, recipe, sentences
from ptts_jax.train.data.drills import drills
from ptts_jax.train.data.heldout import SENTENCES
from ptts_jax.train.data.heldout_prose import PROSE

# How often a sentence is of each source, in per cent. One that runs out gives its share to others.
SHARES = {
    "grammar": 26,
    "examples": 26,  # of words in use
    "fortunes": 14,
    "handbook": 7,
    "jargon": 9,
    "definitions": 5,
    "bible": 3,
    "drill": 3,
    "names": 3,
    "numbers": 3,
    "short": 1,
}
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_OF_NAMES = (
    "{0} and {1} met in {2}.",
    "My name is {0} {1}.",
    "Have you heard from {0} since she moved to {1}?",
    "{0} {1} was born in {2}.",
    "Dear {0}, thank you for your letter.",
    "This is {0}, and that is {1}.",
    "Ask {0} or {1} about it.",
    "{0}'s brother lives near {1}.",
    "Is {0} there? It's {1}.",
    "From {0} we drove to {1}, and from there to {2}.",
)
_OF_NUMBERS = (
    "There were {0} of them, and {1} of us.",
    "{0} and {1} are more than {2}.",
    "Turn to page {0}.",
    "It cost {0} dollars and {1} cents.",
    "She is {0} years old, and he is {1}.",
    "{0}, {1}, {2}.",
    "Call me at {0}, {1}, {2}.",
    "In chapter {0} there are {1} pictures.",
    "About {0} people live there.",
    "He ran {0} miles in {1} minutes.",
)


@dataclass(frozen=True)
class Line:
    text: str
    split: str


def lines(voice: str, count: int, seed: int = 0, drilled: int = 0) -> list[Line]:
    """The held-out sentences, then the first `count` to train on, and so many drills."""
    held = held_out()
    train = islice(_stream(voice, seed, {recipe.plain(text) for text in held}), count)
    texts = [*train, *islice(_drills(voice, seed), drilled)]
    return [Line(text, "heldout") for text in held] + [Line(text, "train") for text in texts]


def held_out() -> tuple[str, ...]:
    """Everyday sentences, then ordinary prose; nothing of either is in a training text."""
    return (*SENTENCES, *PROSE)


def spelled(number: int) -> str:
    """A number below a million in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")
    size, word = (100, "hundred") if number < 1000 else (1000, "thousand")
    most, rest = divmod(number, size)
    return f"{spelled(most)} {word}" + (f" {spelled(rest)}" if rest else "")


def _stream(voice: str, seed: int, refused: set[str]) -> Iterator[str]:
    random = Random(f"script {seed} {voice}")
    sources = _sources(random)
    shares = dict(SHARES)
    seen = set(refused)
    while True:
        name = random.choices(list(shares), list(shares.values()))[0]
        text = next(sources[name], None)
        if text is None:
            del shares[name]
        elif (key := recipe.plain(text)) not in seen:
            seen.add(key)
            yield text


def _drills(voice: str, seed: int) -> Iterator[str]:
    """None of them twice, and none that a voice is judged by."""
    random = Random(f"drills {seed} {voice}")
    judged = (*held_out(), *(text for _, text in hard.sentences()))
    seen = {recipe.plain(text) for text in judged}
    _, common, names = _installed()
    for text in drills(common, names, random):
        if (key := recipe.plain(text)) not in seen:
            seen.add(key)
            yield text


def _sources(random: Random) -> dict[str, Iterator[str]]:
    installed, common, names = _installed()
    sources: dict[str, Iterator[str]] = {"grammar": sentences.grammar(random)}
    for name, texts in installed.items():
        sources[name] = iter(random.sample(texts, len(texts)))
    sources["drill"] = sentences.drill(common, random)
    sources["names"] = _named(names, random)
    sources["numbers"] = _numbered(random)
    sources["short"] = iter([_sentence(word) for word in random.sample(common, len(common))])
    return sources


@lru_cache
def _installed() -> tuple[dict[str, list[str]], Sequence[str], Sequence[str]]:
    """(whole sentences by source, common words, names) of this machine."""
    known = prose.dictionary()
    texts = {
        "examples": prose.examples(known),
        "definitions": prose.definitions(known),
        "jargon": prose.jargon(known),
        "handbook": prose.handbook(known),
        "fortunes": sentences.fortunes(),
        "bible": sentences.bible(recipe._bible_lines()),
    }
    plain = [t for n in ("examples", "jargon", "handbook", "fortunes") for t in texts[n]]
    return texts, sentences.common_words(plain), prose.names(known)


def _named(names: Sequence[str], random: Random) -> Iterator[str]:
    while len(names) >= 3:
        yield random.choice(_OF_NAMES).format(*random.sample(names, 3))


def _numbered(random: Random) -> Iterator[str]:
    while True:
        numbers = [random.randrange(10 ** random.choice((1, 2, 2, 3, 4, 5))) for _ in range(3)]
        words = [spelled(n) if random.random() < 0.6 else str(n) for n in numbers]
        yield _sentence(random.choice(_OF_NUMBERS).format(*words))


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."
