"""EPUB 2 and 3: a zip of pages, in the order of its spine, with a table of contents.

Read with the standard library. Nothing is unpacked to disk, so that no name can lead out of a
folder; what is read is bounded, whatever the archive says of its sizes.
"""

import posixpath
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree as xml

from ptts_jax.book import html
from ptts_jax.book.contents import Block, Book, Chapter, Cover, by_headings, joined

MOST_BYTES = 1 << 29  # of all pages together
MOST_PAGE = 1 << 25  # of one
MOST_FILES = 20_000
FONTS = (
    "http://www.idpf.org/2008/embedding",
    "http://ns.adobe.com/pdf/enc#RC",
)  # hidden, not locked
PAGES = ("application/xhtml+xml", "text/html")
COVERS = {"image/jpeg": "jpeg", "image/png": "png"}


@dataclass(frozen=True)
class _Item:
    path: str
    kind: str
    properties: frozenset[str]


class _Archive:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            why = getattr(error, "strerror", None) or "it is no zip archive, or a damaged one"
            raise self.wrong(why) from None
        self._left = MOST_BYTES
        if len(self._zip.infolist()) > MOST_FILES:
            raise self.wrong(f"it holds more than {MOST_FILES} files")

    def wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.name}: {why}")

    def __contains__(self, path: str) -> bool:
        return path in self._zip.NameToInfo

    def read(self, path: str) -> bytes:
        """A file of the archive; never more than there may be."""
        most = min(MOST_PAGE, self._left)
        try:
            with self._zip.open(path) as file:
                data = file.read(most + 1)
        except KeyError:
            raise self.wrong(f"{path} is missing; the book is damaged") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise self.wrong(f"{path} cannot be read: {error}; the book is damaged") from None
        except Exception as error:  # zlib's
            raise self.wrong(f"{path} is damaged: {error}") from None
        if len(data) > most:
            raise self.wrong(f"{path} is larger than any page of a book: refused")
        self._left -= len(data)
        return data

    def xml(self, path: str) -> xml.Element:
        """An XML file of the archive."""
        try:
            return xml.fromstring(self.read(path))
        except xml.ParseError as error:
            raise self.wrong(f"{path} is damaged: {error}") from None

    def resolved(self, base: str, link: str) -> tuple[str, str]:
        """The file that a link in another file leads to, and the place in it."""
        path, fragment = urldefrag(link)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(path)))
        if path.startswith(("../", "/")) or path == "..":
            raise self.wrong(f"{link!r} leads out of the book: refused")
        return path if urldefrag(link)[0] else base, fragment


def read(path: Path) -> Book:
    """The book that an EPUB file holds."""
    archive = _Archive(path)
    _check_locks(archive)
    roots = [e.get("full-path") for e in _all(archive.xml("META-INF/container.xml"), "rootfile")]
    if not roots or not roots[0]:
        raise archive.wrong("META-INF/container.xml names no package; the book is damaged")
    root = archive.resolved("", roots[0])[0]
    package = archive.xml(root)
    items = _items(archive, root, package)
    spine = _spine(archive, package, items)
    pages: dict[str, list[Block]] = {}
    skipped: Counter = Counter()
    for page in spine:
        if "nav" in items[page].properties or items[page].kind not in PAGES:
            continue
        name = items[page].path
        if name not in pages:
            pages[name], _, left = html.parse(html.decode(archive.read(name), name))
            skipped += left
    about = _about(package)
    title = about.pop("title", None) or path.stem
    entries = _toc(archive, root, package, items)
    chapters = _chapters(pages, entries, title)
    if not chapters:
        raise archive.wrong("there is no text in it; are its pages pictures?")
    return Book(title, chapters, cover=_cover(archive, package, items), skipped=skipped, **about)


def _check_locks(archive: _Archive) -> None:
    if "META-INF/encryption.xml" not in archive:
        return
    methods = _all(archive.xml("META-INF/encryption.xml"), "EncryptionMethod")
    if any(method.get("Algorithm") not in FONTS for method in methods):
        raise archive.wrong("it is locked (DRM), and only its shop's programs can read it")


