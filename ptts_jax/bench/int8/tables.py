"""The report as Markdown and as a plot, from its JSON. Measures nothing."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.bench import results
from ptts_jax.bench.statistics import Estimate, interval, markdown, number

Json = dict[str, Any]

# Figure of a text -> title and factor. The medians of the texts are shown; JSON has the rest.
FORCED = {
    "forced_latent": ("latent error, %", 100),
    "forced_logit": ("EOS logit, RMS drift", 1),
    "forced_logit_most": ("EOS logit, most", 1),
    "forced_snr": ("audio SNR, dB", 1),
    "forced_mel": ("log-mel distance, dB", 1),
}
FREE = {
    "free_latent": ("latent error, %", 100),
    "free_snr": ("audio SNR, dB", 1),
    "free_mel": ("log-mel distance, dB", 1),
}

NOTHING = "Nothing was measured."
SAME = (
    "Both models are told the float model's latents, so that an error is that of one frame. "
    "Medians over the texts, with 95% intervals (bootstrap)."
)
FREELY = (
    "Each goes on from its own latents, from the same noise. Waveforms that have drifted apart "
    "have a low SNR however well they sound; the distance of spectra is milder."
)
STOPS = (
    "Texts whose stop changed, and by how many frames: the frame of EOS with the same history, and "
    "the length of the free utterance."
)
LAYERS = (
    "Relative RMS error in %: of the weights, and of the product (without bias) on the activations "
    "of the float model. Medians over layers, and the worst one."
)


def _about(run: Json) -> str:
    """What was run, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    sampling = [f"{k} {v}" for k, v in run["sampling"].items() if v is not None]
    spoken, machine = ", ".join([f"{len(run['texts'])} texts", *sampling]), run["machine"]
    return (
        f"`{run['command']}`: {spoken}; {versions}; {machine['cpu']} ({' '.join(machine['flags'])})"
        f". The float model's weights take {number(run['megabytes'])} MB."
    )


def _median(summary: Json, scale: float) -> str:
    return interval(Estimate(**summary["median"]), scale)


def document(run: Json) -> str:
    """What quantising does, policy by policy."""
    if not run["policies"] and not run["layers"]:
        return NOTHING
    parts = [f"# What quantising does to {run['model']}", _about(run)]
    if run["policies"]:
        parts += ["## Same history", SAME, _figures(run, FORCED)]
        parts += ["## Speaking freely", FREELY, _figures(run, FREE)]
        parts += ["## Stops", STOPS, _stops(run)]
    if run["layers"]:
        parts += ["## Groups of layers", LAYERS, _groups(run)]
    # Per format and reason, since what one policy leaves another leaves too.
    left: dict[tuple[str, str], dict[str, None]] = {}
    for policy in run["policies"]:
        for name, reason in policy["left"]:
            left.setdefault((policy["format"], reason), {})[name] = None
    if left:
        lines = (
            f"- {format_}: {why}: {', '.join(names)}" for (format_, why), names in left.items()
        )
        parts += ["## Left in float", "\n".join(lines)]
    return "\n\n".join(parts)


def _figures(run: Json, figures: dict[str, tuple[str, float]]) -> str:
    rows = []
    for policy in run["policies"]:
        cells = [_median(policy["summary"][name], scale) for name, (_, scale) in figures.items()]
        rows.append([policy["name"], number(policy["megabytes"]), *cells])
    return markdown(["policy", "MB", *(title for title, _ in figures.values())], rows)


def _stops(run: Json) -> str:
    header = ["policy", "EOS moved", "most", "length changed", "longer", "shorter", "most"]
    rows = []
    for policy in run["policies"]:
        eos, length = (
            np.array([text[name] for text in policy["texts"]])
            for name in ("forced_stop", "free_stop")
        )
        counts = [str(np.count_nonzero(x)) for x in (length > 0, length < 0)]
        moved = [f"{np.count_nonzero(x)} of {x.size}" for x in (eos, length)]
        rows.append([policy["name"], moved[0], _most(eos), moved[1], *counts, _most(length)])
    return markdown(header, rows)


def _most(shifts: np.ndarray) -> str:
    most = int(shifts[np.argmax(np.abs(shifts))])
    return f"{most:+d}" if most else "0"


def _groups(run: Json) -> str:
    groups: dict[tuple[str, str], list[Json]] = {}
    for layer in run["layers"]:
        groups.setdefault((layer["group"], layer["format"]), []).append(layer)
    rows = []
    for names, layers in groups.items():
        weights, outputs = ([100 * x[part] for x in layers] for part in ("weight", "output"))
        figures = (np.median(weights), np.median(outputs), max(outputs))
        worst = layers[int(np.argmax(outputs))]["name"]
        rows.append([*names, str(len(layers)), *map(number, figures), worst])
    header = ["group", "format", "layers", "weights", "product", "worst product", "of"]
    return markdown(header, rows)


# Plots.


def plot(run: Json, path: Path) -> str | None:
    """A picture of the policies; the reason, if there is none."""
    drawn = [_plot_same, _plot_freely] if run["policies"] else []
    return results.plot(path, [partial(draw, run) for draw in drawn])


def _plot_same(run: Json, axes: Any) -> None:
    names = [policy["name"] for policy in run["policies"]]
    medians = [policy["summary"]["forced_latent"]["median"] for policy in run["policies"]]
    middle, low, high = (100 * np.array([x[part] for x in medians]) for part in medians[0])
    axes.barh(names, middle, xerr=[middle - low, high - middle], capsize=3)
    axes.invert_yaxis()
    axes.set(title="same history", xlabel="latent error, % (median, 95% interval)")
    axes.set_xscale("symlog", linthresh=0.1)


def _plot_freely(run: Json, axes: Any) -> None:
    for i, policy in enumerate(run["policies"]):
        rows = [text["free_by_frame"] for text in policy["texts"]]
        longest = max(map(len, rows))
        grid = np.array([[*row, *[np.nan] * (longest - len(row))] for row in rows])
        enough = np.isfinite(grid).sum(axis=0) * 2 >= len(rows)  # texts that are still going on
        line = 100 * np.nanmedian(grid[:, enough], axis=0)
        axes.plot(line, label=policy["name"], color=f"C{i % 10}", linestyle="-:"[i // 10 % 2])
    axes.set(title="speaking freely", xlabel="frame", ylabel="latent error, % (median)")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.legend(fontsize="small")
