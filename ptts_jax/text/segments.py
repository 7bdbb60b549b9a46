"""A text as a flat list of what is to be heard: words in a voice at a rate, and silences."""

import re
from dataclasses import dataclass, field, replace

from ptts_jax.audio.stretch import FASTEST, SLOWEST
from ptts_jax.text.mapped import Mapped

PARAGRAPH = 0.7  # seconds of silence between paragraphs
LINE = 0.3  # and behind a line that ends with a sentence
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Segment:
    """Something to say, or where there is no text a silence of `pause` seconds."""

    text: Mapped | None
    pause: float = 0.0
    rate: float = 1.0
    voice: str | None = None  # None: the voice that was asked for
    place: str = ""  # where the voice was chosen, as "line 3, column 5"


@dataclass
class Script:
    """Segments as they are written down, one after the other.

    A text that comes in pieces goes on with the rate and voice that the piece before has left.
    """

    segments: list[Segment] = field(default_factory=list)
    rate: float = 1.0
    voice: str | None = None
    place: str = ""
    _breath: float = 0.0  # silence of a line or paragraph, which a pause takes the place of
    _now: str = ""  # the piece that is being written
    _before: str = ""  # the piece before this one, if anything was said

    def begin(self, text: str) -> None:
        """A text, or the next piece of one; a line or paragraph may have ended between them."""
        self.segments = []
        if self._before and re.match(r"[ \t\r]*\n", text):
            self.breathe(PARAGRAPH if self._before.endswith("\n") else LINE)
        self._now = text

    def end(self) -> list[Segment]:
        """The segments of the text or piece."""
        self._before = self._now if self.segments else self._before
        return self.segments

    def say(self, text: Mapped) -> None:
        """Words in the present voice; they join those before where nothing comes between."""
        last = self.segments[-1] if self.segments else None
        joins = last and last.text and (last.rate, last.voice) == (self.rate, self.voice)
        if joins and not self._breath:
            self.segments[-1] = replace(last, text=Mapped.join([last.text, text]))
        elif text.text.strip():
            if self._breath and (last.text if last else self._before):
                self.segments.append(Segment(None, self._breath))
            self._breath = 0.0
            self.segments.append(Segment(text, 0.0, self.rate, self.voice, self.place))

    def breathe(self, seconds: float) -> None:
        """The end of a line or paragraph: a silence, unless nothing or a pause follows."""
        self._breath = max(self._breath, seconds)

    def pause(self, seconds: float) -> None:
        """A silence of exactly so many seconds."""
        last = self.segments[-1] if self.segments else None
        if last and last.text is None:
            self.segments[-1] = Segment(None, last.pause + seconds)
        elif seconds:
            self.segments.append(Segment(None, seconds))


def check_rate(text: str) -> float:
    """A rate from its text: a number that is fit for speech."""
    try:
        rate = float(text)
    except ValueError:
        rate = float("nan")
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(f"give a rate from {SLOWEST} to {FASTEST:g}, as 1.2")
    return rate


def check_pause(text: str) -> float:
    """Seconds from `0.8`, `0.8s` or `800ms`."""
    number, unit = (text[:-2], 1000) if text.endswith("ms") else (text.removesuffix("s"), 1)
    try:
        seconds = float(number) / unit
    except ValueError:
        seconds = float("nan")
    if not 0 <= seconds <= LONGEST_PAUSE:
        raise ValueError(f"give seconds from 0 to {LONGEST_PAUSE:g}, as 0.8 or 800ms")
    return seconds


def line_and_column(text: str, at: int) -> str:
    """Where a character of a text stands, for whoever has to find it."""
    line = text.count("\n", 0, at)
    return f"line {line + 1}, column {at - (text.rfind(chr(10), 0, at) + 1) + 1}"
