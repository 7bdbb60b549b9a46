"""python -m ptts_jax.train.plot: the curves of one or more runs, from their logs, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ptts_jax.store.paths import atomic_write
from ptts_jax.train.run import command, log

USAGE = "Plot training runs: python -m ptts_jax.train.plot --runs=FOLDER,FOLDER [--out=FILE.png]"
NAME = "losses.png"
NOT_LOSSES = ("step", "ms_per_step")


def plot(runs: Sequence[Path], out: Path) -> None:
    """One panel for each figure in the logs, a line for each run."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError("matplotlib is not installed: run pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    logs = {run: log.read(run) for run in runs}
    for run, entries in logs.items():
        if not entries:
            raise ValueError(f"{run}: no log.jsonl there; give the folder of a run")
    every = [entry for entries in logs.values() for entry in entries]
    names = [n for n in dict.fromkeys(key for e in every for key in e) if n not in NOT_LOSSES]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(4.5 * columns, 3 * lines), squeeze=False, layout="constrained"
    )
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel, name in zip(axes.flat, names, strict=False):
        for run, entries in logs.items():
            points = [(entry["step"], entry[name]) for entry in entries if name in entry]
            if points:
                panel.plot(*zip(*points, strict=True), label=str(run), linewidth=1)
        panel.set_title(name)
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as beside:
        figure.savefig(beside, dpi=110)
    pyplot.close(figure)


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.items("runs", None, "folders of runs", required=True)
    add.text("out", None, f"else {NAME} in the first run")


def run(options: flags.FlagValues) -> None:
    runs = [Path(name) for name in options.runs]
    out = Path(options.out) if options.out else runs[0] / NAME
    plot(runs, out)
    print(out)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
