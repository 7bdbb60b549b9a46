"""The report of an evaluation: a Markdown table, the figures and sentences as JSON, a plot.

Knows rows and figures; nothing of how they were made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptts_jax.files import atomic_write
from ptts_jax.train.judge import Figures, Row, figures, same_words
from ptts_jax.train.metrics import COVERED, DURATIONS, Interval

ALL = "all"
HEAD = (
    ("row", "speaker", "sentences", f"WER % ({COVERED}%)", f"minus engine, points ({COVERED}%)")
    + ("duration, median", f"beyond {DURATIONS[0]} to {DURATIONS[1]}", "no EOS", "failed", "MCD dB")
)  # fmt: skip


def write(out: Path, rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write report.md, report.json and, where matplotlib is installed, report.png; the text."""
    out.mkdir(parents=True, exist_ok=True)
    lines = list(_figures(rows))
    text = table(lines) + notes(rows)
    data = {
        **about,
        "rows": [{"row": name, "speaker": who, **asdict(f)} for name, who, f in lines],
        "sentences": [{"row": r.name, **asdict(s)} for r in rows for s in r.sentences],
    }
    with atomic_write(out / "report.md") as beside:
        beside.write_text(text, encoding="utf-8")
    with atomic_write(out / "report.json") as beside:
        beside.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    try:
        with atomic_write(out / "report.png") as beside:
            plot(beside, lines)
    except ImportError:
        print("no plot: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)
    return text


def _figures(rows: Sequence[Row]) -> Iterator[tuple[str, str, Figures]]:
    """(row, speaker, figures): each speaker, then all together; rows[0] is the engine."""
    engine = rows[0]
    for row in rows:
        for speaker in row.speakers:
            yield row.name, speaker, figures(row.of(speaker), engine.of(speaker))
        if len(row.speakers) > 1:
            yield row.name, ALL, figures(row, engine)


def table(lines: Sequence[tuple[str, str, Figures]]) -> str:
    cells = [HEAD, ("---",) * len(HEAD)]
    for name, speaker, f in lines:
        words = (name, speaker, str(f.sentences), _percent(f.wer), _percent(f.gap, sign="+"))
        counts = (str(f.beyond), str(f.endless), f"{f.failed / f.sentences:.1%}")
        cells.append((*words, f"{f.duration:.2f}", *counts, f"{f.distance:.2f}"))
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


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


def plot(path: Path, lines: Sequence[tuple[str, str, Figures]]) -> None:
    """Word error rates with their intervals, a group of bars for each row."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _, _ in lines))
    speakers = list(dict.fromkeys(speaker for _, speaker, _ in lines))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(speakers)
    for i, speaker in enumerate(speakers):
        found = [(names.index(n), f.wer) for n, s, f in lines if s == speaker]
        at = [x - 0.4 + (i + 0.5) * width for x, _ in found]
        values = [100 * w.value for _, w in found]
        below = [max(0.0, 100 * (w.value - w.low)) for _, w in found]
        above = [max(0.0, 100 * (w.high - w.value)) for _, w in found]
        axes.bar(at, values, 0.9 * width, yerr=[below, above], capsize=3, label=speaker)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"word error rate, % ({COVERED}% interval)")
    axes.legend()
    figure.savefig(path, dpi=120)
