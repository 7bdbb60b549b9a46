"""Where a measurement is made, and where its results go: a table, all of it as JSON, a plot."""

import datetime
import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ptts_jax.bench import machine
from ptts_jax.bench.process import BenchError
from ptts_jax.messages import say
from ptts_jax.store.paths import atomic_write


def about(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The command, and what it runs on and with; says what the processor is."""
    made_on = machine.machine()
    say(machine.processor(made_on))
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", *module.split(), *arguments]),
        "machine": made_on,
        "versions": machine.versions(),
    }


def attempt(work: Callable[[], None], problems: list[str]) -> int:
    """Measures; what ends it early goes among the problems. The exit status."""
    try:
        work()
    except KeyboardInterrupt:
        problems.append("interrupted: this is what had been measured until then")
        return 130
    except BenchError as error:
        problems.append(str(error))
        say(f"warning: {error}")
        return 1
    return 0


def folder(flag: str, path: str) -> Path:
    """A folder that is made before the work, so that its result has a place."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--{flag} {path}: cannot be a folder ({error.strerror})") from None
    if not os.access(path, os.W_OK):
        raise ValueError(f"--{flag} {path}: cannot be written to; choose another folder")
    return Path(path)


def write(path: Path, content: str) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(content, encoding="utf-8")


def save(to: Path, name: str, table: str, run: dict[str, Any]) -> None:
    """The table as Markdown, and everything as JSON."""
    write(to / f"{name}.md", table + "\n")
    write(to / f"{name}.json", json.dumps(run, indent=1) + "\n")


def finish(
    to: Path,
    name: str,
    run: dict[str, Any],
    document: Callable[[dict[str, Any]], str],
    draw: Callable[[dict[str, Any], Path], str | None],
) -> None:
    """Prints the document of a run, and saves it with its figures and their plot."""
    table = document(run)
    print(table)
    save(to, name, table, run)
    if problem := draw(run, to / f"{name}.png"):
        say(problem)
    say(f"results -> {to}")


def plot(path: Path, panels: Sequence[Callable[[Any], None]]) -> str | None:
    """A picture of panels side by side, each drawn by a function of its axes; the reason, if there
    is no picture."""
    if not panels:
        return "no plot: nothing was measured"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed (pip install 'ptts_jax[bench]')"
    canvas = Figure(figsize=(max(9, 5 * len(panels)), 5), layout="constrained")
    for axes, draw in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
    canvas.savefig(path)
    return None
