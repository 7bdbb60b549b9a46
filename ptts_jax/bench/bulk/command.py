"""python -m ptts_jax.bench bulk: many lines, and how long a book takes to be planned."""

import importlib.util
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from ptts_jax import command
from ptts_jax.bench import machine, models, process, results
from ptts_jax.bench.process import BenchError
from ptts_jax.bench.scan import report
from ptts_jax.bench.speed.measure import CONFIGS
from ptts_jax.bench.statistics import markdown, number
from ptts_jax.messages import say

USAGE = """Measure bulk work: python -m ptts_jax.bench bulk [FLAGS]

Short lines spoken side by side against one by one; by two processes of one core
against one of two; by two actors of a Ray cluster; what memory does over many lines; and the plan
of a book. A model whose weights are not at hand gets random ones, which run as fast.
"""
PARTS = ("rate", "processes", "memory", "book", "ray")
BARS = {  # at least, aim
    "rate": (1.5, 1.9),
    "processes": (0.95, 1.1),
    "memory": (3.0, 0.0),
    "book": (5.0, 2.0),
    "ray": (0.9, 1.0),
}
NAMED = {
    "rate": "side by side / one by one, audio seconds per second",
    "processes": "two processes of one core / one of two",
    "memory": "memory growth, %",
    "book": "a book of 80,000 words: plan, s",
    "ray": "two actors of a Ray cluster / two processes",
}
# Words that a tokenizer of the benchmark knows: a line has as many tokens as with a real one.
WORDS = sorted(
    {word.strip(",.") for text in models.LONG for word in text.split() if word.islower()}
)


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    whole = partial(add.whole, lower_bound=1)
    add.text("model", "english", "a released model (18m, 7m, 2m, 24l for short) or a .yaml file")
    add.choice("weights", "int8", list(CONFIGS), "of the model")
    whole("lines", 2000, "that are spoken for each rate")
    whole("memory_lines", 20_000, "over which memory is watched")
    add.items("words", ["3", "20"], "of a line, least and most")
    whole("rounds", 1, "of each rate, in turns")
    whole("shard", 300, "lines that are written together")
    usual = [part for part in PARTS if part != "ray" or importlib.util.find_spec("ray")]
    add.items("parts", usual, f"of {', '.join(PARTS)}; ray where that is installed")
    whole("threads", None, "cores; all that there are if not given")
    add.text("output", "runs/bulk", "a folder for the results")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, lambda options, _: _run(options, argv[1:]), argv)


def _run(options: flags.FlagValues, arguments: list[str]) -> int:
    command.check_known("parts", options.parts, PARTS)
    cores, words = machine.cores(options.threads), _words(options.words)
    out, subject, about = models.begun("bulk", options, arguments)
    run = about | {"weights": options.weights, "lines": options.lines}
    run |= {"figures": {}, "rates": {}, "problems": []}
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        place = _Place(Path(scratch), subject, options, cores, words)
        code = results.attempt(partial(_measure, options, place, run), run["problems"])
    results.finish(out, "bulk", run, document, lambda *_: None)
    return code


class _Place:
    """Files and processes of a measurement."""

    def __init__(
        self,
        folder: Path,
        subject: models.Subject,
        options: flags.FlagValues,
        cores: Sequence[int],
        words: tuple[int, int],
    ) -> None:
        self._folder, self._options, self.cores = folder, options, cores
        self._subject, self._words = subject, words

    def lines(self, count: int) -> str:
        """A file of so many short lines."""
        path = self._folder / f"{count}.txt"
        path.write_text("\n".join(lines(count, self._words)) + "\n", encoding="utf-8")
        return str(path)

    def speak(self, do: str, count: int, processes: Sequence[Sequence[int]]) -> dict[str, Any]:
        """So many lines by processes on these cores; audio, seconds, and what memory did."""
        out = self._folder / "out"
        how = {
            "do": do,
            "lines": self.lines(count),
            "out": str(out),
            "shard": self._options.shard,
            "yaml": str(self._subject.yaml),
            "voice": str(self._subject.voice),
            "options": CONFIGS[self._options.weights],
        }
        program = process.module("ptts_jax.bench.bulk.inside")

        def one(cores: Sequence[int]) -> dict[str, Any]:
            return process.answer([*program, json.dumps({**how, "cores": cores})], do)

        with ThreadPoolExecutor() as pool:
            done = list(pool.map(one, processes))
        shutil.rmtree(out, ignore_errors=True)
        seconds = max(one["ended"] for one in done) - min(one["begun"] for one in done)
        audio = sum(one["audio"] for one in done)
        say(f"{do}, {len(done)} process{'es' * (len(done) > 1)}: {audio / seconds:.1f}x real time")
        return {"rate": audio / seconds, "memory": done[0]["memory"]}


