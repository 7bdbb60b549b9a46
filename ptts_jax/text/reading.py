"""How a text is to be read, and what that makes of it: segments in words that a model can say.

Everything is off unless it is asked for; then the text is said as the original says it. What reads
marks, numbers and lexicons is only imported for a text that needs it.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ptts_jax.text.chunking import check_speakable
from ptts_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ptts_jax.text.segments import Segment

DEFAULT_LANGUAGE = "en"  # of a model whose name does not say it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manner:
    """How a text is to be read."""

    normalize: bool = False  # say numbers, dates, signs and abbreviations in words
    # Obey [pause 0.8], [rate 1.2], [voice marius], [word](respelling) and SSML; a segments.Script
    # does so for a piece of a text, and goes on from the piece before.
    markup: Any = False
    language: str | None = None  # of the numbers: en, fr, de, it, pt, es or nl; the model's own
    lexicon: Any = None  # respellings, or a file with a line `word = respelling` for each
    speed: float = 1.0  # 0.25 to 4, at the same pitch
    loudness: float | None = None  # LUFS, as -16: exact of a whole, nearly so in a stream

    def __post_init__(self) -> None:
        for name in ("normalize", "markup"):
            value = getattr(self, name)
            if not (isinstance(value, bool) or (name == "markup" and hasattr(value, "breathe"))):
                raise ValueError(f"{name} {value}: give True or False")
        if self.language is not None:
            from ptts_jax.text.normalize import check_language

            check_language(self.language)
        if isinstance(self.lexicon, str | os.PathLike):
            from ptts_jax.text import lexicon

            object.__setattr__(self, "lexicon", lexicon.read(self.lexicon))
        elif not isinstance(self.lexicon, Mapping | None):
            raise ValueError("lexicon: give a file, or a dictionary of words and respellings")
        for name in ("speed", "loudness"):
            value = getattr(self, name)
            missing = name == "loudness" and value is None
            if isinstance(value, bool) or not (missing or isinstance(value, int | float)):
                raise ValueError(f"{name} {value}: give a number")
        if self.speed != 1:
            from ptts_jax.audio.stretch import check_speed

            check_speed(self.speed)
        if self.loudness is not None:
            from ptts_jax.audio.loudness import check_loudness

            check_loudness(self.loudness)

    @classmethod
    def apart(cls, options: Mapping[str, Any]) -> tuple["Manner", dict[str, Any]]:
        """The manner that some of the options name, and the other options."""
        names = [field.name for field in fields(cls)]
        chosen = {name: options[name] for name in names if name in options}
        return cls(**chosen), {name: options[name] for name in options.keys() - set(names)}

    @property
    def plain(self) -> bool:
        """Whether a text is said as it is."""
        asked = self.normalize or self.markup or self.lexicon or self.speed != 1
        return not asked and self.loudness is None

    def segments(self, text: str) -> list["Segment"]:
        """The text's segments; marks that cannot be understood are a ValueError."""
        from ptts_jax.text import markup
        from ptts_jax.text.mapped import Mapped
        from ptts_jax.text.segments import Segment

        check_speakable(text)
        if not self.markup:
            return [Segment(Mapped.of(text))]
        return markup.parse(text, None if self.markup is True else self.markup)


def read(text: str, manner: Manner, model: str, tokenizer: Tokenizer) -> list["Segment"]:
    """The segments of a text as a model is to say them. Characters that it does not know are
    replaced by what sounds alike, or named in a warning; a text without any other is refused."""
    from ptts_jax.text import lexicon

    parts, lost = manner.segments(text), []
    respell = lexicon.applier(manner.lexicon or {})
    parts = [replace(part, text=part.text and respell(part.text)) for part in parts]
    if manner.normalize:
        from ptts_jax.text.characters import fold, knows
        from ptts_jax.text.normalize import language_of, normalize

        code = manner.language or language_of(model) or DEFAULT_LANGUAGE
        for number, part in enumerate(parts):
            if part.text is not None:
                said, strange = fold(normalize(part.text, code), knows(tokenizer))
                parts[number] = replace(part, text=said)
                lost += strange
    if lost := list(dict.fromkeys(lost)):
        count = f"{len(lost)} character{'s' * (len(lost) > 1)}"
        _log.warning("%s unknown to this model: %s", count, " ".join(lost[:20]))
    speakable = [part for part in parts if part.text is None or _speakable(part.text.text)]
    if not any(part.text for part in speakable):
        why = "no character of the text is known to this model" if lost else "no word is left"
        raise ValueError(f"there is nothing to say: {why}")
    return speakable


def _speakable(text: str) -> bool:
    return any(character.isalnum() for character in text)


def shown(segments: list["Segment"]) -> str:
    """Segments as a text with marks, a line each."""
    lines, voice, rate = [], None, 1.0
    for segment in segments:
        if segment.text is None:
            lines.append(f"[pause {segment.pause:g}]")
            continue
        marks = []
        if segment.voice != voice:
            marks.append(f"[voice {segment.voice}]" if segment.voice else "[/voice]")
        if segment.rate != rate:
            marks.append(f"[rate {segment.rate:g}]")
        voice, rate = segment.voice, segment.rate
        lines.append(" ".join([*marks, *segment.text.text.split()]))
    return "\n".join(lines)
