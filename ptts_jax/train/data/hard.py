"""Sentences that speech models stumble over: repeats, lists, tongue twisters and the like.

A model is judged by them, never trained on them. Knows words and chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

from ptts_jax.train.data import words
from ptts_jax.train.data.sentences import grammar

TWISTERS = tuple(
    line.strip()
    for line in """
    She sells sea shells by the sea shore.
    Peter Piper picked a peck of pickled peppers.
    How much wood would a woodchuck chuck if a woodchuck could chuck wood?
    Fuzzy Wuzzy was a bear. Fuzzy Wuzzy had no hair.
    Red lorry, yellow lorry, red lorry, yellow lorry.
    A proper copper coffee pot.
    Six sick hicks nick six slick bricks with picks and sticks.
    Betty bought a bit of butter, but the butter was bitter.
    I scream, you scream, we all scream for ice cream.
    Three free throws, three free throws, three free throws.
    Toy boat, toy boat, toy boat.
    Which witch is which?
    Eleven benevolent elephants.
    He threw three free throws.
    Fred fed Ted bread, and Ted fed Fred bread.
    Four fine fresh fish for you.
    A big black bug bit a big black bear.
    Greek grapes, Greek grapes, Greek grapes.
    I saw Susie sitting in a shoe shine shop.
    Can you can a can as a canner can can a can?
    If two witches would watch two watches, which witch would watch which watch?
    Round the rugged rocks the ragged rascal ran.
    Good blood, bad blood, good blood, bad blood.
    Pad kid poured curd pulled cod.
    Six sleek swans swam swiftly southwards.
    Rubber baby buggy bumpers.
    The thirty three thieves thought that they thrilled the throne.
    Lesser leather never weathered wetter weather better.
    I wish to wash my Irish wristwatch.
    Near an ear, a nearer ear, a nearly eerie ear.
    Any noise annoys an oyster, but a noisy noise annoys an oyster most.
    Thin sticks, thick bricks.
    Truly rural, truly rural, truly rural.
    Swan swam over the sea. Swim, swan, swim!
    A loyal warrior will rarely worry why we rule.
    Freshly fried flying fish.
    Real weird rear wheels.
    Scissors sizzle, thistles sizzle.
    Tie twine to three tree twigs.
    Selfish shellfish, selfish shellfish, selfish shellfish.
    Which wrist watches are Swiss wrist watches?
    Willie's really weary.
    Cooks cook cupcakes quickly.
    Blue bluebird, blue bluebird, blue bluebird.
    Give Papa a cup of proper coffee in a copper coffee cup.
    The great Greek grape growers grow great Greek grapes.
    Wayne went to Wales to watch walruses.
    No need to light a night light on a light night like tonight.
    Brisk brave brigadiers brandished broad bright blades.
    Black background, brown background.
    """.strip().splitlines()
)

ALL = 300
_AGAIN = ("no", "yes", "go", "very", "never", "wait", "stop", "far", "really", "long")


def repeats(random: Random) -> Iterator[str]:
    """A word said many times in a row, or a sentence that comes back."""
    while True:
        word, times = random.choice(_AGAIN), random.randint(3, 12)
        thing, name = random.choice(words.THINGS), random.choice(words.NAMES)
        yield ", ".join([word.capitalize(), *[word] * (times - 1)]) + "."
        yield f"It was a {'very ' * random.randint(3, 8)}{random.choice(words.MOODS)} day."
        yield f"{name} saw the {thing}, {name} took the {thing}, and {name} kept the {thing}."
        yield f"The {thing} was the {thing}, the same {thing}, only the {thing}."


def lists(random: Random) -> Iterator[str]:
    """Six to twelve things in a row."""
    kinds = (words.THINGS, words.FOODS, words.ANIMALS, words.COLORS, words.NAMES)
    while True:
        kind = random.choice(kinds)
        some = random.sample(kind, min(random.randint(6, 12), len(kind)))
        listed = f"{', '.join(some[:-1])} and {some[-1]}."
        yield listed[0].upper() + listed[1:]


def twisters(random: Random) -> Iterator[str]:
    while True:
        yield from random.sample(TWISTERS, len(TWISTERS))


def single_words(random: Random) -> Iterator[str]:
    kinds = (words.THINGS, words.FOODS, words.ADJECTIVES, words.COLORS, words.DAYS, words.MONTHS)
    while True:
        yield random.choice(random.choice(kinds)).capitalize() + random.choice((".", "!", "?", ""))


def capitals(random: Random) -> Iterator[str]:
    return (sentence.upper() for sentence in grammar(random))


def initials(random: Random) -> Iterator[str]:
    letters = "ABCDEFGHJKLMNPRSTV"
    while True:
        one, two, three = random.choices(letters, k=3)
        name = random.choice(words.NAMES)
        yield f"{one}. {two}. {name} is the author of the book."
        yield f"The {one}.{two}.{three}. opened an office in the city."
        yield f"{name} {one}. works for the {two}{three}{one}."
        yield f"Please write to {one}. {name} and {two}. {three}. {random.choice(words.NAMES)}."


KINDS: dict[str, Callable[[Random], Iterator[str]]] = {
    "repeats": repeats,
    "lists": lists,
    "tongue twisters": twisters,
    "one word": single_words,
    "all capitals": capitals,
    "initials": initials,
}


def sentences(count: int = ALL) -> list[tuple[str, str]]:
    """(kind, sentence), as many of each kind, and none twice; always the same."""
    chosen: list[tuple[str, str]] = []
    for number, (kind, make) in enumerate(KINDS.items()):
        share = count // len(KINDS) + (number < count % len(KINDS))
        some = dict.fromkeys(itertools.islice(make(Random(number)), 4 * share))
        chosen += [(kind, text) for text in list(some)[:share]]
    return chosen
