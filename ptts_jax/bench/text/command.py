"""python -m ptts_jax.bench text: how long marks, numbers and a change of speed take."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ptts_jax import command
from ptts_jax.audio import stretch
from ptts_jax.text import markup
from ptts_jax.text.normalize import LANGUAGES, normalize

USAGE = """Measure the reading of texts: python -m ptts_jax.bench text [FLAGS]

Seconds of one core for 100 kB of text with a number in every other sentence, and milliseconds for a
second of speech at another speed.
"""
SIZE = 100_000  # characters
WORDS = "lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor. "
NUMBERS = ["12", "1.5 km", "$5", "50 %", "15:30", "2024-03-05", "3/4", "1999", "+33 6 12 34 56 78"]
RATE = 24000


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("text_file", None, "a UTF-8 text to read instead")
    add.items("languages", list(LANGUAGES), "of the numbers")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, lambda options, _: _run(options), argv)


def _run(options: flags.FlagValues) -> int:
    text = Path(options.text_file).read_text("utf-8") if options.text_file else _material()
    lines = [f"{len(text)} characters", f"  marks: {_seconds(markup.parse, text):.2f} s"]
    for code in options.languages:
        normalize("12", code)  # its word lists are read
        lines.append(f"  numbers, {code}: {_seconds(normalize, text, code):.2f} s")
    tone = np.sin(np.arange(20 * RATE) / 40).astype(np.float32)
    lines.append("a second of speech")
    for speed in (0.5, 0.8, 1.25, 2.0):
        taken = _seconds(stretch.stretched, tone, RATE, speed) / (20 / speed)
        lines.append(f"  at speed {speed:g}: {1000 * taken:.1f} ms")
    return command.print_lines(lines)


def _material() -> str:
    """A text with a number in every other sentence, all of them different."""
    parts: list[str] = []
    while sum(map(len, parts)) < SIZE:
        number = NUMBERS[len(parts) % len(NUMBERS)].replace("5", str(len(parts) % 8 + 1))
        parts.append(f"{WORDS}{number} {WORDS}" + "\n\n" * (len(parts) % 4 == 0))
    return "".join(parts)[:SIZE]


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start
