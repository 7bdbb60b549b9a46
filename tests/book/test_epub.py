"""EPUB files of both versions, and those that are broken, locked or a trap."""

import struct
import zipfile

import pytest

from ptts_jax.book import epub
from ptts_jax.book.reading import read
from tests.book import epubs


@pytest.mark.parametrize("version", [2, 3])
def test_a_book_by_its_table_of_contents(tmp_path, version):
    book = epub.read(epubs.write(tmp_path / "x.epub", version))
    assert (book.title, book.author, book.language) == (
        "The River",
        "Ann Author, Bo Other",
        "en-GB",
    )
    assert book.date == "1890-05-01" and book.cover.kind == "jpeg"
    assert book.cover.data == epubs.picture()
    bank, boat, sea = book.chapters
    assert [c.title for c in book.chapters] == ["The Bank", "The Boat", "The Sea"]
    assert [(b.kind, b.text) for b in bank.blocks] == [
        ("heading", "The Bank"),
        ("paragraph", "The river was wide, and “nobody” knew."),
        ("break", ""),
        ("paragraph", "Café & water."),
        ("code", "x = 1"),
        ("note", "Very wide."),
    ]
    assert [(b.kind, b.text) for b in boat.blocks] == [
        ("heading", "The Boat"),
        ("paragraph", "Three boats came."),
        ("break", ""),
        ("paragraph", "Then he left."),
    ]
    assert [(b.kind, b.text) for b in sea.blocks] == [
        ("heading", "The Sea"),
        ("quote", "It is salt."),
        ("table", "Fish, Weight."),
        ("table", "Cod, 3 kg."),
        ("item", "One thing."),
        ("item", "Another."),
        ("verse", "A line,\nand another."),
    ]


def test_without_a_table_of_contents_headings_make_chapters(tmp_path):
    book = epub.read(epubs.write(tmp_path / "x.epub", entries=()))
    assert [c.title for c in book.chapters] == ["The Bank", "The Boat", "The Sea"]


def test_a_part_goes_before_its_first_chapter(tmp_path):
    one = epubs.ONE.replace('<h1 id="c1">', '<h1 id="p1">Part One</h1><h1 id="c1">')
    entries = (("Part One", "one.xhtml#p1"), *epubs.DEFAULT_ENTRIES)
    book = epub.read(epubs.write(tmp_path / "x.epub", entries=entries, OEBPS_one_xhtml=one))
    first = book.chapters[0]
    assert first.title == "Part One: The Bank"
    assert [b.text for b in first.blocks[:2]] == ["Part One", "The Bank"]


def test_entries_that_lead_nowhere_are_no_chapters(tmp_path):
    entries = (*epubs.DEFAULT_ENTRIES, ("Gone", "gone.xhtml"), ("Lost", "two.xhtml#none"))
    book = epub.read(epubs.write(tmp_path / "x.epub", entries=entries))
    assert len(book.chapters) == 3


def wrong(path, said):
    with pytest.raises(ValueError) as raised:
        read(str(path))
    assert str(raised.value).startswith(f"{path}: ") and said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"META_INF_container_xml": None}, "META-INF/container.xml is missing"),
        ({"META_INF_container_xml": "<container/>"}, "names no package"),
        ({"META_INF_container_xml": "<container"}, "container.xml is damaged"),
        ({"OEBPS_book_opf": None}, "OEBPS/book.opf is missing"),
        ({"OEBPS_book_opf": "<package><manifest/></package>"}, "its spine is missing or empty"),
        ({"OEBPS_one_xhtml": None}, "OEBPS/one.xhtml is missing"),
        ({"OEBPS_one_xhtml": "<p/>", "OEBPS_two_xhtml": "<img src='a.png'/>"}, "no text in it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_books(tmp_path, changed, said):
    wrong(epubs.write(tmp_path / "x.epub", **changed), said)


def test_a_spine_of_nothing(tmp_path):
    package = epubs.PACKAGE.format(items="", spine='<itemref idref="one"/>', toc="")
    wrong(epubs.write(tmp_path / "x.epub", OEBPS_book_opf=package), "'one', which is no file")


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "x.epub"
    path.write_bytes(b"PK\x03\x04 no")
    wrong(path, "it is no zip archive, or a damaged one")
    whole = epubs.write(tmp_path / "y.epub").read_bytes()
    at = whole.index(b"OEBPS/one.xhtml") + 40
    path.write_bytes(whole[:at] + bytes(60) + whole[at + 60 :])
    wrong(path, "damaged")


def test_a_locked_book(tmp_path):
    lock = '<e><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></e>'
    how = {"META_INF_encryption_xml": lock.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}
    wrong(epubs.write(tmp_path / "x.epub", **how), "it is locked (DRM)")
    fonts = {"META_INF_encryption_xml": lock.format(epub.FONTS[0])}
    assert len(epub.read(epubs.write(tmp_path / "y.epub", **fonts)).chapters) == 3


def test_names_that_lead_out_are_refused(tmp_path):
    for href in ("../../etc/passwd", "/etc/passwd", "..%2f..%2fx"):
        items = f'<item id="one" href="{href}" media-type="application/xhtml+xml"/>'
        package = epubs.PACKAGE.format(items=items, spine='<itemref idref="one"/>', toc="")
        wrong(epubs.write(tmp_path / "x.epub", OEBPS_book_opf=package), "leads out of the book")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(epub, "MOST_PAGE", 1 << 20)
    bomb = "<p>" + " " * (3 << 20) + "</p>"
    path = epubs.write(tmp_path / "x.epub", OEBPS_one_xhtml=bomb)
    assert path.stat().st_size < 1 << 16
    wrong(path, "OEBPS/one.xhtml is larger than any page of a book: refused")
    # It may also say that it is small.
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("OEBPS/one.xhtml").header_offset
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(b"OEBPS/one.xhtml"))
    for place in (at + 22, central + 24):
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    wrong(path, "OEBPS/one.xhtml")
    monkeypatch.setattr(epub, "MOST_BYTES", 1000)
    wrong(epubs.write(tmp_path / "y.epub"), "refused")


def test_entities_do_not_grow(tmp_path):
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(97 + n)} "{f"&{chr(96 + n)};" * 50}">' for n in range(1, 12)
    )
    container = f"<?xml version='1.0'?>{laughs}]><x>&l;</x>"
    wrong(epubs.write(tmp_path / "x.epub", META_INF_container_xml=container), "container.xml")
