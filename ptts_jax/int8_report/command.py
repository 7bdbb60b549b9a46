"""python -m int8 report: what quantising does to a model, policy by policy.

Flags, files and messages; measuring is measure.py's, tables are tables.py's.
"""

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptts_jax import startup
from ptts_jax.bench import machine
from ptts_jax.files import atomic_write
from ptts_jax.int8_report import codec, codec_speed, codec_tables, measure, tables
from ptts_jax.int8_report.measure import Subject, say
from ptts_jax.quantization import Int8

GROUPS = ("attention", "ffn", "attention,ffn", "flow", "codec", "all")
POLICIES = (*GROUPS, *(f"{groups}:4:32" for groups in GROUPS))


def main(arguments: Sequence[str]) -> int:
    """The command. Users' mistakes are ValueError or OSError, for the caller to print."""
    options = _parser().parse_args(arguments)
    if options.codec_experiment and options.policies:
        raise ValueError("--policies: not of use with --codec_experiment; give one of them")
    specs = {name: _policy(name) for name in options.policies or POLICIES}
    out = _folder(options.out)
    startup.use_compilation_cache()
    subject = measure.prepare(
        options.model, options.texts, options.voice, options.seed, options.eos_threshold
    )
    run = _about(subject, arguments)
    code = 0
    try:
        if options.codec_experiment:
            _experiment(subject, run)
        else:
            _report(subject, specs, run)
    except KeyboardInterrupt:
        code = 130
        say("interrupted: what follows is what was measured until then")
    _write(run, out)
    return code


def _report(subject: Subject, specs: dict[str, Int8], run: dict[str, Any]) -> None:
    """Fill in the results as they come."""
    run |= {"kind": "report", "layers": [], "policies": []}
    say("single layers ...")
    run["layers"] = [asdict(error) for error in measure.layers(subject, specs.values())]
    for result in measure.policies(subject, specs):
        run["policies"].append(result)


def _experiment(subject: Subject, run: dict[str, Any]) -> None:
    run |= {"kind": "codec", "block": codec_speed.BLOCK, "qualities": [], "speeds": []}
    params, config = subject.tts.params, subject.tts.config
    told, latents = codec.spoken(subject)
    for result in codec.qualities(params, config, told, latents):
        run["qualities"].append(result)
    say("timing ...")
    run["speeds"] = codec_speed.speeds(params, config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m int8 report",
        description="What quantising does to a model: the error of weights, layers, latents, stops "
        "and audio against the float model. Prints Markdown; --out keeps it, with JSON and a plot.",
    )
    parser.add_argument(
        "model", help="a released model's name, a YAML path or URL, or a converted file"
    )
    parser.add_argument(
        "--policies",
        nargs="+",
        metavar="GROUPS[:BITS[:GROUP_SIZE]]",
        help=f"what to try (default: {' '.join(POLICIES)})",
    )
    parser.add_argument(
        "--codec_experiment",
        action="store_true",
        help="instead: the codec's decoder in less precision, part by part and by several methods, "
        "and its speed",
    )
    parser.add_argument("--texts", help="a file of texts, one a line (default: 16 English ones)")
    parser.add_argument("--voice", help="as of speak; default: the model's, or a synthetic hum")
    parser.add_argument("--eos_threshold", type=float, help="as of speak; default: the model's")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    parser.add_argument(
        "--out", help="a folder for the tables (.md), everything (.json) and a plot"
    )
    return parser


def _policy(name: str) -> Int8:
    groups, *numbers = name.split(":")
    try:
        bits, size = [*map(int, numbers), *[8, None][len(numbers) :]]
    except ValueError:
        raise ValueError(
            f"--policies {name}: give GROUPS, GROUPS:BITS or GROUPS:BITS:GROUP_SIZE, as "
            "attention,ffn:4:32"
        ) from None
    try:
        return Int8(tuple(groups.split(",")), bits, size)
    except ValueError as error:
        raise ValueError(f"--policies {name}: {error}") from None


def _folder(out: str | None) -> Path | None:
    """Made before the work, so that its result has a place."""
    if out is None:
        return None
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be a folder ({error.strerror})") from None
    if not os.access(out, os.W_OK):
        raise ValueError(f"--out {out}: cannot be written to; choose another folder")
    return Path(out)


def _about(subject: Subject, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", "-m", "int8", "report", *arguments]),
        "model": subject.tts.name,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "sampling": asdict(subject.setup.sampling),
        "texts": subject.texts,
        "megabytes": measure.megabytes(subject.tts.params),
    }


def _write(run: dict[str, Any], out: Path | None) -> None:
    name, writer = {
        "report": ("report", tables),
        "codec": ("codec", codec_tables),
    }[run["kind"]]
    table = writer.document(run)
    print(table)
    if out is None:
        return
    for suffix, content in ((".json", json.dumps(run, indent=1)), (".md", table)):
        with atomic_write(out / (name + suffix)) as beside:
            beside.write_text(content + "\n", encoding="utf-8")
    if problem := writer.plot(run, out / f"{name}.png"):
        say(problem)
    say(f"report -> {out}")
