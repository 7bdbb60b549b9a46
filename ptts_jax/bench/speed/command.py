"""python -m ptts_jax.bench: how fast this is, beside other engines where they are installed.

Flags, files and messages; the measuring is measure.py's, the figures are report.py's.
"""

import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from absl import flags

from ptts_jax import command
from ptts_jax.bench import isa, machine, models, peers, results
from ptts_jax.bench.speed import measure, report
from ptts_jax.bench.speed.measure import Plan, Sample
from ptts_jax.messages import say

USAGE = """Measure the speed of this machine: python -m ptts_jax.bench [FLAGS]

Beside those of pocket-tts and ptts that are installed: the engines take turns, each in a process of
its own. Models whose weights are not at hand get random ones, which run as fast. Everything takes
about an hour or two, one model with --quick some minutes.
"""
MODELS = ["english", *models.SHORT_NAMES]
PEERS = ["pocket-tts", "ptts"]
FILLS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    about = "released models (18m, 7m, 2m, 24l for short), bundled, or .yaml files"
    add.items("models", MODELS, about)
    add.items("configs", list(measure.CONFIGS), f"of {', '.join(measure.CONFIGS)}")
    add.items("peer", PEERS, f"of {', '.join(peers.KNOWN)}; or none")
    add.items("isa", [], f"hold all engines to each in turn, of {', '.join(isa.NEEDS)}")
    add.whole("runs", None, "rounds of everything; 5, or 2 with --quick", 1)
    add.whole("threads", None, "cores for each engine; all that there are if not given", 1)
    add.switch("quick", False, "a shorter text, fewer rounds")
    add.text("run_label", None, "a name for this run; the time if not given")
    add.text("compare_run", None, "the label of an earlier run to compare with")
    add.text("output", "runs/bench", "the folder that holds a folder per label")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, lambda options, _: _run(options, argv[1:]), argv)


def _run(options: flags.FlagValues, arguments: list[str]) -> int:
    given = options.run_label
    label = time.strftime("%Y%m%d-%H%M%S") if given is None else given
    folder = Path(options.output) / label
    _check(options, label, folder)
    earlier = _earlier(options)
    plan = _plan(options, folder / "audio")
    folder.mkdir(parents=True)
    run: dict[str, Any] = results.about("ptts_jax.bench", arguments) | {
        "label": label,
        "threads": plan.cores,
        "runs": plan.runs,
        "prompts": plan.prompts,
        "configs": {name: measure.CONFIGS[name] for name in plan.configs},
        "isas": plan.isas,
        "weights": {},
        "left_out": [],
        "problems": [],
    }
    here, absent = peers.installed(plan.peers)
    _leave_out(run, absent)
    samples: list[Sample] = []
    interrupted = False
    try:
        for name in options.models:
            subject = models.prepare(name)
            run["weights"][subject.name] = "random" if subject.random else "its own"
            able, unable = peers.able(here, subject)
            _leave_out(run, unable)
            for problem in measure.measure(subject, replace(plan, peers=able), samples.append):
                run["problems"].append(problem)
                say(f"warning: {problem}")
            _save(folder, run, samples, earlier)
    except KeyboardInterrupt:
        interrupted = True
        run["problems"].append("interrupted: this is what had been measured until then")
    print(_save(folder, run, samples, earlier))
    problem = report.plot(report.summarize(samples), folder / "steps.png")
    say(problem or f"plot -> {folder / 'steps.png'}")
    say(f"results -> {folder}")
    return 130 if interrupted else int(bool(run["problems"]))


def _leave_out(run: dict[str, Any], lines: list[str]) -> None:
    run["left_out"] += lines
    for line in lines:
        say(line)


def _check(options: flags.FlagValues, label: str, folder: Path) -> None:
    """Everything that can be known to be wrong before the work."""
    if not re.fullmatch(r"\w[\w.-]*", label):
        raise ValueError(f"--run_label {label}: use letters, digits, '.', '-' and '_'")
    if folder.exists():
        raise ValueError(f"--run_label {label}: {folder} exists; choose another, or remove it")
    for flag in ("models", "configs", "peer"):
        named = options[flag].value
        if not named or len(set(named)) < len(named):
            raise ValueError(f"--{flag}: name at least one, and each once")
    command.check_known("configs", options.configs, measure.CONFIGS)
    if options.peer != ["none"]:
        command.check_known("peer", options.peer, [*peers.KNOWN, "none alone"])
    isa.check("isa", options.isa, machine.machine()["flags"])
    for name in options.models:
        models.check("models", name)


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
        peers=[] if options.peer == ["none"] else options.peer,
        runs=options.runs or (2 if quick else 5),
        prompts=models.QUICK_PROMPTS if quick else models.PROMPTS,
        fills=(100, 1000) if quick else FILLS,
        repeats=5 if quick else 20,
        cores=machine.cores(options.threads),
        audio=audio,
        isas=options.isa or [""],
    )


def _save(
    folder: Path, run: dict[str, Any], samples: list[Sample], earlier: dict[str, Any] | None
) -> str:
    """Write all that is known by now; the table."""
    rows = report.summarize(samples)
    parts = [report.heading(run), report.table(rows)]
    if earlier is not None:
        parts.append(report.compare(rows, run, earlier))
    table = "\n\n".join(parts) + "\n"
    everything = run | {
        "summary": [row.plain for row in rows],
        "samples": [asdict(s) for s in samples],
    }
    results.write(folder / "results.json", json.dumps(everything, indent=1))
    results.write(folder / "table.md", table)
    return table
