"""From samples to figures: medians with spread, ratios pair by pair, tables and a plot.

A ratio is always so that more than 1 is better: ours over the peer's for speeds, the peer's over
ours for times and sizes. Knows samples, no engines.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptts_jax.bench.measure import PEER_CONFIG, Sample


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


@dataclass(frozen=True)
class Row:
    model: str
    config: str
    figure: str
    case: str
    ours: Spread
    peer: Spread | None = None
    ratio: Spread | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.model, self.config, self.figure, self.case

    @property
    def title(self) -> str:
        return FIGURES[self.figure].title.format(self.case)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))


Series = dict[tuple[str, str, str, str, str], dict[int, float]]


def summarize(samples: Sequence[Sample]) -> list[Row]:
    """One row for each figure of ours, in the order of models, configurations and figures."""
    series: Series = defaultdict(dict)  # (side, model, config, figure, case) -> {round: value}
    for s in samples:
        series[s.side, s.model, s.config, s.figure, s.case][s.round] = s.value
    series |= _derived(series)
    rows = []
    for (side, model, config, figure, case), own in series.items():
        if side != "ours" or figure not in FIGURES:
            continue
        row = Row(model, config, figure, case, spread(list(own.values())))
        other = series.get(("peer", model, PEER_CONFIG[config], figure, case))
        if other:
            ratio = _ratios(own, other, FIGURES[figure].more_is_better)
            row = replace(row, peer=spread(list(other.values())), ratio=ratio)
        rows.append(row)
    models = list(dict.fromkeys(row.model for row in rows))
    configs, figures = list(PEER_CONFIG), list(FIGURES)
    order = {row.key: i for i, row in enumerate(rows)}
    return sorted(
        rows,
        key=lambda row: (
            models.index(row.model),
            configs.index(row.config),
            figures.index(row.figure),
            order[row.key],
        ),
    )


def _derived(series: Series) -> Series:
    """Ratios of two figures of ours, pair by pair."""
    found: Series = {}
    for (side, model, config, figure, case), values in series.items():
        over, name, shown = (None, "", case)
        if figure == "batch":
            over, name = series.get((side, model, config, "rtf", case)), "batch_gain"
        elif figure == "step" and case == "1000":
            over, name = series.get((side, model, config, "step", "100")), "step_growth"
            shown = "1000 / 100"
        ratio = {turn: values[turn] / over[turn] for turn in values if turn in over} if over else {}
        if ratio:
            found[side, model, config, name, shown] = ratio
    return found


def _ratios(own: dict[int, float], other: dict[int, float], more_is_better: bool) -> Spread | None:
    pairs = [(own[turn], other[turn]) for turn in own if turn in other]
    if not pairs:
        return None
    return spread([a / b if more_is_better else b / a for a, b in pairs])


# Tables.


def table(rows: Sequence[Row]) -> str:
    """A Markdown table for each model."""
    parts = []
    for model in dict.fromkeys(row.model for row in rows):
        lines = [
            f"## {model}",
            "",
            "| figure | configuration | ptts_jax | pocket-tts | ratio (more is better) |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            if row.model == model:
                unit = FIGURES[row.figure].unit
                cells = [row.title, row.config, _show(row.ours, unit), _show(row.peer, unit)]
                lines.append("| " + " | ".join([*cells, _show(row.ratio, "")]) + " |")
        parts.append("\n".join(lines))
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
        f"- machine: {made_on['cpu']}, {made_on['system']}; {' '.join(made_on['flags'])}",
        f"- both engines on {cores} cores; load before: {made_on['load']}",
        f"- {', '.join(f'{name} {version}' for name, version in used.items())}",
        f"- weights: {', '.join(weights) or 'none'}",
        f"- rounds: {run['runs']}; medians (lowest to highest); the engines took turns, and "
        "ratios are of what was measured side by side",
    ]
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
    lines = [
        heading,
        f"| model | figure | configuration | {label} | now | change (more is better) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if old := before.get(row.key):
            figure = FIGURES[row.figure]
            change = row.ours.median / old.ours.median
            change = change if figure.more_is_better else 1 / change
            cells = [row.model, row.title, row.config]
            cells += [_show(old.ours, figure.unit), _show(row.ours, figure.unit), _number(change)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> str | None:
    """Step time against filled context, model by model; the reason, if there is no plot."""
    models: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        if row.figure == "step":
            lines = models.setdefault(row.model, {}).setdefault(row.config, [])
            lines.append((int(row.case), row.ours.median))
    if not models:
        return "no plot: no step was timed"
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return "no plot: matplotlib is not installed (pip install 'ptts_jax[bench]')"
    canvas = Canvas(figsize=(4 * len(models), 4), layout="constrained")
    (panels,) = canvas.subplots(1, len(models), squeeze=False)
    for axes, (model, configs) in zip(panels, models.items(), strict=True):
        for name, points in configs.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axes.set(title=model, xlabel="slots filled", ylabel="ms per step", ylim=(0, None))
        axes.legend()
    canvas.savefig(path)
    return None
