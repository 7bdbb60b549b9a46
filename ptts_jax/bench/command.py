"""python -m ptts_jax.bench: how fast this is, beside the reference where that is installed.

Flags, files and messages; the measuring is measure.py's, the figures are report.py's.
"""

import datetime
import importlib.util
import json
import re
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from ptts_jax.bench import machine, measure, models, report
from ptts_jax.bench.measure import Plan, Sample
from ptts_jax.files import atomic_write

USAGE = """Measure the speed of this machine: python -m ptts_jax.bench [FLAGS]

Beside pocket-tts if it is installed: the engines take turns, each in a process of its own. Models
whose weights are not at hand get random ones, which run as fast. Everything takes about an hour or
two, one model with --quick some minutes.
"""
MODELS = ["english", *models.SHORT_NAMES]
FILLS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)


def _flags() -> flags.FlagValues:
    """The flags, with their defaults; new ones each time, since parsing changes them."""
    values = flags.FlagValues()

    def items(name: str, default: list[str], help: str) -> None:
        flags.DEFINE_list(name, default, help, flag_values=values)

    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=values)

    def whole(name: str, help: str) -> None:
        flags.DEFINE_integer(name, None, help, lower_bound=1, flag_values=values)

    items("models", MODELS, "released models (18m, 7m, 2m, 24l for short), or .yaml files")
    items("configs", list(measure.CONFIGS), f"of {', '.join(measure.CONFIGS)}")
    flags.DEFINE_enum("peer", "auto", ["auto", "none"], "pocket-tts, or nobody", flag_values=values)
    whole("runs", "rounds of everything; 5, or 2 with --quick")
    whole("threads", "cores for each engine; all that there are if not given")
    flags.DEFINE_bool("quick", False, "a shorter text, fewer rounds", flag_values=values)
    text("run_label", None, "a name for this run; the time if not given")
    text("compare_run", None, "the label of an earlier run to compare with")
    text("output", "runs/bench", "the folder that holds a folder per label")
    return values


def main(argv: list[str]) -> int:
    options = _flags()
    if "--help" in argv[1:] or "-h" in argv[1:]:
        print(USAGE + options.get_help())
        return 0
    try:
        if words := options(argv)[1:]:
            raise ValueError(f"{words[0]}: only flags are understood (see --help)")
        return _run(options, argv[1:])
    except flags.Error as error:
        return _fail(f"{' '.join(str(error).split())} (see --help)")
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)


def _fail(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _run(options: flags.FlagValues, arguments: list[str]) -> int:
    now = datetime.datetime.now().astimezone()
    given = options.run_label
    label = now.strftime("%Y%m%d-%H%M%S") if given is None else given
    folder = Path(options.output) / label
    _check(options, label, folder)
    earlier = _earlier(options)
    plan = _plan(options, folder / "audio")
    folder.mkdir(parents=True)
    run: dict[str, Any] = {
        "label": label,
        "date": now.isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "ptts_jax.bench", *arguments]),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "threads": plan.cores,
        "runs": plan.runs,
        "prompts": plan.prompts,
        "configs": {name: measure.CONFIGS[name] for name in plan.configs},
        "weights": {},
        "problems": [],
    }
    samples: list[Sample] = []
    interrupted = False
    try:
        for name in options.models:
            subject = models.prepare(name)
            run["weights"][subject.name] = "random" if subject.random else "its own"
            for problem in measure.measure(subject, plan, samples.append):
                run["problems"].append(problem)
                print(f"warning: {problem}", file=sys.stderr)
            _save(folder, run, samples, earlier)
    except KeyboardInterrupt:
        interrupted = True
        run["problems"].append("interrupted: this is what had been measured until then")
    print(_save(folder, run, samples, earlier))
    problem = report.plot(report.summarize(samples), folder / "steps.png")
    print(problem or f"plot -> {folder / 'steps.png'}", file=sys.stderr)
    print(f"results -> {folder}", file=sys.stderr)
    return 130 if interrupted else int(bool(run["problems"]))


def _check(options: flags.FlagValues, label: str, folder: Path) -> None:
    """Everything that can be known to be wrong before the work."""
    if not re.fullmatch(r"\w[\w.-]*", label):
        raise ValueError(f"--run_label {label}: use letters, digits, '.', '-' and '_'")
    if folder.exists():
        raise ValueError(f"--run_label {label}: {folder} exists; choose another, or remove it")
    for flag in ("models", "configs"):
        named = options[flag].value
        if not named or len(set(named)) < len(named):
            raise ValueError(f"--{flag}: name at least one, and each once")
    for name in options.configs:
        if name not in measure.CONFIGS:
            known = ", ".join(measure.CONFIGS)
            raise ValueError(f"--configs: unknown configuration {name!r} (there are {known})")
    for name in options.models:
        models.check(name)


def _earlier(options: flags.FlagValues) -> dict[str, Any] | None:
    """The run to compare with."""
    label, output = options.compare_run, Path(options.output)
    if label is None:
        return None
    path = output / label / "results.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        report.compare([], run, run)  # whether it can be read
        return run
    except OSError:
        labels = sorted(path.parent.name for path in output.glob("*/results.json"))
        known = f"there are {', '.join(labels)}" if labels else "there is none yet"
        raise ValueError(f"--compare_run {label}: no such run in {output} ({known})") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"--compare_run {label}: {path} is damaged; choose another") from None


def _plan(options: flags.FlagValues, audio: Path) -> Plan:
    quick = options.quick
    return Plan(
        configs=options.configs,
        peer=options.peer == "auto" and _peer_installed(),
        runs=options.runs or (2 if quick else 5),
        prompts=models.QUICK_PROMPTS if quick else models.PROMPTS,
        fills=(100, 1000) if quick else FILLS,
        repeats=5 if quick else 20,
        cores=machine.cores(options.threads),
        audio=audio,
    )


def _peer_installed() -> bool:
    missing = [name for name in ("torch", "pocket_tts") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: measuring ptts_jax alone", file=sys.stderr)
    return not missing


def _save(
    folder: Path, run: dict[str, Any], samples: list[Sample], earlier: dict[str, Any] | None
) -> str:
    """Write all that is known by now; the table."""
    rows = report.summarize(samples)
    parts = [report.heading(run), report.table(rows)]
    if earlier is not None:
        parts.append(report.compare(rows, run, earlier))
    table = "\n\n".join(parts) + "\n"
    results = run | {
        "summary": [asdict(row) for row in rows],
        "samples": [asdict(s) for s in samples],
    }
    for name, content in (("results.json", json.dumps(results, indent=1)), ("table.md", table)):
        with atomic_write(folder / name) as beside:
            beside.write_text(content, encoding="utf-8")
    return table
