"""The serve report as Markdown and as a plot, from its JSON. Measures nothing."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.bench import results
from ptts_jax.bench.scan.report import about
from ptts_jax.bench.statistics import markdown, number

Json = dict[str, Any]

SIDES = {"ours": "ptts_jax", "peer": "pocket-tts serve"}
KINDS = {False: "greedy", True: "live"}
FRAME = 80.0  # milliseconds
EXPLAINED = (
    "Greedy clients take all audio at once; live ones play it from the first block on and fetch it "
    "one second ahead. A gap is silence where there should be speech, of 10 ms or more. Memory is "
    "what the server's process holds, compiled functions and all."
)


def document(run: Json) -> str:
    parts = [f"# Many listeners of {run['model']}, {run['weights']}", about(run)]
    if run["cells"]:
        parts += [EXPLAINED, _cells(run["cells"])]
    if rows := list(_figures(run)):
        header = ["figure", "measured", "at least", "aim", "reached"]
        parts += ["## Figures that have a bar", markdown(header, rows)]
    parts += [f"**{problem}**" for problem in run["problems"]]
    return "\n\n".join(parts)


def _cells(cells: list[Json]) -> str:
    header = ["clients", "", "audio seconds per second", "first audio p50 / p95, ms"]
    header += ["gaps", "silence, s", "refused", "memory, MB"]
    rows = []
    for c in cells:
        first = "none" if c["first_p50"] is None else _times(c["first_p50"], c["first_p95"])
        who = [f"{c['clients']} {KINDS[c['live']]}", SIDES[c["side"]], number(c["audio"]), first]
        heard = [str(c["gaps"]), number(c["silence"])] if c["live"] else ["", ""]
        memory = "" if c["memory"] is None else number(c["memory"])
        rows.append([*who, *heard, str(c["refused"]), memory])
    return markdown(header, rows)


def _times(*milliseconds: float) -> str:
    return " / ".join(number(ms) for ms in milliseconds)


def _figures(run: Json) -> Iterator[list[str]]:
    """Rows of the table, as far as they were measured."""
    for name, rows in _ROWS.items():
        if run.get(name):
            yield from rows(run[name])


def _row(
    figure: str,
    shown: str,
    value: float,
    least: float,
    aim: float,
    unit: str = "",
    most: bool = False,
) -> list[str]:
    """A row with a verdict; `most`: the bar is not to be exceeded."""
    at_least, aimed = (value <= least, value <= aim) if most else (value >= least, value >= aim)
    verdict = "aim" if aimed else "yes" if at_least else "**no**"
    sign = "at most " if most else ""
    bars = [f"{sign}{number(bar)}{unit}" for bar in (least, aim)]
    return [figure, shown, *bars, verdict]


def _rounds(rounds: list[Json]) -> Iterator[list[str]]:
    def ratio(below: str) -> tuple[str, float]:
        ratios = [r["ours"] / r[below] for r in rounds if r.get(below)]
        middle = statistics.median(ratios)
        speeds = [statistics.median(r[side] for r in rounds) for side in ("ours", below)]
        shown = f"{number(middle)} ({number(min(ratios))} to {number(max(ratios))}"
        return f"{shown}; {' / '.join(map(number, speeds))} times real time)", middle

    shown, middle = ratio("single")
    yield _row("8 greedy clients / our own single stream", shown, middle, 1.4, 1.7)
    if any(r.get("peer") for r in rounds):
        shown, middle = ratio("peer")
        yield _row("8 greedy clients / the reference's serve with 8", shown, middle, 4, 6)


def _first_audio(firsts: dict[str, list[float]]) -> Iterator[list[str]]:
    one, four = (float(np.percentile(firsts[count], 95)) for count in ("1", "4"))
    shown = f"{number(four / one)} ({number(four)} / {number(one)} ms, {len(firsts['4'])} requests)"
    name = "first audio p95, 4 live listeners / one"
    yield _row(name, shown, four / one, 2.5, 1.6, most=True)


def _hold(tried: list[Json]) -> Iterator[list[str]]:
    last = tried[-1]
    quiet = not last["gaps"] and not last["refused"]
    share = 100 * last["share"] if quiet else 0.0
    shown = f"{number(share)}%: {last['listeners']} listeners for {number(last['seconds'])} s"
    if not quiet:
        shown = f"gaps with {' and '.join(str(t['listeners']) for t in tried)} listeners"
    name = "live listeners without a gap, share of the throughput"
    yield _row(name, shown, share, 60, 80, "%")


def _alike(found: dict[str, Json]) -> Iterator[list[str]]:
    for weights, a in found.items():
        asked = a["requests"]
        shown = f"{a['same']} of {asked} to the last bit, {a['frames']} with the same frames"
        shown += f", SNR at least {number(a['snr'])} dB; the longest {number(a['longest'])} s"
        exact, near = a["same"] == asked, a["frames"] == asked and a["snr"] >= 100
        bar = "bit for bit" if weights == "int8" else "same frames, 100 dB"
        reached = "aim" if exact else "yes" if near and weights != "int8" else "**no**"
        yield [f"audio under load == alone, {weights}", shown, bar, "bit for bit", reached]


def _vanishing(taken: list[float]) -> Iterator[list[str]]:
    milliseconds = [1000 * seconds for seconds in taken]
    middle, worst = statistics.median(milliseconds), max(milliseconds)
    frames = worst / FRAME
    shown = f"{number(frames)} frames ({number(middle)} ms, {number(worst)} at most)"
    yield _row("a vanished client's slot is free", shown, frames, 2, 1, " frames", most=True)


def _lone(firsts: dict[str, list[float]]) -> Iterator[list[str]]:
    library, server = (statistics.median(firsts[name]) for name in ("library", "server"))
    more = server - library
    shown = f"{more:+.1f} ms ({_times(server, library)} ms)"
    name = "first audio of a lone request, server / library"
    yield _row(name, shown, more, 15, 5, " ms", most=True)


def _soak(soaked: Json) -> Iterator[list[str]]:
    statuses, growth = soaked["statuses"], 100 * soaked["growth"]
    failed = sum(n for status, n in statuses.items() if int(status) >= 500)
    asked = sum(soaked["asked"].values())
    freed = "all slots free" if soaked["freed"] else "slots not freed"
    shown = f"{asked} requests, {failed} errors of the server, {soaked['broken']} broken off"
    shown += f", memory {growth:+.1f}%, {freed}"
    fine = not failed and not soaked["broken"] and growth <= 5 and soaked["freed"]
    bar = "no error, +5%, all slots free"
    yield [
        f"soak, {number(soaked['minutes'])} minutes",
        shown,
        bar,
        "",
        "yes" if fine else "**no**",
    ]


_ROWS: dict[str, Callable[[Any], Iterator[list[str]]]] = {
    "rounds": _rounds,
    "first_audio": _first_audio,
    "hold": _hold,
    "alike": _alike,
    "vanishing": _vanishing,
    "lone": _lone,
    "soak": _soak,
}


def plot(run: Json, path: Path) -> str | None:
    """Throughput and first audio against the clients; the reason, if there is no plot."""
    panels = [partial(_throughput, run), partial(_latency, run)] if run["cells"] else []
    return results.plot(path, panels)


def _lines(run: Json, live: bool) -> Iterator[tuple[str, list[Json]]]:
    for side, label in SIDES.items():
        cells = [c for c in run["cells"] if c["side"] == side and c["live"] == live]
        if cells:
            yield label, cells


def _throughput(run: Json, axes: Any) -> None:
    for label, cells in _lines(run, False):
        x = [c["clients"] for c in cells]
        axes.plot(x, [c["audio"] for c in cells], marker="o", label=label)
    if run.get("rounds"):
        unit = statistics.median(r["single"] for r in run["rounds"])
        axes.axhline(unit, linestyle="--", color="grey", label="our own single stream")
    axes.set(title="greedy clients", xlabel="clients", ylabel="times real time", ylim=(0, None))
    axes.legend(fontsize="small")


def _latency(run: Json, axes: Any) -> None:
    for label, cells in _lines(run, True):
        heard = [c for c in cells if c["first_p50"] is not None]
        x = [c["clients"] for c in heard]
        [line] = axes.plot(x, [c["first_p50"] for c in heard], marker="o", label=f"{label}, p50")
        p95 = [c["first_p95"] for c in heard]
        axes.plot(x, p95, marker=".", linestyle=":", color=line.get_color(), label="p95")
    axes.set(title="live listeners", xlabel="clients", ylabel="first audio, ms", yscale="log")
    axes.legend(fontsize="small")
