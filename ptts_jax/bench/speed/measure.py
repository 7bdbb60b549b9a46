"""The measurements: engines in processes of their own, taking turns, one at work at a time.

What is measured becomes a flat sequence of samples in the order of time, whatever happens later:
all tables are made of it elsewhere. Knows no statistics.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptts_jax.bench import isa
from ptts_jax.bench.models import Subject
from ptts_jax.bench.peers import KNOWN
from ptts_jax.bench.process import BenchError, Engine, Worker, launch, module, run, script
from ptts_jax.messages import say

CONFIGS: dict[str, dict[str, Any]] = {  # options of ptts_jax.load
    "f32": {},
    "int8": {"int8": "attention,ffn"},
    "int8_all": {"int8": "all"},
    "int4": {"int8": "attention,ffn", "bits": 4, "group_size": 32},
}
PEER_CONFIG = {config: "int8" if options else "f32" for config, options in CONFIGS.items()}
COLD_PROMPT = "short"


@dataclass(frozen=True)
class Sample:
    """One measured number."""

    model: str
    side: str
    config: str
    figure: str
    case: str
    round: int  # from 1; what has the same round was measured side by side
    value: float
    isa: str = ""  # the instruction set that the engine was held to, if any


@dataclass(frozen=True)
class Plan:
    configs: Sequence[str]
    peers: Sequence[str]  # their names
    runs: int
    prompts: dict[str, str]
    fills: Sequence[int]  # slots filled when a step is timed
    repeats: int  # of each stage
    cores: Sequence[int]  # empty: wherever the system puts us
    audio: Path  # folder
    isas: Sequence[str] = ("",)  # instruction sets, one after the other; "": all that there are


Record = Callable[[Sample], None]


def families(plan: Plan) -> list[list[Engine]]:
    """Engines to measure together: ours of all configurations whose peers have the same weights,
    and these, all held to one instruction set."""
    found = []
    for held in plan.isas:
        for kind in ("f32", "int8"):
            configs = [config for config in plan.configs if PEER_CONFIG[config] == kind]
            own = [Engine("ours", config, held) for config in configs]
            peers = [Engine(name, kind, held) for name in plan.peers if own]
            found.append(own[:1] + peers + own[1:])
    return [family for family in found if family]


def limits(engine: Engine) -> Mapping[str, str]:
    """Variables that hold an engine to its instruction set."""
    if not engine.isa:
        return {}
    return isa.ours(engine.isa) if engine.side == "ours" else KNOWN[engine.side].limits(engine.isa)


def measure(subject: Subject, plan: Plan, record: Record) -> Iterator[str]:
    """Measure one model in all configurations; yields what went wrong, a line each."""
    for family in families(plan):
        with contextlib.ExitStack() as stack:
            workers: dict[Engine, Worker] = {}
            for engine in family:
                worker = Worker(engine, plan.cores, limits(engine))
                stack.callback(worker.close)
                try:
                    _load(worker, engine, subject)
                    workers[engine] = worker
                except BenchError as error:
                    yield f"{subject.name}: {error}"
            yield from _speak_in_turns(subject, plan, workers, record)
            yield from _stages(subject, plan, workers, record)
        yield from _cold(subject, plan, list(workers), record)


def _load(worker: Worker, engine: Engine, subject: Subject) -> None:
    say(f"{subject.name}: loading {engine.label}")
    if engine.side == "ours":
        files = {"yaml": str(subject.yaml), "voice": str(subject.voice)}
        worker.ask("load", **files, options=CONFIGS[engine.config])
    else:
        worker.ask("load", **_options(subject, engine))


def _options(subject: Subject, engine: Engine) -> dict[str, Any]:
    """What a peer is made with."""
    return KNOWN[engine.side].options(subject, engine.config == "int8")


def _speak_in_turns(
    subject: Subject, plan: Plan, workers: dict[Engine, Worker], record: Record
) -> Iterator[str]:
    """Every text by every engine in turn, round after round. Round 0 warms up, and is kept to be
    heard. An engine that fails is out."""
    for turn in range(plan.runs + 1):
        for prompt, text in plan.prompts.items():
            lengths, shown = {}, []
            for engine, worker in list(workers.items()):
                parts = subject.name, engine.side, engine.config, engine.isa, prompt
                audio = "-".join(filter(None, parts)) + ".wav"
                kept = {} if turn else {"audio": str(plan.audio / audio)}
                try:
                    made = worker.ask("speak", text=text, **kept)
                    batched = engine.side == "ours" and prompt == "long"
                    batch = worker.ask("batch", text=text) if batched else None
                except BenchError as error:
                    del workers[engine]
                    yield f"{subject.name}: {error}"
                    continue
                lengths[engine.label] = made["samples"]
                values = _speed(made)
                if batch is not None:
                    lengths[f"{engine.label} batch"] = batch["samples"]
                    values["batch"] = batch["samples"] / made["rate"] / batch["seconds"]
                shown.append(f"{engine.label} {values['rtf']:.1f}x")
                if turn:
                    for figure, value in values.items():
                        record(_sample(subject, engine, figure, prompt, turn, value))
            state = f"round {turn} of {plan.runs}" if turn else "warm-up"
            say(f"{subject.name}: {state}, {prompt}: {', '.join(shown)}")
            if turn == 0 and len(set(lengths.values())) > 1:
                counts = ", ".join(f"{label} {count}" for label, count in lengths.items())
                yield f"{subject.name}: {prompt}: not the same number of samples ({counts})"


def _speed(made: dict[str, Any]) -> dict[str, float]:
    seconds = made["samples"] / made["rate"]
    rtf = seconds / made["seconds"]
    return {"rtf": rtf, "first_audio": 1000 * made["first"], "spoken": seconds}


def _stages(
    subject: Subject, plan: Plan, workers: dict[Engine, Worker], record: Record
) -> Iterator[str]:
    for engine, worker in workers.items():
        if engine.side != "ours":
            continue
        say(f"{subject.name}: stages of {engine.label}")
        try:
            answer = worker.ask("stages", fills=list(plan.fills), repeats=plan.repeats)
        except BenchError as error:
            yield f"{subject.name}: {error}"
            continue
        for figure, cases in answer.items():
            for case, values in cases.items():
                for turn, value in enumerate(values, 1):
                    record(_sample(subject, engine, figure, case, turn, value))


def _cold(subject: Subject, plan: Plan, engines: Sequence[Engine], record: Record) -> Iterator[str]:
    """Fresh processes in turn, from their start to their end with one sentence in a file. What
    they leave in caches is warm after round 0."""
    with tempfile.TemporaryDirectory(prefix="ptts-bench-") as folder:
        output, commands = Path(folder) / "out.wav", {}
        for engine in engines:
            try:
                file = _file(subject, engine, Path(folder))
            except BenchError as error:
                yield f"{subject.name}: {error}"
                continue
            record(_sample(subject, engine, "file_size", "", 1, file.stat().st_size / 1e6))
            commands[engine] = cold_command(
                subject, engine, file, output, plan.prompts[COLD_PROMPT]
            )
        for turn in range(plan.runs + 1):
            for engine, command in list(commands.items()):
                try:
                    took = launch(command, plan.cores, engine.label, limits(engine))
                except BenchError as error:
                    del commands[engine]
                    yield f"{subject.name}: {error}"
                    continue
                if turn:
                    record(_sample(subject, engine, "cold_start", "", turn, took["seconds"]))
                    peak = took["peak_bytes"] / 1e6
                    record(_sample(subject, engine, "peak_memory", "", turn, peak))
            say(f"{subject.name}: cold start, round {turn} of {plan.runs}")


def _file(subject: Subject, engine: Engine, folder: Path) -> Path:
    """The weights that an engine starts from: as published, or our pre-quantised file."""
    if engine.side != "ours":
        return KNOWN[engine.side].weights(subject)
    options = CONFIGS[engine.config]
    if not options:
        return subject.weights
    target = folder / f"{engine.config}.safetensors"
    names = {"int8": "groups"}  # flags are called as the options of `load`, but for this one
    flags = [f"--{names.get(name, name)}={value}" for name, value in options.items()]
    run([*module("int8"), str(subject.yaml), str(target), *flags], engine.label)
    return target


def cold_command(
    subject: Subject, engine: Engine, file: Path, output: Path, text: str
) -> list[str]:
    """What somebody would type to have one sentence in a file."""
    if engine.side != "ours":
        options = json.dumps(_options(subject, engine))
        return [*script("speed/worker.py"), "once", engine.side, options, str(output), text]
    model = subject.yaml if file == subject.weights else file
    flags = [f"--model={model}", f"--voice={subject.voice}", f"--output={output}"]
    flags += ["--quiet", "--seed=0", "--eos_threshold=1e9", "--nocheck"]
    return [*module("ptts_jax.speak"), *flags, text]


def _sample(
    subject: Subject, engine: Engine, figure: str, case: str, turn: int, value: float
) -> Sample:
    key = subject.name, engine.side, engine.config, figure, case
    return Sample(*key, turn, value, engine.isa)
