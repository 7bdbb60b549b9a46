"""Words and their times as a file: SRT or WebVTT subtitles, or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptts_jax.engine.checks import Checked
from ptts_jax.engine.timing import Word
from ptts_jax.store.paths import atomic_write

FORMATS = (".srt", ".vtt", ".json")
LONGEST = 80  # characters of a subtitle
LASTS = 6.0  # seconds that it stays at most
GAP = 0.8  # seconds of silence that end it
ENDS = (".", "!", "?", "…")


def check(path: str | Path) -> None:
    """Refuse what `write` could not write."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: name a file that ends in {', '.join(FORMATS)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"{path}: name a file in a folder that exists")


def write(path: str | Path, words: Sequence[Word], checks: Sequence[Checked] | None = None) -> None:
    """The words into a file of the kind that its name says; the file is there whole or not. What
    was found wrong goes into JSON too."""
    kind = Path(path).suffix
    if kind == ".json":
        content = {"words": list(map(plain, words))}
        if checks is not None:
            content["checks"] = list(map(asdict, checks))
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    else:
        text = _srt(words) if kind == ".srt" else _vtt(words)
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def plain(word: Word) -> dict[str, Any]:
    """A word as JSON has it: its seconds, and its part of the text that was given."""
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return {"word": word.text, **times, "characters": list(word.characters)}


def cues(words: Iterable[Word]) -> list[list[Word]]:
    """Words that are read at one glance: to the end of a sentence, a pause, or a full line."""
    groups: list[list[Word]] = []
    for word in words:
        last = groups[-1] if groups else []
        if (
            not last
            or last[-1].text.rstrip("\"'”’)]»").endswith(ENDS)
            or word.start - last[-1].end > GAP
            or word.end - last[0].start > LASTS
            or sum(len(w.text) + 1 for w in last) + len(word.text) > LONGEST
        ):
            groups.append([])
        groups[-1].append(word)
    return groups


def _srt(words: Sequence[Word]) -> str:
    blocks = [
        f"{number}\n{_span(group, ',')}\n{' '.join(w.text for w in group)}\n"
        for number, group in enumerate(cues(words), 1)
    ]
    return "\n".join(blocks)


def _vtt(words: Sequence[Word]) -> str:
    """With the time of each word in it, for players that light up what is said."""
    blocks = ["WEBVTT\n"]
    for group in cues(words):
        first, *rest = (_escaped(w.text) for w in group)
        later = [
            f" <{_clock(w.start, '.')}>{text}" for w, text in zip(group[1:], rest, strict=True)
        ]
        blocks.append(f"{_span(group, '.')}\n{first}{''.join(later)}\n")
    return "\n".join(blocks)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _span(group: Sequence[Word], point: str) -> str:
    return f"{_clock(group[0].start, point)} --> {_clock(group[-1].end, point)}"


def _clock(seconds: float, point: str) -> str:
    """As 01:02:03.456."""
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"
