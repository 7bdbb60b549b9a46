"""A book to read and hear: EPUB 3 with media overlays, where what is said lights up.

Its pages hold what is said, no pictures and no notes that were left out.
"""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from ptts_jax.audio.writing import plain_words
from ptts_jax.book import sound, writing
from ptts_jax.book.contents import Book
from ptts_jax.book.ledger import Ledger
from ptts_jax.book.sound import Chapter, Laid
from ptts_jax.store.paths import atomic_write

CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>
"""
PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>{title}</title><link rel="stylesheet" href="book.css"/></head>
<body>{body}</body></html>
"""
SMIL = """<?xml version="1.0" encoding="utf-8"?>
<smil xmlns="http://www.w3.org/ns/SMIL" version="3.0"><body>
{pars}
</body></smil>
"""
CSS = ".spoken { background: #ffe08a; color: #000 }\n.verse { margin: 0 0 0 2em }\n"
KINDS = {"heading": "h1", "quote": "blockquote"}  # of blocks, as elements; the others are <p>


def write(path: Path, book: Book, chapters: Sequence[Chapter], ledger: Ledger) -> None:
    """The book in one file, which is there when all of it is written."""
    with plain_words(str(path)), atomic_write(path) as part, zipfile.ZipFile(part, "w") as out:
        # Readers know the file by what stands first in it.
        out.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        texts = {"META-INF/container.xml": CONTAINER, "book.css": CSS, "nav.xhtml": _nav(chapters)}
        texts["book.opf"] = _package(book, chapters)
        for number, chapter in enumerate(chapters, 1):
            texts[f"{number}.xhtml"] = _page(chapter)
            texts[f"{number}.smil"] = _smil(number, chapter)
        for name, text in texts.items():
            out.writestr(name, text, zipfile.ZIP_DEFLATED)
        if book.cover is not None:
            out.writestr(f"cover.{book.cover.kind}", book.cover.data)
        with tempfile.TemporaryDirectory(dir=ledger.folder) as folder:
            for number, chapter in enumerate(chapters, 1):
                file = Path(folder) / f"{number}.m4a"
                target = writing.Target(file, *writing.KINDS["m4a"], {})
                with writing.opened(target, chapter.rate, {}) as encoder:
                    for block in sound.blocks(chapter, ledger):
                        encoder.write(block)
                out.write(file, file.name)
                file.unlink()


def _blocks(chapter: Chapter) -> Iterator[list[tuple[int, Laid]]]:
    """Pieces of one block, each with its number: no pause stands between them."""
    block: list[tuple[int, Laid]] = []
    for number, one in enumerate(chapter.laid, 1):
        block.append((number, one))
        if one.unit.pause:
            yield block
            block = []
    if block:
        yield block


def _page(chapter: Chapter) -> str:
    rows = []
    for block in _blocks(chapter):
        kind = block[0][1].unit.kind
        spans = (f'<span id="u{n}">{escape(one.unit.text)}</span>' for n, one in block)
        about = ' class="verse"' if kind == "verse" else ""
        inner = " ".join(spans)
        inner = f"<p>{inner}</p>" if kind == "quote" else inner
        element = KINDS.get(kind, "p")
        rows.append(f"<{element}{about}>{inner}</{element}>")
    return PAGE.format(title=escape(chapter.title), body="\n".join(rows))


def _smil(number: int, chapter: Chapter) -> str:
    times = [(one.start / chapter.rate, one.end / chapter.rate) for one in chapter.laid]
    pars = [
        f'<par id="p{n}"><text src="{number}.xhtml#u{n}"/><audio src="{number}.m4a" '
        f'clipBegin="{begin:.3f}s" clipEnd="{end:.3f}s"/></par>'
        for n, (begin, end) in enumerate(times, 1)
    ]
    return SMIL.format(pars="\n".join(pars))


def _nav(chapters: Sequence[Chapter]) -> str:
    links = "\n".join(
        f'<li><a href="{number}.xhtml">{escape(chapter.title)}</a></li>'
        for number, chapter in enumerate(chapters, 1)
    )
    nav = f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>\n{links}\n</ol></nav>'
    return PAGE.format(title="Contents", body=nav)


def _package(book: Book, chapters: Sequence[Chapter]) -> str:
    """What the file holds, in which order, and how long it is."""
    seed = "\n".join(
        [book.title, *(c.title for c in chapters), *(str(c.samples) for c in chapters)]
    )
    name = hashlib.sha256(seed.encode()).hexdigest()[:32]
    about = {"dc:title": book.title, "dc:creator": book.author, "dc:date": book.date}
    about |= {"dc:language": book.language or "en", "dc:publisher": book.publisher}
    meta = [f"<{tag}>{escape(value)}</{tag}>" for tag, value in about.items() if value]
    meta.append(f'<dc:identifier id="id">urn:ptts:{name}</dc:identifier>')
    meta.append('<meta property="dcterms:modified">2000-01-01T00:00:00Z</meta>')
    meta.append('<meta property="media:active-class">spoken</meta>')
    total = sum(chapter.seconds for chapter in chapters)
    meta.append(f'<meta property="media:duration">{total:.3f}s</meta>')
    items = [
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
    ]
    items.append('<item id="css" href="book.css" media-type="text/css"/>')
    if book.cover is not None:
        kind = quoteattr(f"image/{book.cover.kind}")
        href = f'href="cover.{book.cover.kind}"'
        items.append(f'<item id="cover" {href} media-type={kind} properties="cover-image"/>')
    kinds = {"xhtml": "application/xhtml+xml", "smil": "application/smil+xml", "m4a": "audio/mp4"}
    for number, chapter in enumerate(chapters, 1):
        refines = f'property="media:duration" refines="#smil{number}"'
        meta.append(f"<meta {refines}>{chapter.seconds:.3f}s</meta>")
        for suffix, kind in kinds.items():
            overlay = f' media-overlay="smil{number}"' if suffix == "xhtml" else ""
            href = f'href="{number}.{suffix}" media-type="{kind}"{overlay}'
            items.append(f'<item id="{suffix}{number}" {href}/>')
    spine = [f'<itemref idref="xhtml{number}"/>' for number in range(1, len(chapters) + 1)]
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">\n'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
        + "\n".join(meta)
        + "\n</metadata>\n<manifest>\n"
        + "\n".join(items)
        + "\n</manifest>\n<spine>\n"
        + "\n".join(spine)
        + "\n</spine></package>\n"
    )
