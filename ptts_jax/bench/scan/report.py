"""The scan report as Markdown and as a plot, from its JSON. Measures nothing."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.bench import results
from ptts_jax.bench.statistics import markdown, number

Json = dict[str, Any]

TIMES = (
    "Milliseconds of a step with so many entries in the cache: medians, one row. A cache has room "
    "for the fullest filling; scratch is what a call needs besides."
)
AGREEMENT = (
    "Against the full cache, medians over the texts. Forced: both are told its latents, so an "
    "error is that of one frame. Free: each goes on from its own; a stop moves by frames at most."
)


def document(run: Json) -> str:
    parts = [f"# Cached scans of {run['model']}", about(run)]
    for weights in run["weights"]:
        parts += [f"## {weights['name']}", TIMES, _times(weights["timings"], run["fills"])]
        if weights["agreements"]:
            parts += [AGREEMENT, _agreements(weights["agreements"])]
    return "\n\n".join(parts)


def about(run: Json) -> str:
    """What was run, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    made_on, weights = run["machine"], "random weights" if run["random_weights"] else "its weights"
    flags = " ".join(made_on["flags"])
    return f"{run['date']}, `{run['command']}`: {weights}; {versions}; {made_on['cpu']} ({flags})."


def _times(timings: list[Json], fills: list[int]) -> str:
    header = ["cache", "driver", *map(str, fills), "cache, MB", "scratch, MB", "compile, s"]
    rows = []
    for t in timings:
        sizes = [t["cache_bytes"] / 1e6, t["scratch_bytes"] / 1e6, t["compile_seconds"]]
        rows.append([t["cache"], t["driver"], *map(number, [*t["milliseconds"], *sizes])])
    return markdown(header, rows)


def _agreements(agreements: Json) -> str:
    columns = {
        "latents forced, %": lambda texts: 100 * np.median([t["forced_latent"] for t in texts]),
        "audio SNR forced, dB": lambda texts: np.median([t["forced_snr"] for t in texts]),
        "EOS logit drift": lambda texts: np.median([t["forced_logit"] for t in texts]),
        "latents free, %": lambda texts: 100 * np.median([t["free_latent"] for t in texts]),
    }
    rows = []
    for name, texts in agreements.items():
        moved = [abs(t["free_stop"]) for t in texts if t["free_stop"]]
        stops = f"{len(moved)} of {len(texts)}" + (f", most {max(moved)}" if moved else "")
        rows.append([name, *(number(float(of(texts))) for of in columns.values()), stops])
    return markdown(["cache", *columns, "stops that moved"], rows)


def plot(run: Json, path: Path) -> str | None:
    """A line for each cache and driver, a panel for each kind of weights; the reason, if there is
    no plot."""
    timed = [weights for weights in run["weights"] if weights["timings"]]
    return results.plot(path, [partial(_plot, run["fills"], weights) for weights in timed])


def _plot(fills: list[int], weights: Json, axes: Any) -> None:
    for t in weights["timings"]:
        axes.plot(fills, t["milliseconds"], marker="o", label=f"{t['cache']}, {t['driver']}")
    axes.set(title=weights["name"], xlabel="entries", ylabel="ms per step", ylim=(0, None))
    axes.legend(fontsize="small")
