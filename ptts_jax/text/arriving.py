"""Text that comes piece by piece, as a language model writes it: what can be spoken already.

A sentence goes out as soon as it is known to have ended, a clause when it is long enough. Numbers
and abbreviations are never cut: a point ends a sentence only where a space follows. Where marks are
obeyed, neither are they, white space stays, and a document of SSML goes out whole.
"""

import re

CLAUSE_WORDS = 10  # with so many, a comma is a good place to begin speaking
LONGEST = 400  # characters that are held back at most; then any space will do

_SENTENCE = re.compile(r"[.!?…]+[\"'”’)\]»]*\s|\n|[。！？]")
_CLAUSE = re.compile(r"[,;:–—][\"'”’)\]»]*\s")
_ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "cf"),
        *("no", "nr", "inc", "ltd", "co", "u.s", "a.m", "p.m", "approx", "fig", "vol", "z.b"),
        *("d.h", "usw", "bzw", "ca", "mme", "mlle", "sig", "sra", "dott"),
    )
)


class Arriving:
    """Pieces in, sentences out."""

    def __init__(self, markup: bool = False) -> None:
        self._markup = markup
        self._marks = ""  # without words: they go out with the words that follow
        self._held = ""

    def add(self, piece: str) -> list[str]:
        """What can be spoken now that this piece has come."""
        self._held += piece
        ready = []
        while (end := self._end()) is not None:
            text, self._held = self._held[:end], self._held[end:]
            ready += self._speakable(text)
        return ready

    def rest(self) -> list[str]:
        """What is left, now that nothing more comes before it is spoken."""
        text, self._held = self._held, ""
        ready, self._marks = self._speakable(text), ""
        return ready

    def _speakable(self, text: str) -> list[str]:
        """The text as something to speak; none if it holds no word."""
        if not self._markup:
            return [text.strip()] if any(c.isalnum() for c in text) else []
        text, self._marks = self._marks + text, ""
        if any(c.isalnum() for c in re.sub(r"\[[^\[\]]*\]", "", text)):
            return [text]
        self._marks = text
        return []

    def _end(self) -> int | None:
        """Where the first part that can be spoken ends."""
        if self._markup and re.match(r"\s*<(?:\?xml|!DOCTYPE|speak\b)", self._held):
            closed = self._held.find("</speak>")
            return None if closed < 0 else closed + len("</speak>")
        for mark in _SENTENCE.finditer(self._held):
            before = self._held[: mark.start()]
            if not _is_abbreviation(before, mark[0]) and not self._in_mark(before):
                return mark.end()
        for mark in _CLAUSE.finditer(self._held):
            before = self._held[: mark.start()]
            if len(before.split()) >= CLAUSE_WORDS and not self._in_mark(before):
                return mark.end()
        if len(self._held) > LONGEST:
            space = self._held.rfind(" ", 0, LONGEST)
            return space + 1 if space > 0 else LONGEST
        return None

    def _in_mark(self, before: str) -> bool:
        return self._markup and bool(re.search(r"\[[^\[\]\n]*$|\]\([^()\n]*$", before))


def _is_abbreviation(before: str, mark: str) -> bool:
    """Whether a point belongs to the word before it: "Dr.", "e.g.", an initial, "3."."""
    if not mark.startswith(".") or mark.startswith(".."):
        return False
    word = re.search(r"\S*$", before)[0].lstrip("\"'“‘(«[").lower()
    return word in _ABBREVIATIONS or (len(word) == 1 and word != "i") or word.isdigit()
