"""Marks in a text: [pause 0.8], [rate 1.2], [voice marius], [word](respelling); lines as pauses.

A text that begins with <speak is SSML (ssml.py). Brackets that hold no mark are text.
"""

import difflib
import re

from ptts_jax.text import ssml
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.segments import (
    LINE,
    PARAGRAPH,
    Script,
    Segment,
    check_pause,
    check_rate,
    line_and_column,
)

MARKS = ("pause", "rate", "voice")
_MARK = re.compile(
    r"\\(?P<escaped>\[)"
    r"|\[(?P<word>[^\[\]\n]+)\]\((?P<respelling>[^()\n]*)\)"
    r"|\[(?P<close>/?)(?P<name>[A-Za-z]+)(?:[ :=]+(?P<value>[^\[\]\n]*?))?[ ]*\]"
    r"|(?P<paragraph>[ \t\r]*\n[ \t\r]*(?:\n[ \t\r]*)+)"
    r"|(?<=[.!?…:])(?P<line>[\"'”’)\]»]*[ \t\r]*\n(?![ \t\r]*\n))"
)
_ADDRESS = re.compile(r"(?:https?://|www\.|mailto:|/|#|\./)")


def is_ssml(text: str) -> bool:
    """Whether a text is, or begins as, a document of SSML."""
    return bool(re.match(r"\s*<(?:\?xml|!DOCTYPE|speak\b)", text))


def parse(text: str, script: Script | None = None) -> list[Segment]:
    """The segments of a marked text; what cannot be understood is a ValueError with its place.

    Pieces of one text share a script.
    """
    if is_ssml(text):
        return ssml.parse(text)
    script, at, whole = script or Script(), 0, Mapped.of(text)
    script.begin(text)
    for match in _MARK.finditer(text):
        first, last = match.span()
        if match["name"] and not _is_mark(match, text):
            continue
        if match["word"] and _ADDRESS.match(match["respelling"]):
            continue  # a link of markdown
        if match["line"]:
            first = last - 1  # what closes the line is said
        script.say(whole[at:first])
        at = last
        if match["escaped"]:
            at = last - 1
        elif match["word"]:
            script.say(_respelled(match, whole))
        elif match["paragraph"] or match["line"]:
            script.breathe(PARAGRAPH if match["paragraph"] else LINE)
        else:
            _obey(script, match, text)
    script.say(whole[at:])
    return script.end()


def _is_mark(match: re.Match[str], text: str) -> bool:
    """Whether a bracket is a mark; one that was only misspelled is refused."""
    name = match["name"].lower()
    if name in MARKS:
        return True
    near = difflib.get_close_matches(name, MARKS, 1, 0.7)
    if near and re.match(r"[0-9.]+(?:m?s)?$", match["value"] or ""):
        where = line_and_column(text, match.start())
        raise ValueError(f"{where}: {match[0]} is no mark; did you mean [{near[0]} ...]?")
    return False


def _respelled(match: re.Match[str], whole: Mapped) -> Mapped:
    """The respelling, standing where the word stands."""
    if not match["respelling"].strip():
        where = line_and_column(whole.text, match.start())
        raise ValueError(f"{where}: {match[0]} has no respelling; write [word](how it sounds)")
    word = whole[slice(*match.span("word"))]
    return word.sub(re.compile(re.escape(word.text)), lambda _: match["respelling"])


def _obey(script: Script, match: re.Match[str], text: str) -> None:
    """Do what a mark says."""
    name, value, ends = match["name"].lower(), (match["value"] or "").strip(), match["close"]
    try:
        if name == "voice":
            script.voice = None if ends or not value else value
            script.place = line_and_column(text, match.start())
        elif name == "rate":
            script.rate = 1.0 if ends or not value else check_rate(value)
        elif not ends:
            script.pause(check_pause(value))
    except ValueError as error:
        where = line_and_column(text, match.start())
        hint = "a bracket that is text has a backslash before it"
        raise ValueError(f"{where}: {match[0]}: {error} ({hint})") from None
