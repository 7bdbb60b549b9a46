"""python -m ptts_jax.bench: how fast this is, beside the reference where that is installed.

Flags, files and messages; the measuring is bench_run's, the figures are bench_report's.
"""

import datetime
import importlib.util
import json
import re
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from ptts_jax import bench_machine, bench_models, bench_report, bench_run
from ptts_jax.bench_run import Plan, Sample
from ptts_jax.files import atomic_write

FLAGS = flags.FlagValues()
USAGE = """Measure the speed of this machine: python -m ptts_jax.bench [FLAGS]

Beside pocket-tts if it is installed: the engines take turns, each in a process of its own. Models
whose weights are not at hand get random ones, which run as fast. Everything takes about an hour or
two, one model with --quick some minutes.
"""
MODELS = ["english", *bench_models.SHORT_NAMES]
FILLS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)


def _define() -> None:
    def items(name: str, default: list[str], help: str) -> None:
        flags.DEFINE_list(name, default, help, flag_values=FLAGS)

    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=FLAGS)

    def whole(name: str, help: str) -> None:
        flags.DEFINE_integer(name, None, help, lower_bound=1, flag_values=FLAGS)

    items("models", MODELS, "released models (18m, 7m, 2m, 24l for short), or .yaml files")
    items("configs", list(bench_run.CONFIGS), f"of {', '.join(bench_run.CONFIGS)}")
    flags.DEFINE_enum("peer", "auto", ["auto", "none"], "pocket-tts, or nobody", flag_values=FLAGS)
    whole("runs", "rounds of everything; 5, or 2 with --quick")
    whole("threads", "cores for each engine; all that there are if not given")
    flags.DEFINE_bool("quick", False, "a shorter text, fewer rounds", flag_values=FLAGS)
    text("run_label", None, "a name for this run; the time if not given")
    text("compare_run", None, "the label of an earlier run to compare with")
    text("output", "runs/bench", "the folder that holds a folder per label")


_define()


def main(argv: list[str]) -> int:
    if "--help" in argv[1:] or "-h" in argv[1:]:
        print(USAGE + FLAGS.get_help())
        return 0
    try:
        words = FLAGS(argv)[1:]
        if words:
            raise ValueError(f"{words[0]}: only flags are understood (see --help)")
        return _run(argv[1:])
    except flags.Error as error:
        return _fail(f"{' '.join(str(error).split())} (see --help)")
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)


def _fail(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    now = datetime.datetime.now().astimezone()
    label = FLAGS.run_label if FLAGS.run_label is not None else now.strftime("%Y%m%d-%H%M%S")
    folder = Path(FLAGS.output) / label
    _check(label, folder)
    before = _earlier(FLAGS.compare_run)
    plan = _plan(folder)
    folder.mkdir(parents=True)
    run: dict[str, Any] = {
        "label": label,
        "date": now.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "ptts_jax.bench", *arguments]),
        "machine": bench_machine.machine(),
        "versions": bench_machine.versions(),
        "threads": plan.cores,
        "runs": plan.runs,
        "prompts": plan.prompts,
        "configs": {name: bench_run.CONFIGS[name] for name in plan.configs},
        "weights": {},
        "problems": [],
    }
    samples: list[Sample] = []
    interrupted = False
    try:
        for name in FLAGS.models:
            subject = bench_models.prepare(name)
            run["weights"][subject.name] = "random" if subject.random else "its own"
            for problem in bench_run.measure(subject, plan, samples.append):
                run["problems"].append(problem)
                print(f"warning: {problem}", file=sys.stderr)
            _save(folder, run, samples, before)
    except KeyboardInterrupt:
        interrupted = True
        run["problems"].append("interrupted: what had been measured until then")
    print(_save(folder, run, samples, before))
    rows = bench_report.summarize(samples)
    reason = bench_report.plot(rows, folder / "steps.png")
    print(reason or f"plot -> {folder / 'steps.png'}", file=sys.stderr)
    print(f"results -> {folder}", file=sys.stderr)
    return 130 if interrupted else int(bool(run["problems"]))


def _check(label: str, folder: Path) -> None:
    """Everything that can be known to be wrong before the work."""
    if not re.fullmatch(r"[\w.-]+", label) or label in (".", ".."):
        raise ValueError(f"--run_label {label}: use letters, digits, '.', '-' and '_'")
    if folder.exists():
        raise ValueError(f"--run_label {label}: {folder} exists; choose another, or remove it")
    for name in FLAGS.configs:
        if name not in bench_run.CONFIGS:
            known = ", ".join(bench_run.CONFIGS)
            raise ValueError(f"--configs: unknown configuration {name!r} (there are {known})")
    for flag in ("models", "configs"):
        named = FLAGS[flag].value
        if not named or len(set(named)) < len(named):
            raise ValueError(f"--{flag}: name at least one, and each once")
    for name in FLAGS.models:
        bench_models.check(name)


def _earlier(label: str | None) -> list[bench_report.Row] | None:
    """The rows of an earlier run."""
    if label is None:
        return None
    path = Path(FLAGS.output) / label / "results.json"
    try:
        samples = json.loads(path.read_text(encoding="utf-8"))["samples"]
        return bench_report.summarize([Sample(**sample) for sample in samples])
    except OSError:
        labels = sorted(p.parent.name for p in Path(FLAGS.output).glob("*/results.json"))
        known = f"there are {', '.join(labels)}" if labels else "there is none yet"
        raise ValueError(
            f"--compare_run {label}: no such run in {FLAGS.output} ({known})"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"--compare_run {label}: {path} is damaged; choose another run") from None


def _plan(folder: Path) -> Plan:
    quick = FLAGS.quick
    return Plan(
        configs=FLAGS.configs,
        peer=FLAGS.peer == "auto" and _peer_installed(),
        runs=FLAGS.runs or (2 if quick else 5),
        prompts=bench_models.QUICK_PROMPTS if quick else bench_models.PROMPTS,
        fills=(100, 1000) if quick else FILLS,
        repeats=5 if quick else 20,
        cores=bench_machine.cores(FLAGS.threads),
        audio=folder / "audio",
    )


def _peer_installed() -> bool:
    missing = [name for name in ("torch", "pocket_tts") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: measuring ptts_jax alone", file=sys.stderr)
    return not missing


def _save(
    folder: Path, run: dict[str, Any], samples: list[Sample], before: list[bench_report.Row] | None
) -> str:
    """Write all that is known by now; the table."""
    rows = bench_report.summarize(samples)
    parts = [bench_report.heading(run), bench_report.table(rows)]
    if before is not None:
        parts.append(bench_report.compare(rows, before, FLAGS.compare_run))
    table = "\n\n".join(parts) + "\n"
    results = run | {
        "summary": [asdict(row) for row in rows],
        "samples": [asdict(s) for s in samples],
    }
    for name, content in (("results.json", json.dumps(results, indent=1)), ("table.md", table)):
        with atomic_write(folder / name) as beside:
            beside.write_text(content, encoding="utf-8")
    return table


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt  # `kill` leaves what was measured too


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(sys.argv))