def _measure(options: flags.FlagValues, place: _Place, run: dict[str, Any]) -> None:
    figures, cores = run["figures"], list(place.cores)
    rates: dict[str, list[float]] = {}

    def speak(name: str, do: str, processes: Sequence[Sequence[int]]) -> None:
        rates.setdefault(name, []).append(place.speak(do, options.lines, processes)["rate"])

    for _ in range(options.rounds):
        if "rate" in options.parts:
            speak("one by one", "stream", [cores])
        if {"rate", "processes"} & set(options.parts):
            speak("side by side", "bulk", [cores])
        if {"processes", "ray"} & set(options.parts):
            if len(cores) < 2:
                raise BenchError("two processes need two cores; leave processes and ray out")
            speak("two processes", "bulk", [[core] for core in cores[:2]])
        if "ray" in options.parts:
            speak("two actors", "ray", [cores])
    mean = {name: sum(some) / len(some) for name, some in rates.items()}
    run["rates"] = rates
    if "rate" in options.parts:
        figures["rate"] = mean["side by side"] / mean["one by one"]
    if "processes" in options.parts:
        figures["processes"] = mean["two processes"] / mean["side by side"]
    if "ray" in options.parts:
        figures["ray"] = mean["two actors"] / mean["two processes"]
    if "memory" in options.parts:
        seen = place.speak("bulk", options.memory_lines, [cores])["memory"]
        run["memory"] = seen
        tenth = max(1, len(seen) // 10)
        if len(seen) > 1:
            figures["memory"] = 100 * (max(seen[-tenth:]) / max(seen[:tenth]) - 1)
    if "book" in options.parts:
        figures["book"] = _plan(place.cores)


def _plan(cores: Sequence[int]) -> float:
    """Seconds from the start of the command to the plan of a book of 80,000 words."""
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "book.html"
        rng, parts = random.Random(0), []
        for chapter in range(40):
            parts.append(f"<h1>Chapter {chapter + 1}</h1>")
            parts += [f"<p>{' '.join(sentences(rng, 10))}</p>" for _ in range(18)]
        book.write_text("\n".join(parts), encoding="utf-8")
        words = [*process.module("ptts_jax.book"), "--plan", str(book)]
        process.launch(words, cores, "book")  # its files are in memory then
        start = time.monotonic()
        process.launch(words, cores, "book")
        return time.monotonic() - start


def _words(given: Sequence[str]) -> tuple[int, int]:
    try:
        least, most = map(int, given)
    except ValueError:
        least = most = 0
    if not 1 <= least <= most:
        raise ValueError(f"--words {','.join(given)}: give the least and the most, as 3,20")
    return least, most


def lines(count: int, words: tuple[int, int]) -> Iterator[str]:
    """Lines of so many words, least and most."""
    rng = random.Random(0)
    for _ in range(count):
        yield f"{' '.join(rng.choices(WORDS, k=rng.randint(*words)))}."


def sentences(rng: random.Random, count: int) -> Iterator[str]:
    """Sentences of a book."""
    for _ in range(count):
        yield f"{' '.join(rng.choices(WORDS, k=rng.randint(5, 18))).capitalize()}."


def document(run: dict[str, Any]) -> str:
    """The report as Markdown."""
    parts = [f"# Many lines by {run['model']}, {run['weights']}", report.about(run)]
    rows = [[name, *(number(r) for r in some)] for name, some in run["rates"].items()]
    if rows:
        header = [f"{run['lines']} lines", *("times real time" for _ in rows[0][1:])]
        parts.append(markdown(header, rows))
    rows = [_row(name, value) for name, value in run["figures"].items()]
    if rows:
        parts.append(markdown(["figure", "measured", "at least", "aim", "reached"], rows))
    parts += [f"**{problem}**" for problem in run["problems"]]
    return "\n\n".join(parts)


def _row(name: str, value: float) -> list[str]:
    least, aim = BARS[name]
    better = (lambda a, b: a >= b) if aim > least else (lambda a, b: a <= b)
    reached = "aim" if better(value, aim) else "yes" if better(value, least) else "no"
    return [NAMED[name], number(value), number(least), number(aim), reached]
