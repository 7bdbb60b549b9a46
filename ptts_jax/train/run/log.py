"""The log of a training run: `log.jsonl` in its folder, and one line of progress on stderr."""

import json
from collections.abc import Mapping
from pathlib import Path

from ptts_jax.messages import on_terminal, say
from ptts_jax.store.paths import atomic_write

NAME = "log.jsonl"


def read(out: Path) -> list[dict[str, float]]:
    """All entries, oldest first; a line cut short by a kill is left out."""
    try:
        lines = (out / NAME).read_text().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def restart(out: Path, step: int) -> None:
    """Forget what was logged after `step`: the run goes on from there."""
    lines = [json.dumps(entry) + "\n" for entry in read(out) if entry["step"] <= step]
    with atomic_write(out / NAME) as path:
        path.write_text("".join(lines))


def append(out: Path, step: int, figures: Mapping[str, float]) -> None:
    rounded = {name: float(f"{value:.6g}") for name, value in figures.items()}
    with (out / NAME).open("a") as file:
        file.write(json.dumps({"step": step, **rounded}) + "\n")


def progress(name: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
    """One line that is overwritten on a terminal, a line each time elsewhere."""
    text = " ".join(f"{key} {value:.4g}" for key, value in figures.items())
    end = "\r" if on_terminal() and step < steps else "\n"
    clear = "\x1b[2K" if on_terminal() else ""
    say(f"{clear}{name} {step}/{steps} {text}", end)
