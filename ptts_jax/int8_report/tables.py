"""The report as Markdown and as a plot, from its JSON. Measures nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from int8.report import Estimate, interval, markdown, number

Json = dict[str, Any]

# Figure of a text -> title and factor. Medians and means are made of these.
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


def document(run: Json) -> str:
    if not run["policies"] and not run["layers"]:
        return "Nothing was measured."
    parts = [f"# What quantising does to {run['model']}", about(run)]
    if run["policies"]:
        parts += ["## Same history", SAME, _figures(run, FORCED, "median")]
        parts += ["Means:", _figures(run, FORCED, "mean")]
        parts += ["## Speaking freely", FREELY, _figures(run, FREE, "median")]
        parts += ["Means:", _figures(run, FREE, "mean")]
        parts += ["## Stops", STOPS, _stops(run)]
        parts += ["## Text by text", "Same history: audio SNR / log-mel distance, dB.", _texts(run)]
    if run["layers"]:
        parts += ["## Groups of layers", LAYERS, _groups(run), "## Layers", _layers(run)]
    return "\n\n".join([*parts, *_left(run)])


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


def about(run: Json) -> str:
    """What was run, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    sampling = [f"{k} {v}" for k, v in run["sampling"].items() if v is not None]
    spoken, made_on = ", ".join([f"{len(run['texts'])} texts", *sampling]), run["machine"]
    return (
        f"`{run['command']}`: {spoken}; {versions}; {made_on['cpu']} ({' '.join(made_on['flags'])})"
        f". The float model's weights take {number(run['megabytes'])} MB."
    )


def _figures(run: Json, figures: dict[str, tuple[str, float]], kind: str) -> str:
    header = ["policy", "MB", *(title for title, _ in figures.values())]
    rows = []
    for policy in run["policies"]:
        cells = [
            interval(Estimate(**policy["summary"][name][kind]), scale)
            for name, (_, scale) in figures.items()
        ]
        rows.append([policy["name"], number(policy["megabytes"]), *cells])
    return markdown(header, rows)


def _stops(run: Json) -> str:
    header = ["policy", "EOS moved", "most", "length changed", "longer", "shorter", "most"]
    rows = []
    for policy in run["policies"]:
        eos, length = (
            np.array([text[name] for text in policy["texts"]])
            for name in ("forced_stop", "free_stop")
        )
        counts = [np.count_nonzero(x) for x in (length, length > 0, length < 0)]
        cells = [f"{np.count_nonzero(eos)} of {eos.size}", _most(eos)]
        cells += [f"{counts[0]} of {length.size}", str(counts[1]), str(counts[2]), _most(length)]
        rows.append([policy["name"], *cells])
    return markdown(header, rows)


def _most(shifts: np.ndarray) -> str:
    most = int(shifts[np.argmax(np.abs(shifts))])
    return f"{most:+d}" if most else "0"


def _texts(run: Json) -> str:
    policies = run["policies"]
    rows = []
    for i, text in enumerate(run["texts"]):
        found = [policy["texts"][i] for policy in policies]
        cells = [f"{number(x['forced_snr'])} / {number(x['forced_mel'])}" for x in found]
        shown = text.replace("|", "\\|")
        rows.append(
            [shown if len(shown) < 50 else f"{shown[:47]}...", str(found[0]["frames"]), *cells]
        )
    return markdown(["text", "frames", *(policy["name"] for policy in policies)], rows)


def _groups(run: Json) -> str:
    found: dict[tuple[str, str], list[Json]] = {}
    for layer in run["layers"]:
        found.setdefault((layer["group"], layer["format"]), []).append(layer)
    rows = []
    for (group, format_), layers in found.items():
        weights, outputs = ([100 * x[part] for x in layers] for part in ("weight", "output"))
        worst = layers[int(np.argmax(outputs))]
        cells = [number(np.median(weights)), number(np.median(outputs)), number(max(outputs))]
        rows.append([group, format_, str(len(layers)), *cells, worst["name"]])
    header = ["group", "format", "layers", "weights", "product", "worst product", "of"]
    return markdown(header, rows)


def _layers(run: Json) -> str:
    formats = list(dict.fromkeys(layer["format"] for layer in run["layers"]))
    table: dict[str, dict[str, Json]] = {}
    for layer in run["layers"]:
        table.setdefault(layer["name"], {})[layer["format"]] = layer
    rows = []
    for name, found in table.items():
        first = next(iter(found.values()))
        cells = [_pair(found.get(format_)) for format_ in formats]
        rows.append([name, " x ".join(map(str, first["shape"])), *cells])
    return markdown(["layer", "out x in", *(f"{f}: weights / product, %" for f in formats)], rows)


def _pair(layer: Json | None) -> str:
    if layer is None:
        return "float"
    return f"{number(100 * layer['weight'])} / {number(100 * layer['output'])}"


def _left(run: Json) -> Sequence[str]:
    """Per format and reason, since what one policy leaves another leaves too."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for policy in run["policies"]:
        for name, reason in policy["left"]:
            found.setdefault((policy["format"], reason), {})[name] = None
    lines = [
        f"- {format_}: {reason}: {', '.join(names)}" for (format_, reason), names in found.items()
    ]
    return ["## Left in float", "\n".join(lines)] if lines else []


def plot(run: Json, path: Path) -> str | None:
    """Three panels; the reason, if there is no plot."""
    if not run["policies"]:
        return "no plot: no policy was measured"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed (pip install 'ptts_jax[bench]')"
    canvas = Figure(figsize=(15, 5), layout="constrained")
    same, freely, single = canvas.subplots(1, 3)
    _plot_same(run, same)
    _plot_freely(run, freely)
    _plot_layers(run, single)
    canvas.savefig(path)
    return None


def _plot_same(run: Json, axes: Any) -> None:
    names = [policy["name"] for policy in run["policies"]]
    found = [policy["summary"]["forced_latent"]["median"] for policy in run["policies"]]
    values = np.array([[100 * x[part] for part in ("value", "low", "high")] for x in found])
    middle, low, high = values.T
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


def _plot_layers(run: Json, axes: Any) -> None:
    names = list(dict.fromkeys(layer["name"] for layer in run["layers"]))
    for format_ in dict.fromkeys(layer["format"] for layer in run["layers"]):
        own = [layer for layer in run["layers"] if layer["format"] == format_]
        at = [names.index(layer["name"]) for layer in own]
        axes.plot(at, [100 * layer["output"] for layer in own], ".", label=format_)
    axes.set(title="single layers", xlabel="layer, in the order of the computation")
    axes.set(ylabel="error of the product, %", ylim=(0, None))
    if names:
        axes.legend(fontsize="small")
