"""The experiment with the codec's decoder as Markdown, from its JSON. Measures nothing."""

from pathlib import Path
from typing import Any

from int8.report import Estimate, interval, markdown, number
from ptts_jax.int8_report.tables import about

Json = dict[str, Any]

INAUDIBLE_SNR = 50.0  # dB, of every text
INAUDIBLE_LEVEL = -70.0  # dB of full scale, of the error in the pauses of every text

QUALITY = (
    f"Against the float decoder, on the same latents; medians with 95% intervals. Inaudible is an "
    f"error {INAUDIBLE_SNR:.0f} dB under the signal in every text, and below {INAUDIBLE_LEVEL:.0f} "
    "dB of full scale in its pauses (where the audio is 50 dB under its loudest 20 ms)."
)
NO_PAUSES = (
    "**This audio has no pauses, so nothing is said about them: random weights speak without any.**"
)
SPEED = (
    "Decoder, a block of {} frames of one utterance, in turns. A ratio over 1 is faster than float."
)


def document(run: Json) -> str:
    if not run["qualities"]:
        return "Nothing was measured."
    parts = [f"# The decoder of {run['model']} in less precision", about(run)]
    parts += ["## Quality", QUALITY, _quality(run["qualities"])]
    if not any(q["error_in_pauses"] for q in run["qualities"]):
        parts.append(NO_PAUSES)
    if run["speeds"]:
        parts += ["## Speed", SPEED.format(run["block"]), _speed(run["speeds"])]
    return "\n\n".join(parts)


def _quality(found: list[Json]) -> str:
    header = ["part", "method", "audio SNR, dB", "least", "error, dB", "in pauses, dB", "most"]
    rows = []
    for q in found:
        cells = [_interval(q["snr"]), number(q["least_snr"]), _interval(q["error"])]
        quiet = [_interval(q["error_in_pauses"]), number(q["most_in_pauses"] or 0)]
        cells += quiet if q["error_in_pauses"] else ["", ""]
        rows.append([q["part"], q["method"], *cells, _interval(q["mel"]), _verdict(q)])
    return markdown([*header, "log-mel distance, dB", "inaudible"], rows)


def _interval(summary: Json | None) -> str:
    return interval(Estimate(**summary["median"])) if summary else ""


def _verdict(q: Json) -> str:
    if q["least_snr"] < INAUDIBLE_SNR:
        return "no"
    if q["most_in_pauses"] is None:
        return "unless in pauses"
    return "yes" if q["most_in_pauses"] < INAUDIBLE_LEVEL else "no"


def _speed(found: list[Json]) -> str:
    header = ["part", "method", "ms per frame, median", "least", "ratio to float"]
    keys = ("median", "least", "ratio")
    rows = [[s["part"], s["method"], *(number(s[key]) for key in keys)] for s in found]
    return markdown(header, rows)


def plot(run: Json, path: Path) -> str | None:
    """The error's level by part and method; the reason, if there is no plot."""
    found = run["qualities"]
    if not found:
        return "no plot: nothing was measured"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed (pip install 'ptts_jax[bench]')"
    canvas = Figure(figsize=(9, 5), layout="constrained")
    axes = canvas.add_subplot()
    parts, methods = (list(dict.fromkeys(q[key] for q in found)) for key in ("part", "method"))
    for i, method in enumerate(methods):
        own = [q for q in found if q["method"] == method]
        at = [parts.index(q["part"]) + 0.8 * (i + 0.5) / len(methods) - 0.4 for q in own]
        axes.bar(at, [q["snr"]["median"]["value"] for q in own], 0.8 / len(methods), label=method)
    axes.axhline(INAUDIBLE_SNR, color="black", linestyle=":")
    axes.set_xticks(range(len(parts)), [part.replace(", ", ",\n") for part in parts])
    axes.set(ylabel="audio SNR, dB (median)")
    axes.legend(fontsize="small")
    canvas.savefig(path)
    return None
