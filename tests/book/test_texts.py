"""HTML, Markdown and plain text as chapters of blocks; what is said of them, and by whom."""

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptts_jax.book import html, markdown, plain, plan
from ptts_jax.book.contents import Block, Book, Chapter
from ptts_jax.book.plan import Choices, Voices
from ptts_jax.book.reading import read
from tests.book import epubs


def kinds(blocks) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


def test_html_that_is_not_well_formed():
    page = (
        "<title>A page</title><head><script>if (a < b) x()</script><body>"
        "<nav>Home | <a href=x>Next</a></nav><h2>One<p>First <b>bold</i> text<p>Second &amp; last"
        "<ul><li>a<li>b</ul><img alt='no'><figure><figcaption>A river.</figcaption></figure>"
        "<!-- no --><p hidden>Third</p></span></div>"
    )
    blocks, title, _ = html.parse(page)
    assert title == "A page"
    assert kinds(blocks)[0] == ("heading", "One")
    said = [text for _, text in kinds(blocks)]
    assert said == ["One", "First bold text", "Second & last", "a", "b", "A river.", "Third"]


def test_the_encoding_of_a_page():
    for declared, encoding in (
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', "latin-1"),
        ("<meta charset=utf-8>", "utf-8"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
    ):
        assert "café" in html.decode(f"{declared}<p>café</p>".encode(encoding), "x")
    with pytest.raises(ValueError, match="x.html: not utf-8 text; save it as UTF-8"):
        html.decode(b"caf\xe9", "x.html")


@given(st.text(alphabet="<>/apbdivh1li \"'=&;!-", max_size=200))
def test_any_page_is_read(page):
    html.parse(page)


def test_markdown():
    text = """---
title: "The River"
author: Ann Author
---
# The River

Some *words* with **stress**, `code`, a [link](http://x.y), ![a picture](x.png)and a note.[^1]

The Bank
--------
> It is
> wide.

1. One.
2. Two
   lines.

```python
x = 1

y = 2
```

| Fish | Weight |
|------|-------:|
| Cod  | 3 kg   |

***

    indented code

## The Boat ##
A snake_case_name and 3 * 4 * 5. Not \\*this\\*.

[^1]: The note.
"""
    blocks, about, _ = markdown.parse(text)
    assert about == {"title": "The River", "author": "Ann Author"}
    assert kinds(blocks) == [
        ("heading", "The River"),
        ("paragraph", "Some words with stress, code, a link, and a note."),
        ("heading", "The Bank"),
        ("quote", "It is wide."),
        ("item", "One."),
        ("item", "Two lines."),
        ("code", "x = 1\n\ny = 2"),
        ("table", "Fish, Weight."),
        ("table", "Cod, 3 kg."),
        ("break", ""),
        ("code", "    indented code"),
        ("heading", "The Boat"),
        ("paragraph", "A snake_case_name and 3 * 4 * 5. Not *this*."),
        ("note", "The note."),
    ]


def test_plain_text():
    text = """Some words before.

CHAPTER I. The Bank

The river was wi-
de, and
nobody knew.

* * *

  A line,
  and another.

Chapter Two

Three boats came.

Part of the time it rained, and nobody said a word about it to anybody at all in the whole village.
"""
    assert kinds(plain.parse(text)) == [
        ("paragraph", "Some words before."),
        ("heading", "CHAPTER I. The Bank"),
        ("paragraph", "The river was wide, and nobody knew."),
        ("break", ""),
        ("verse", "A line,\nand another."),
        ("heading", "Chapter Two"),
        ("paragraph", "Three boats came."),
        ("paragraph", text.strip().rpartition("\n")[2]),
    ]


def test_files_are_read_by_their_names(tmp_path):
    (tmp_path / "a.md").write_text("# Only\n\n## One\n\nA.\n\n## Two\n\nB.\n")
    book = read(str(tmp_path / "a.md"))
    assert book.title == "Only" and [c.title for c in book.chapters] == ["Only: One", "Two"]
    (tmp_path / "b.txt").write_text("Just a text.\n")
    assert [c.title for c in read(str(tmp_path / "b.txt")).chapters] == ["b"]
    (tmp_path / "c.html").write_text("<title>T</title><h1>X</h1><p>a<h1>Y</h1><p>b")
    book = read(str(tmp_path / "c.html"))
    assert book.title == "T" and [c.title for c in book.chapters] == ["X", "Y"]
    for name, said in (
        ("a.pdf", "name a file that ends in .epub, .html, "),
        ("none.txt", "No such file or directory; check the path"),
        ("empty.md", "there is no text in it"),
        ("folder.txt", "it is no file"),
    ):
        (tmp_path / "empty.md").touch()
        (tmp_path / "folder.txt").mkdir(exist_ok=True)
        with pytest.raises(ValueError) as raised:
            read(str(tmp_path / name))
        assert name in str(raised.value) and said in str(raised.value)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Mr. Smith met J. R. Tolkien. He left.", ["Mr. Smith met J. R. Tolkien.", "He left."]),
        ("“Who?” he asked. “I.” Nobody.", ["“Who?” he asked.", "“I.”", "Nobody."]),
        ("It cost 3.50 e.g. Then it rained... and so on.", None),
        ("Éric vint. Él llegó. ¿Quién?", ["Éric vint.", "Él llegó.", "¿Quién?"]),
        ("No end", ["No end"]),
    ],
)
def test_sentences(text, parts):
    assert plan.sentences(text) == (parts or [text])


