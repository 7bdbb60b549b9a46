"""From samples to figures: medians with spread, ratios pair by pair, tables and a plot.

A ratio is always so that more than 1 is better: ours over the peer's for speeds, the peer's over
ours for times and sizes. Knows samples, no engines.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ptts_jax.bench import machine, results
from ptts_jax.bench.speed.measure import PEER_CONFIG, Sample
from ptts_jax.bench.statistics import markdown


@dataclass(frozen=True)
class Figure:
    title: str
    unit: str
    more_is_better: bool = False


FIGURES = {
    "rtf": Figure("streaming, {} text: times real time", "x", True),
    "first_audio": Figure("first audio, {} text", "ms"),
    "cold_start": Figure("process start to WAV written", "s"),
    "peak_memory": Figure("peak memory of that process", "MB"),
    "file_size": Figure("size of the weights' file", "MB"),
    "batch": Figure("chunks of the {} text side by side: times real time", "x", True),
    "batch_gain": Figure("the {} text, side by side / streaming", "", True),
    "prefill": Figure("prefill of {} tokens", "ms"),
    "step": Figure("language model step, {} slots filled", "ms"),
    "step_growth": Figure("language model step, {} slots filled", ""),
    "head": Figure("sampler head alone", "ms"),
    "decode": Figure("decoder per frame, {} in a call", "ms"),
}


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float
    count: int


class Key(NamedTuple):
    model: str
    config: str
    figure: str
    case: str
    isa: str = ""

    @property
    def held(self) -> str:
        """The configuration, with the instruction set that it was held to."""
        return f"{self.config} {self.isa}".rstrip()


@dataclass(frozen=True)
class Row:
    key: Key
    ours: Spread
    peers: dict[str, Spread]  # by name
    ratios: dict[str, Spread]

    @property
    def figure(self) -> Figure:
        return FIGURES[self.key.figure]

    @property
    def title(self) -> str:
        return self.figure.title.format(self.key.case)

    @property
    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        figures = asdict(self)
        return figures.pop("key")._asdict() | figures


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))


Series = dict[tuple[str, Key], dict[int, float]]  # by side and key: values by round


def summarize(samples: Sequence[Sample]) -> list[Row]:
    """One row for each figure of ours, in the order of models, configurations and figures."""
    series: Series = defaultdict(dict)
    for s in samples:
        series[s.side, Key(s.model, s.config, s.figure, s.case, s.isa)][s.round] = s.value
    series |= _derived(series)
    names = [name for name in dict.fromkeys(s.side for s in samples) if name != "ours"]
    rows = []
    for (side, key), own in series.items():
        if side != "ours" or key.figure not in FIGURES:
            continue
        beside = key._replace(config=PEER_CONFIG[key.config])
        others = {name: series[name, beside] for name in names if (name, beside) in series}
        more = FIGURES[key.figure].more_is_better
        ratios = {name: _ratios(own, other, more) for name, other in others.items()}
        peers = {name: spread(list(other.values())) for name, other in others.items()}
        known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        rows.append(Row(key, spread(list(own.values())), peers, known))
    models = list(dict.fromkeys(row.key.model for row in rows))
    isas = list(dict.fromkeys(row.key.isa for row in rows))
    configs, figures = list(PEER_CONFIG), list(FIGURES)

    def place(row: Row) -> tuple[int, ...]:
        model, config, figure, _, isa = row.key
        chosen = models.index(model), configs.index(config), figures.index(figure)
        return *chosen, isas.index(isa)

    return sorted(rows, key=place)


def _derived(series: Series) -> Series:
    """Ratios of two figures of ours, pair by pair."""
    found: Series = {}
    for (side, key), values in series.items():
        over, ratio = None, key
        if key.figure == "batch":
            over, ratio = key._replace(figure="rtf"), key._replace(figure="batch_gain")
        elif key.figure == "step" and key.case == "1000":
            over = key._replace(case="100")
            ratio = key._replace(figure="step_growth", case="1000 / 100")
        others = series.get((side, over), {}) if over else {}
        if pairs := {turn: values[turn] / others[turn] for turn in values if turn in others}:
            found[side, ratio] = pairs
    return found


def _ratios(own: dict[int, float], other: dict[int, float], more_is_better: bool) -> Spread | None:
    pairs = [(own[turn], other[turn]) for turn in own if turn in other]
    if not pairs:
        return None
    return spread([a / b if more_is_better else b / a for a, b in pairs])


# Tables.


def table(rows: Sequence[Row]) -> str:
    """A Markdown table for each model, with two columns for each peer."""
    parts = []
    for model in dict.fromkeys(row.key.model for row in rows):
        own = [row for row in rows if row.key.model == model]
        names = list(dict.fromkeys(name for row in own for name in row.peers))
        header = ["figure", "configuration", "ptts_jax"]
        for name in names:
            header += [name, "ratio (more is better)"]
        lines = []
        for row in own:
            shown = [_show(row.ours, row.figure.unit)]
            for name in names:
                shown += [_show(row.peers.get(name), row.figure.unit)]
                shown += [_show(row.ratios.get(name), "")]
            lines.append([row.title, row.key.held, *shown])
        parts.append(f"## {model}\n\n{markdown(header, lines)}")
    return "\n\n".join(parts) or "Nothing was measured."


def _show(value: Spread | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{_number(value.median)}{' ' * (unit != 'x')}{unit}".rstrip()
    if value.count > 1:
        text += f" ({_number(value.low)} to {_number(value.high)})"
    return text


def _number(x: float) -> str:
    """Three digits, without an exponent."""
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def heading(run: dict[str, Any]) -> str:
    """What everything below it was measured on, and how."""
    made_on, used = run["machine"], run["versions"]
    cores = f"{len(run['threads'])} of its {made_on['cores']}" if run["threads"] else "all"
    weights = [f"{name} ({kind})" for name, kind in run["weights"].items()]
    lines = [
        f"# Benchmark {run['label']}",
        "",
        f"{run['date']}, `{run['command']}`",
        "",
        f"- {machine.processor(made_on)}; {made_on['system']}; {' '.join(made_on['flags'])}",
        f"- all engines on {cores} cores; load before: {made_on['load']}",
        f"- {', '.join(f'{name} {version}' for name, version in used.items())}",
        f"- weights: {', '.join(weights) or 'none'}",
        f"- rounds: {run['runs']}; medians (lowest to highest); the engines took turns, and "
        "ratios are of what was measured side by side",
    ]
    lines += [f"- {line}" for line in run["left_out"]]
    lines += [f"- **{problem}**" for problem in run["problems"]]
    return "\n".join(lines)


def compare(rows: Sequence[Row], run: dict[str, Any], earlier: dict[str, Any]) -> str:
    """What changed for us since another run: more than 1 is better than it was."""
    before = {row.key: row for row in summarize([Sample(**s) for s in earlier["samples"]])}
    label, heading = earlier["label"], f"## Against {earlier['label']}\n"
    if not before.keys() & {row.key for row in rows}:
        return f"{heading}\nNothing of this run was measured there."
    if earlier["machine"]["cpu"] != run["machine"]["cpu"]:
        heading += f"\n**Measured on another machine: {earlier['machine']['cpu']}.**\n"
    header = ["model", "figure", "configuration", label, "now", "change (more is better)"]
    lines = []
    for row in rows:
        if old := before.get(row.key):
            change = row.ours.median / old.ours.median
            change = change if row.figure.more_is_better else 1 / change
            cells = [_show(side.ours, row.figure.unit) for side in (old, row)]
            lines.append([row.key.model, row.title, row.key.held, *cells, _number(change)])
    return f"{heading}\n{markdown(header, lines)}"


def plot(rows: Sequence[Row], path: Path) -> str | None:
    """Step time against filled context, model by model; the reason, if there is no plot."""
    models: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        if row.key.figure == "step":
            points = models.setdefault(row.key.model, {}).setdefault(row.key.held, [])
            points.append((int(row.key.case), row.ours.median))
    return results.plot(path, [partial(_plot_model, *item) for item in models.items()])


def _plot_model(model: str, configs: dict[str, list[tuple[int, float]]], axes: Any) -> None:
    for name, points in configs.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    axes.set(title=model, xlabel="slots filled", ylabel="ms per step", ylim=(0, None))
    axes.legend()
