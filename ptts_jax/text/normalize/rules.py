"""All the rules that turn what is not a word into words, in the order in which they run.

Each is a pattern and what is said for a match; the words are the language's. What an early rule
recognises, a later one does not see.
"""

import functools

from ptts_jax.text.normalize import amounts, dates, numbers, words
from ptts_jax.text.normalize.language import Language
from ptts_jax.text.normalize.rule import Rule


@functools.cache
def rules(language: Language) -> tuple[Rule, ...]:
    return (
        *words.addresses(language),
        *words.replacements(language, "say"),
        *dates.dates(language),
        *dates.clock(language),
        numbers.phone(language),
        numbers.versions(language),
        words.abbreviations(language),
        words.initials(language),
        *amounts.money(language),
        *amounts.fractions(language),
        *numbers.numerals(language),
        *numbers.spans(language),
        amounts.units(language),
        *words.tags(language),
        *numbers.numbers(language),
        *words.symbols(language),
        *words.replacements(language, "polish"),
    )