@given(st.text(max_size=3000))
def test_sentences_hold_all_of_the_text(text):
    parts = plan.sentences(text)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= plan.LONGEST for part in plan.sentences("word " * 1000))
    assert "".join("".join(plan.together(parts)).split()) == "".join(text.split())


def planned(blocks, **choices) -> tuple[list[plan.Unit], Counter]:
    skipped = Counter()
    book = Book("T", [Chapter("One", [Block(*b) for b in blocks])])
    chapters = plan.plan(book, Choices(**choices), skipped)
    return [unit for chapter in chapters for unit in chapter.units], skipped


def test_pauses_stand_behind_headings_paragraphs_and_scenes():
    units, _ = planned(
        [
            ("break",),
            ("heading", "One"),
            ("paragraph", "A b c. " + "Long words. " * 30),
            ("break",),
            ("paragraph", "***"),
            ("verse", "A line,\nand another."),
        ]
    )
    assert [u.text for u in units][0] == "One" and units[0].pause == plan.PAUSES["heading"]
    *inner, last, line, end = units[1:]
    assert {u.pause for u in inner} == {0.0} and last.pause == plan.SCENE
    assert (line.text, line.pause) == ("A line,", plan.LINE)
    assert (end.text, end.pause) == ("and another.", plan.PAUSES["verse"])


def test_notes_and_code_by_choice():
    blocks = [("note", "A note."), ("paragraph", "A text."), ("code", "x = 1")]
    units, skipped = planned(blocks)
    assert [u.text for u in units] == ["A text."] and skipped == {"notes": 1, "listings": 1}
    units, skipped = planned(blocks, notes=True, code=True)
    assert [u.text for u in units] == ["A text.", "x = 1", "A note."] and not +skipped


def test_voices():
    blocks = [("heading", "One"), ("paragraph", 'He said: "Hello." And „so“ «on». Then he left.')]
    named = {"dialogue": "b", "heading": "c", "1": "d"}
    units, _ = planned(blocks, voices=Voices(named))
    assert [(u.text, u.voice) for u in units] == [
        ("One", "c"),
        ("He said:", "d"),
        ('"Hello."', "b"),
        ("And", "d"),
        ("„so“", "b"),
        ("«on»", "b"),
        (". Then he left.", "d"),
    ]
    assert all(u.voice is None for u in planned(blocks)[0])


def calls(work) -> int:
    """How many functions some work calls, Python's and C's."""
    made = 0

    def count(frame, event, arg):
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


def test_the_work_of_a_plan_grows_as_the_book_does(tmp_path):
    """80,000 words; how long they take, `bench bulk` tells."""
    words = "The river was wide, and nobody knew how deep it ran in spring. "
    page = "<html><body>{}</body></html>"
    chapters = []

    def planned_of(count: int) -> None:
        body = "".join(
            f"<h1>Chapter {n}</h1>" + f"<p>{words * 8}</p>" * 20 for n in range(1, count + 1)
        )
        path = epubs.write(tmp_path / "x.epub", entries=(), OEBPS_one_xhtml=page.format(body))
        chapters[:] = plan.plan(read(str(path)), Choices(), Counter())

    planned_of(1)  # what is read once
    few = calls(lambda: planned_of(5))
    assert 6 < calls(lambda: planned_of(40)) / few < 9
    assert len(chapters) == 41
    assert sum(len(u.text.split()) for c in chapters for u in c.units) > 80_000
