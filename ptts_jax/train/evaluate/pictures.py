"""Pictures of an evaluation: word error rates as bars, and what was said as spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptts_jax import audio
from ptts_jax.train.evaluate.judge import Figures
from ptts_jax.train.evaluate.metrics import COVERED, Interval

SHOWN = 2  # sentences of each speaker
WINDOW, HOP = 1024, 256
DEEP = 80  # decibels below the loudest that are still drawn


def bars(path: Path, lines: Sequence[tuple[str, str, Figures]]) -> None:
    """Word error rates with their intervals, a group of bars for each row."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _, _ in lines))
    speakers = list(dict.fromkeys(speaker for _, speaker, _ in lines))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(speakers)
    for i, speaker in enumerate(speakers):
        points = [(names.index(n), _first(f)) for n, s, f in lines if s == speaker]
        at = [x - 0.4 + (i + 0.5) * width for x, _ in points]
        values = [100 * w.value for _, w in points]
        below = [max(0.0, 100 * (w.value - w.low)) for _, w in points]
        above = [max(0.0, 100 * (w.high - w.value)) for _, w in points]
        axes.bar(at, values, 0.9 * width, yerr=[below, above], capsize=3, label=speaker)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"word error rate, % ({COVERED}% interval)")
    axes.legend()
    figure.savefig(path, dpi=120)


def _first(figures: Figures) -> Interval:
    return next(iter(figures.wer.values()))


def spectrograms(path: Path, folder: Path, rows: Sequence[str]) -> None:
    """The first sentences of every speaker, a line of pictures for each row of the table."""
    from matplotlib.figure import Figure

    first = sorted((folder / rows[0]).glob("*.wav"))
    speakers = dict.fromkeys(p.name.rpartition("-")[0] for p in first)
    names = [n for s in speakers for n in [p.name for p in first if p.name.startswith(s)][:SHOWN]]
    figure = Figure(figsize=(4 * len(names), 2.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(names), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes, name in zip(line, names, strict=True):
            wave, rate = audio.read(folder / row / name)
            shape = (0, len(wave) / rate, 0, rate / 2000)
            image = {"origin": "lower", "aspect": "auto", "cmap": "magma", "extent": shape}
            axes.imshow(_decibels(wave), vmin=-DEEP, vmax=0, **image)
            axes.set_title(f"{row}: {name.removesuffix('.wav')}", fontsize=8)
            axes.tick_params(labelsize=7)
        line[0].set_ylabel("kHz", fontsize=8)
    figure.savefig(path, dpi=110)


def _decibels(wave: np.ndarray) -> np.ndarray:
    """[T] -> [bins, frames] below the loudest."""
    wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames))).T
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-12))
