"""What became of a book: its chapters, what was left out, and what was hard to say."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ptts_jax.book.plan import Planned
from ptts_jax.book.sound import Chapter
from ptts_jax.bulk.progress import span


def lines(planned: Sequence[Planned], skipped: Counter) -> Iterator[str]:
    """A plan as a table."""
    width = max(len(chapter.title) for chapter in planned)
    for number, chapter in enumerate(planned, 1):
        count = f"{len(chapter.units):5} pieces"
        yield f"{number:3}  {chapter.title:{width}}  {count}  {span(chapter.seconds):>8}"
    yield summary(planned, skipped)


def summary(planned: Sequence[Planned], skipped: Counter) -> str:
    """A plan in a line."""
    pieces = sum(len(chapter.units) for chapter in planned)
    words = sum(len(unit.text.split()) for chapter in planned for unit in chapter.units)
    chapters = f"{len(planned)} chapter{'s' * (len(planned) > 1)}"
    length = span(sum(chapter.seconds for chapter in planned))
    left = ", ".join(f"{count} {name}" for name, count in sorted(skipped.items()) if count)
    out = f"; left out: {left}" if left else ""
    return f"{chapters}, {words:,} words in {pieces:,} pieces, about {length} of audio{out}"


def about(
    chapters: Sequence[Chapter], skipped: Counter, failed: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The report as an object."""
    at, told = 0.0, []
    for chapter in chapters:
        length = round(chapter.seconds, 3)
        told.append({"title": chapter.title, "start": round(at, 3), "seconds": length})
        at += chapter.seconds
    hard = [
        {"chapter": chapter.title, "text": one.record["text"], **one.record["checks"]}
        for chapter in chapters
        for one in chapter.laid
        if one.record.get("checks", {}).get("faults")
    ]
    again = sum(
        one.record.get("checks", {}).get("tries", 1) > 1
        for chapter in chapters
        for one in chapter.laid
    )
    return {
        "seconds": round(at, 3),
        "chapters": told,
        "left_out": dict(skipped),
        "not_said": list(failed),
        "said_again": again,
        "still_wrong": hard,
    }


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, ensure_ascii=False, indent=1) + "\n"
