"""Numbers, dates, signs and abbreviations in words, for seven languages.

`normalize` rewrites a text as it is to be said; each word keeps its place in the original.
"""

from ptts_jax.text.mapped import Mapped
from ptts_jax.text.normalize import clean
from ptts_jax.text.normalize.language import LANGUAGES, Language, check_language, language
from ptts_jax.text.normalize.rule import compiled
from ptts_jax.text.normalize.rules import rules

PASSES = 5  # at most, until nothing changes: what one rule says may be another's to read

__all__ = ["LANGUAGES", "check_language", "language_of", "normalize"]


def normalize(text: str | Mapped, code: str) -> Mapped:
    """The text as it is to be said in a language (`en`, `fr`, ...), line by line."""
    chosen = language(code)
    mapped = text if isinstance(text, Mapped) else Mapped.of(text)
    return mapped.by_line(lambda line: _line(line, chosen))


def _line(text: Mapped, chosen: Language) -> Mapped:
    for _ in range(PASSES):
        before = text.text
        text = clean.markdown(clean.characters(text))
        for pattern, say, needs in rules(chosen):
            if needs is None or needs.search(text.text):
                text = text.sub(compiled(pattern), say)
        if text.text == before:
            return text
        text = clean.blanks(text)
    return text


def language_of(model: str) -> str | None:
    """The code of the language that a model's name begins with; None where it names none."""
    names = ("english", "french", "german", "italian", "portuguese", "spanish", "dutch")
    codes = dict(zip(names, LANGUAGES, strict=True)) | {"bundled": "en"}
    return next((code for name, code in codes.items() if model.startswith(name)), None)