def _local(element: xml.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _all(root: xml.Element, name: str) -> list[xml.Element]:
    return [element for element in root.iter() if _local(element) == name]


def _items(archive: _Archive, root: str, package: xml.Element) -> dict[str, _Item]:
    items = {}
    for item in _all(package, "item"):
        if item.get("id") and item.get("href") and "://" not in item.get("href"):
            path, _ = archive.resolved(root, item.get("href"))
            properties = frozenset(item.get("properties", "").split())
            items[item.get("id")] = _Item(path, item.get("media-type", ""), properties)
    return items


def _spine(archive: _Archive, package: xml.Element, items: dict[str, _Item]) -> list[str]:
    refs = [ref for ref in _all(package, "itemref") if ref.get("linear") != "no"]
    named = [ref.get("idref") for ref in refs]
    if not named:
        raise archive.wrong("its spine is missing or empty: no order of pages; the book is damaged")
    lost = [name for name in named if name not in items]
    if lost:
        raise archive.wrong(f"its spine names {lost[0]!r}, which is no file; the book is damaged")
    return named


def _about(package: xml.Element) -> dict[str, str]:
    """Title, author and so on."""
    names = {"title": "title", "creator": "author", "language": "language", "date": "date"}
    names |= {"publisher": "publisher", "description": "description"}
    found: dict[str, list[str]] = {}
    for element in package.iter():
        name = names.get(_local(element))
        text = " ".join("".join(element.itertext()).split())
        if name and text and "purl.org/dc" in str(element.tag):
            found.setdefault(name, []).append(text)
    return {name: ", ".join(t) if name == "author" else t[0] for name, t in found.items()}


def _cover(archive: _Archive, package: xml.Element, items: dict[str, _Item]) -> Cover | None:
    named = [e.get("content") for e in _all(package, "meta") if e.get("name") == "cover"]
    found = [i for i in items.values() if "cover-image" in i.properties]
    found += [items[name] for name in named if name in items]
    for item in found:
        if item.kind in COVERS and item.path in archive:
            return Cover(archive.read(item.path), COVERS[item.kind])
    return None


def _toc(
    archive: _Archive, root: str, package: xml.Element, items: dict[str, _Item]
) -> list[tuple[str, str, str]]:
    """(title, page, place in it) of each entry of the table of contents."""
    for item in items.values():
        if "nav" in item.properties and item.path in archive:
            return _nav(archive, item.path)
    for spine in _all(package, "spine"):
        ncx = items.get(spine.get("toc", ""))
        if ncx is not None and ncx.path in archive:
            return _ncx(archive, ncx.path)
    return []


def _nav(archive: _Archive, path: str) -> list[tuple[str, str, str]]:
    navs = _all(archive.xml(path), "nav")
    kind = "{http://www.idpf.org/2007/ops}type"
    entries = []
    for nav in [n for n in navs if "toc" in n.get(kind, "").split()][:1] or navs[:1]:
        for link in _all(nav, "a"):
            if link.get("href"):
                name = " ".join("".join(link.itertext()).split())
                entries.append((name, *archive.resolved(path, link.get("href"))))
    return entries


def _ncx(archive: _Archive, path: str) -> list[tuple[str, str, str]]:
    entries = []
    for point in _all(archive.xml(path), "navPoint"):
        labels = [e for child in point if _local(child) == "navLabel" for e in _all(child, "text")]
        links = [child.get("src") for child in point if _local(child) == "content"]
        if labels and links and links[0]:
            name = " ".join("".join(labels[0].itertext()).split())
            entries.append((name, *archive.resolved(path, links[0])))
    return entries


def _chapters(
    pages: dict[str, list[Block]], entries: list[tuple[str, str, str]], title: str
) -> list[Chapter]:
    """The pages' blocks, cut where the table of contents points; by headings if there is none."""
    flat = [(page, block) for page, blocks in pages.items() for block in blocks]
    first = {}
    for at, (page, _) in enumerate(flat):
        first.setdefault(page, at)
    anchors = {(page, a): at for at, (page, block) in enumerate(flat) for a in block.anchors}
    starts: dict[int, str] = {}
    for name, page, place in entries:
        at = anchors.get((page, place), first.get(page))
        if at is not None and name:
            starts.setdefault(at, name)
    blocks = [block for _, block in flat]
    if len(starts) < 2:
        return by_headings(blocks, title)
    bounds = sorted(starts)
    chapters = [Chapter(title, blocks[: bounds[0]])]
    for start, end in zip(bounds, [*bounds[1:], len(blocks)], strict=True):
        chapters.append(Chapter(starts[start], blocks[start:end]))
    return joined(chapters)
