"""python -m int8 report: what quantising does to a model, policy by policy.

Flags, files and messages; measuring is done by policies.py, tables by tables.py.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from ptts_jax import command
from ptts_jax.bench import results
from ptts_jax.bench.int8 import calibration, policies, subject, tables
from ptts_jax.bench.int8.layers import Policy
from ptts_jax.bench.int8.subject import Subject
from ptts_jax.engine import startup
from ptts_jax.messages import say
from ptts_jax.store.quantization import Int8

GROUPS = ("attention", "ffn", "attention,ffn", "flow", "codec", "all")
CALIBRATED = ":calibrated"
POLICIES = (*GROUPS, *(f"{groups}:4:32" for groups in GROUPS), f"attention,ffn:4:32{CALIBRATED}")

USAGE = f"""Say what quantising does to a model: python -m int8 report [FLAGS] MODEL [POLICY ...]

MODEL is a released model's name, a YAML path or URL, or a converted file. A POLICY is
GROUPS[:BITS[:GROUP_SIZE]], as attention,ffn:4:32, and may end with {CALIBRATED}: rounded with a
view to what the language model's weights are multiplied with. Without any, these are tried:
{" ".join(POLICIES)}
Measured are the errors of weights, layers, latents, stops and audio against the float model.
Prints Markdown; --out keeps it, with JSON and a plot.
"""


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, partial(_run, argv[1:]), argv, words=None)


def _run(arguments: Sequence[str], options: flags.FlagValues, words: list[str]) -> int:
    if not words:
        raise flags.Error("no model is named")
    name, *further = words
    chosen = [*options.policies, *further]
    specs = {name: _spec(name.removesuffix(CALIBRATED)) for name in chosen or POLICIES}
    out = None if options.out is None else results.folder("out", options.out)
    startup.use_compilation_cache()
    model = subject.prepare(name, options.texts, options.voice, options.seed, options.eos_threshold)
    run = _about(model, arguments)
    code = 0
    try:
        _measure(model, specs, run)
    except KeyboardInterrupt:
        code = 130
        say("interrupted: what follows is what was measured until then")
    _write(run, out)
    return code


def _measure(model: Subject, specs: dict[str, Int8], run: dict[str, Any]) -> None:
    """Fill in the results as they come."""
    run |= {"layers": [], "policies": []}
    calibrated = [name for name in specs if name.endswith(CALIBRATED)]
    grams = calibration.grams(model) if calibrated else None
    choices = {name: Policy(spec, grams if name in calibrated else None)
               for name, spec in specs.items()}  # fmt: skip
    say("single layers ...")
    run["layers"] = policies.layers(model, choices.values())
    for result in policies.policies(model, choices):
        run["policies"].append(result)


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.texts("policies", [], "a policy to try; may be given more than once")
    add.text("texts", None, "a file of texts, one a line; 16 English ones if not given")
    add.text("voice", None, "as of speak; the model's, or a synthetic hum, if not given")
    add.number("eos_threshold", None, "as of speak; the model's if not given")
    add.whole("seed", 0, "of the noise")
    add.text("out", None, "a folder for the tables (.md), everything (.json) and a plot")


def _spec(name: str) -> Int8:
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


def _about(model: Subject, arguments: Sequence[str]) -> dict[str, Any]:
    return results.about("int8 report", arguments) | {
        "model": model.tts.name,
        "sampling": asdict(model.setup.jobs[0].sampling),
        "texts": model.texts,
        "megabytes": policies.megabytes(model.tts.params),
    }


def _write(run: dict[str, Any], out: Path | None) -> None:
    if out is None:
        print(tables.document(run))
    else:
        results.finish(out, "report", run, tables.document, tables.plot)
