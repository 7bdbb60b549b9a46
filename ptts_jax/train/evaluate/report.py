"""The report of an evaluation: a Markdown table, figures and sentences as JSON, pictures.

Knows rows and figures; nothing of how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptts_jax.messages import say
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.evaluate import pictures
from ptts_jax.train.evaluate.judge import Figures, Row, figures, same_words
from ptts_jax.train.evaluate.metrics import COVERED, DURATIONS, Interval

ALL = "all"


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    row: str
    speaker: str
    kind: str
    figures: Figures


def write(out: Path, rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write report.md, report.json and, where matplotlib is installed, pictures; the text."""
    out.mkdir(parents=True, exist_ok=True)
    lines = list(_lines(rows))
    text = table(lines) + notes(rows)
    data = {
        **about,
        "rows": [
            {"row": x.row, "speaker": x.speaker, "kind": x.kind, **asdict(x.figures)} for x in lines
        ],
        "sentences": [{"row": r.name, **asdict(s)} for r in rows for s in r.sentences],
    }
    drawn = _draw(out, lines, [row.name for row in rows])
    with atomic_write(out / "report.json") as new:
        new.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic_write(out / "report.md") as new:
        new.write_text(text + drawn, encoding="utf-8")
    return text


def _draw(out: Path, lines: Sequence[Line], names: Sequence[str]) -> str:
    """The pictures, and what shows them in Markdown."""
    try:
        with atomic_write(out / "report.png") as new:
            pictures.bars(new, [(x.row, f"{x.speaker}, {x.kind}", x.figures) for x in lines])
        shown = "\n![word error rates](report.png)\n"
        if (out / "audio").is_dir():
            with atomic_write(out / "spectrograms.png") as new:
                pictures.spectrograms(new, out / "audio", names)
            shown += "\n![spectrograms](spectrograms.png)\n"
        return shown
    except ImportError:
        say("no pictures: matplotlib is not installed (pip install matplotlib)")
        return ""


def _lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Each speaker's kinds of sentences, then all together; rows[0] is the teacher."""
    teacher = rows[0]
    for row in rows:
        groups = [(s, k) for s in row.speakers for k in row.of(s).kinds]
        for speaker, kind in groups:
            group = figures(row.of(speaker, kind), teacher.of(speaker, kind))
            yield Line(row.name, speaker, kind, group)
        if len(groups) > 1:
            yield Line(row.name, ALL, ALL, figures(row, teacher))


def table(lines: Sequence[Line]) -> str:
    """Columns that nobody judged are left out."""
    cells = [_cells(line) for line in lines]
    names = [name for name in cells[0] if any(row.get(name) for row in cells)]
    body = [names, ["---"] * len(names), *([row.get(n, "") for n in names] for row in cells)]
    return "".join("| " + " | ".join(row) + " |\n" for row in body)


def _cells(line: Line) -> dict[str, str]:
    f = line.figures
    cells = {"row": line.row, "speaker": line.speaker, "kind": line.kind}
    cells["sentences"] = str(f.sentences)
    for who in f.wer:
        cells[f"WER by {who}, % ({COVERED}%)"] = _percent(f.wer[who])
        cells["minus teacher, points" + ("" if who == next(iter(f.wer)) else f" ({who})")] = (
            _percent(f.gap[who], sign="+")
        )
    cells[f"P.808 ({COVERED}%)"] = _rated(f.quality)
    cells["below teacher"] = _rated(f.below, sign="+")
    cells["overall"] = "" if f.overall is None else f"{f.overall:.2f}"
    cells["likeness"] = "" if f.likeness is None else f"{f.likeness:.2f}"
    cells["duration, median"] = f"{f.duration:.2f}"
    cells[f"beyond {DURATIONS[0]} to {DURATIONS[1]}"] = str(f.beyond)
    cells["no end"] = str(f.endless)
    cells["failed"] = f"{f.failed / f.sentences:.1%}"
    cells["MCD dB"] = f"{f.distance:.2f}"
    return cells


def notes(rows: Sequence[Row]) -> str:
    """What int8 changes, in words: the two rows are compared sentence by sentence."""
    named = {row.name: row for row in rows}
    if not {"model", "int8"} <= named.keys():
        return ""
    change = same_words(named["int8"], named["model"])
    inside = "within" if change.low <= 0 <= change.high else "beyond"
    said = f"int8 changes the WER by {_percent(change, sign='+')} points, {inside} its interval."
    return f"\n{said}\n"


def _percent(x: Interval, sign: str = "") -> str:
    return f"{100 * x.value:{sign}.1f} ({100 * x.low:{sign}.1f} to {100 * x.high:{sign}.1f})"


def _rated(x: Interval | None, sign: str = "") -> str:
    return "" if x is None else f"{x.value:{sign}.2f} ({x.low:{sign}.2f} to {x.high:{sign}.2f})"
