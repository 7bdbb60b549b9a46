"""A part of SSML: speak, p, s, break, prosody rate, voice, sub and say-as.

Read by the standard library's expat. A document type is refused before anything of it is read, and
with it every entity of one's own: nothing grows and nothing outside is opened.
"""

import re
from collections.abc import Callable
from xml.parsers import expat

from ptts_jax.text.mapped import Mapped
from ptts_jax.text.segments import LINE, PARAGRAPH, Script, Segment, check_pause, check_rate

RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.7, "x-strong": 1.2}
SPELLED = ("characters", "spell-out", "digits", "telephone")
PLAIN = ("cardinal", "number", "date", "time", "currency", "unit", "fraction", "address")
ATTRIBUTES = {
    "speak": ("version", "xmlns", "xml:lang"),
    "p": ("xml:lang",),
    "s": ("xml:lang",),
    "break": ("time", "strength"),
    "prosody": ("rate",),
    "voice": ("name",),
    "sub": ("alias",),
    "say-as": ("interpret-as", "format"),
}


def parse(text: str) -> list[Segment]:
    """The segments of an SSML document; what is wrong is a ValueError with its place."""
    try:
        payload = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the SSML is not valid Unicode") from None
    document = _Document(payload)
    try:
        document.parser.Parse(payload, True)
    except expat.ExpatError as error:
        words = expat.ErrorString(error.code)
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise ValueError(f"{where}: not well-formed SSML: {words}") from None
    return document.script.segments


class _Document:
    """What has been read of a document: its script, and the elements that are open."""

    def __init__(self, payload: bytes) -> None:
        self.script = Script()
        self.payload, self.at, self.characters = payload, 0, 0  # bytes and characters so far
        self.open: list[tuple[str, Callable[[], None]]] = []
        self.change: Callable[[str], str | None] | None = None  # of sub and say-as
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = lambda *_: self._refuse(
            "a document type is not allowed in SSML; leave out <!DOCTYPE ...>"
        )

    def _refuse(self, why: str) -> None:
        column = self.parser.CurrentColumnNumber + 1
        raise ValueError(f"line {self.parser.CurrentLineNumber}, column {column}: {why}")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.open and name != "speak":
            self._refuse(f"<{name}> stands outside; put the text into <speak>")
        if name not in ATTRIBUTES:
            self._refuse(f"<{name}> is not understood; there are {', '.join(ATTRIBUTES)}")
        for attribute in attributes.keys() - set(ATTRIBUTES[name]):
            known = ", ".join(ATTRIBUTES[name])
            self._refuse(f"<{name} {attribute}=...> is not understood; there are {known}")
        script = self.script
        before = (script.rate, script.voice, script.place, self.change)

        def restore() -> None:
            script.rate, script.voice, script.place, self.change = before
            if name in ("p", "s"):
                script.breathe(PARAGRAPH if name == "p" else LINE)

        self.open.append((name, restore))
        try:
            self._obey(name, attributes)
        except ValueError as error:
            self._refuse(f"<{name}>: {error}")

    def _obey(self, name: str, attributes: dict[str, str]) -> None:
        script = self.script
        if name in ("p", "s"):
            script.breathe(PARAGRAPH if name == "p" else LINE)
        elif name == "break":
            strength = attributes.get("strength", "medium")
            if strength not in STRENGTHS:
                raise ValueError(f"give a strength of {', '.join(STRENGTHS)}")
            time = attributes.get("time")
            script.pause(STRENGTHS[strength] if time is None else check_pause(time))
        elif name == "prosody":
            rate = attributes.get("rate", "medium").strip()
            percent = re.fullmatch(r"([+-]?)(\d+(?:\.\d+)?)%", rate)
            if percent:  # 120%, or as much as +20%
                rate = str(bool(percent[1]) + float(percent[1] + percent[2]) / 100)
            own = RATES[rate] if rate in RATES else check_rate(rate)
            script.rate = check_rate(str(script.rate * own))
        elif name == "voice":
            script.voice = attributes.get("name", "").strip() or None
            line, column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
            script.place = f"line {line}, column {column}"
            if script.voice is None:
                raise ValueError("give a name")
        elif name == "sub":
            alias = attributes.get("alias", "").strip()
            if not alias:
                raise ValueError("give an alias")
            said = iter([alias])
            self.change = lambda _: next(said, "")
        elif name == "say-as":
            kind = attributes.get("interpret-as", "")
            if kind not in SPELLED + PLAIN:
                raise ValueError(f"give an interpret-as of {', '.join(SPELLED + PLAIN)}")
            if kind in SPELLED:
                self.change = lambda text: " ".join("".join(text.split())) + " "

    def _end(self, name: str) -> None:
        self.open.pop()[1]()

    def _text(self, data: str) -> None:
        at = self.parser.CurrentByteIndex
        self.characters += len(self.payload[self.at : at].decode("utf-8"))
        self.at = at
        text = Mapped.of(data, self.characters)
        reference = re.compile(rb"&[#\w]+;").match(self.payload, at)
        if reference and len(data) == 1:  # &amp; is one character
            text = Mapped(data, [self.characters], [self.characters + len(reference[0])])
        if self.change and (change := self.change):
            text = text.sub(re.compile(r"(?s).+"), lambda match: change(match[0]))
        self.script.say(text.sub(re.compile(r"\s+"), lambda _: " "))
