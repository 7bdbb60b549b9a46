"""A book from a file, by what its name says it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ptts_jax.book import epub, html, markdown, plain
from ptts_jax.book.contents import Book, by_headings

MOST_BYTES = 1 << 28


def _html(text: str, name: str) -> Book:
    blocks, title, skipped = html.parse(text)
    return Book(title or name, by_headings(blocks, title or name), skipped=skipped)


def _markdown(text: str, name: str) -> Book:
    blocks, about, skipped = markdown.parse(text)
    tops = [b for b in blocks if b.kind == "heading" and b.level == 1]
    title = about.get("title") or (tops[0].text if len(tops) == 1 else name)
    known = ("author", "language", "date", "publisher", "description")
    more = {field: about[field] for field in known if field in about}
    return Book(title, by_headings(blocks, title), skipped=skipped, **more)


def _plain(text: str, name: str) -> Book:
    return Book(name, by_headings(plain.parse(text), name))


READERS: dict[str, Callable[[str, str], Book]] = {
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
}


def read(name: str) -> Book:
    """The book in a file. What is wrong with it is a ValueError."""
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix != ".epub" and suffix not in READERS:
        known = ", ".join([".epub", *READERS])
        raise ValueError(f"{name}: name a file that ends in {known}")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ValueError(f"{name}: it is no file; name one")
        if size > MOST_BYTES:
            raise ValueError(f"{name}: {size >> 20} MB is more than any book")
        if suffix == ".epub":
            return epub.read(path)
        text = html.decode(path.read_bytes(), name)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}; check the path") from None
    book = READERS[suffix](text, path.stem)
    if not book.chapters:
        raise ValueError(f"{name}: there is no text in it")
    return replace(book, chapters=list(book.chapters))
