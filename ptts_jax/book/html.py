"""HTML and XHTML into blocks.

Said are headings, paragraphs, items of lists, quotes, verses and the cells of tables. Left out are
code, scripts, styles, navigation, figures' images, the small letters of ruby, page numbers, and the
marks that lead to notes; notes themselves are kept apart.
"""

import re
from collections import Counter
from html.parser import HTMLParser

from ptts_jax.book.contents import Block

HEADINGS = {f"h{level}": level for level in range(1, 7)}
SILENT = {"script", "style", "title", "head", "nav", "svg", "math", "rt", "rp", "audio", "video",
          "template", "iframe", "object", "select", "button", "noscript"}  # fmt: skip
VOID = {"br", "hr", "img", "input", "meta", "link", "col", "wbr", "area", "base", "embed", "source",
        "track", "param"}  # fmt: skip
# Where one of these begins or ends, so does a block.
BORDERS = {"p", "div", "li", "dt", "dd", "td", "th", "tr", "section", "article", "header", "footer",
           "main", "body", "html", "table", "ul", "ol", "dl", "figure", "figcaption", "caption",
           "aside", "address", "details", "summary", *HEADINGS, "blockquote", "pre"}  # fmt: skip
CLOSES_ITSELF = {"p", "li", "dt", "dd", "td", "th", "tr", "option"}  # where the next one begins
NOTES = {"footnote", "footnotes", "endnote", "endnotes", "rearnote", "rearnotes", "note"}
NOTE_MARKS = {"noteref", "doc-noteref", "doc-backlink", "backlink"}
PAGES = {"pagebreak", "doc-pagebreak"}
QUIET_TYPES = {"toc", "landmarks", "page-list", "index", "doc-toc", "doc-index", "loi", "lot"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.skipped: Counter = Counter()
        self.title = ""
        self._stack: list[tuple[str, str]] = []  # open elements, and what each means for its text
        self._text: list[str] = []
        self._anchors: list[str] = []
        self._row: list[str] = []  # cells
        self._in_title = False

    # What the text in here is, by the innermost element that says it.

    def _mode(self) -> str:
        return next((mode for _, mode in reversed(self._stack) if mode), "")

    def _has(self, mode: str) -> bool:
        return any(one == mode for _, one in self._stack)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name.rpartition(":")[2]: value or "" for name, value in attrs}
        self._in_title = tag == "title" and not self._has("svg")
        if tag in BORDERS:
            self._end_block()
        if tag == "body":  # a head need not be closed
            self._stack.clear()
        elif tag in CLOSES_ITSELF and self._stack and self._stack[-1][0] == tag:
            self._stack.pop()
        if about.get("id") or (tag == "a" and about.get("name")):
            self._anchors.append(about.get("id") or about["name"])
        if tag == "br":
            self._text.append("\n" if self._has("verse") else " ")
        elif tag == "hr":
            self._end_block()
            self.blocks.append(Block("break"))
        elif tag not in VOID:
            mode = self._meaning(tag, about)
            if mode == "math" and not self._silent():
                self.skipped["formulas"] += 1
            self._stack.append((tag, mode))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def _meaning(self, tag: str, about: dict[str, str]) -> str:
        kinds = set(f"{about.get('type', '')} {about.get('role', '')}".split())
        classes = set(about.get("class", "").lower().split())
        if tag in SILENT or kinds & (PAGES | QUIET_TYPES):
            return tag if tag in ("math", "svg") else "silent"
        if kinds & NOTE_MARKS or (tag == "sup" and "a" in [t for t, _ in self._stack[-1:]]):
            return "note mark"
        if kinds & NOTES or {f"doc-{kind}" for kind in NOTES} & kinds or "footnote" in classes:
            return "note"
        if tag == "a" and self._stack[-1:] and self._stack[-1][0] == "sup":
            return "note mark"
        if tag == "pre":
            return "code"
        if tag == "blockquote":
            return "quote"
        if classes & {"verse", "poem", "poetry", "stanza"}:
            return "verse"
        if tag in HEADINGS:
            return tag
        if tag == "li":
            return "item"
        return ""

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag not in [name for name, _ in self._stack]:
            return
        if tag in BORDERS:
            self._end_block()
        while self._stack.pop()[0] != tag:
            pass
        if tag == "tr" and self._row:
            cells, self._row = self._row, []
            self.blocks.append(Block("table", ", ".join(cells) + ".", anchors=self._take()))

    def handle_data(self, data: str) -> None:
        if self._in_title and not self.title:
            self.title = " ".join(data.split())
        if not self._silent():
            self._text.append(data)

    def _silent(self) -> bool:
        return any(self._has(mode) for mode in ("silent", "svg", "math", "note mark"))

    def _take(self) -> tuple[str, ...]:
        anchors, self._anchors = tuple(self._anchors), []
        return anchors

    def _end_block(self) -> None:
        raw, self._text = "".join(self._text), []
        lines = [" ".join(line.split()) for line in raw.split("\n")]
        if self._has("code"):
            text = raw.strip()
        elif self._has("verse"):
            text = "\n".join(line for line in lines if line)
        else:
            text = " ".join(" ".join(lines).split())
        if not text:
            return
        mode = self._mode()
        if self._has("code"):
            self.blocks.append(Block("code", text, anchors=self._take()))
        elif self._has("note"):
            self.blocks.append(Block("note", text, anchors=self._take()))
        elif {"td", "th"} & {tag for tag, _ in self._stack}:
            self._row.append(text.rstrip(".,;"))
        elif re.fullmatch(r"(\W\s*){1,7}", text):  # asterisks between scenes
            self.blocks.append(Block("break", anchors=self._take()))
        elif mode in HEADINGS:
            self.blocks.append(Block("heading", text, HEADINGS[mode], self._take()))
        else:
            kind = mode if mode in ("quote", "verse", "item") else "paragraph"
            self.blocks.append(Block(kind, text, anchors=self._take()))

    def end(self) -> None:
        self.close()
        self._end_block()
        if self._anchors:
            self.blocks.append(Block("break", anchors=self._take()))


def parse(text: str) -> tuple[list[Block], str, Counter]:
    """The blocks of a page, its title, and how much of what was left out."""
    reader = _Reader()
    reader.feed(text)
    reader.end()
    return reader.blocks, reader.title, reader.skipped


def decode(data: bytes, name: str) -> str:
    """A page as text, by what it says of its encoding; UTF-8 if it says nothing."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    head = data[:1024]
    said = re.search(rb"""(?:encoding|charset)\s*=\s*["']?([\w-]+)""", head)
    encoding = said[1].decode() if said else "utf-8"
    try:
        return data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except (UnicodeDecodeError, LookupError):
        raise ValueError(f"{name}: not {encoding} text; save it as UTF-8") from None
