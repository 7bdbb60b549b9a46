"""python -m ptts_jax.bench scan: caches and drivers of the step, one by one.

Flags, files and messages; measuring is measure.py's, tables are report.py's.
"""

import os
import sys
from dataclasses import asdict
from typing import Any

from absl import flags

import ptts_jax
from ptts_jax import command
from ptts_jax.bench import models, results
from ptts_jax.bench.int8.speech import Setup
from ptts_jax.bench.int8.subject import TEXTS
from ptts_jax.bench.scan import drivers, measure, report
from ptts_jax.bench.scan.measure import Plan
from ptts_jax.engine import request
from ptts_jax.messages import say
from ptts_jax.model import caches

WEIGHTS = {"float": False, "int8": True}
FILLS = (100, 500, 1000, 2000, 4000)
QUICK_FILLS = (100, 1000)
USAGE = """Compare caches and drivers of the step: python -m ptts_jax.bench scan [FLAGS]

Every cache with every way to drive the step: milliseconds against the entries in the cache,
memory, compile time, and how far the speech is from that with the full cache. A cache of your own
takes part as --cache module:Class; ptts_jax/model/caches/protocol.py says what it must offer.
"""


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("model", "english", "a released model (18m, 7m, 2m, 24l for short) or a .yaml file")
    add.items("caches", list(caches.NAMES), f"of {', '.join(caches.NAMES)}")
    about = "a cache of your own besides, as module:Class; may be given more than once"
    add.texts("cache", [], about)
    add.items("drivers", list(drivers.NAMES), f"of {', '.join(drivers.NAMES)}")
    add.items("weights", list(WEIGHTS), f"of {', '.join(WEIGHTS)}")
    about = f"entries in the cache when steps are timed; {FILLS}, or {QUICK_FILLS} with --quick"
    add.items("fills", None, about)
    add.whole("frames", 16, "of a block", 1)
    add.whole("repeats", None, "blocks at each filling; 5, or 2 with --quick", 1)
    add.whole("texts", None, f"that are compared; {len(TEXTS)}, or 2 with --quick", 1)
    add.switch("quick", False, "two fillings, fewer repeats and texts")
    add.text("output", "runs/scan", "a folder for the results")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, lambda options, _: _run(options, argv[1:]), argv)


def _run(options: flags.FlagValues, arguments: list[str]) -> int:
    kinds = _caches(options.caches, options.cache)
    plan = _plan(options)
    command.check_known("weights", options.weights, WEIGHTS)
    out, subject, about = models.begun("scan", options, arguments)
    run = about | {"fills": plan.fills, "weights": []}
    code = 0
    try:
        for name in options.weights:
            measured: dict[str, Any] = {"name": name, "timings": [], "agreements": {}}
            run["weights"].append(measured)
            tts = ptts_jax.load(subject.yaml, int8=WEIGHTS[name])
            for timing in measure.timings(tts.params, tts.config, kinds, plan):
                measured["timings"].append(asdict(timing))
                steps = ", ".join(f"{ms:.2f}" for ms in timing.milliseconds)
                say(f"{name} weights, {timing.cache} cache, {timing.driver}: {steps} ms")
            setup = _setup(tts, subject, options.texts or (2 if options.quick else len(TEXTS)))
            for cache, texts in measure.agreements(tts.params, setup, kinds):
                measured["agreements"][cache] = texts
                say(f"{name} weights, {cache} cache: {len(texts)} texts compared")
    except KeyboardInterrupt:
        code = 130
        say("interrupted: what follows is what was measured until then")
    results.finish(out, "scan", run, report.document, report.plot)
    return code


def _caches(names: list[str], own: list[str]) -> dict[str, Any]:
    """Name -> what makes the caches."""
    if own:
        sys.path.insert(0, os.getcwd())  # as for any module that python -m runs
    try:
        kinds = {name: caches.find(name) for name in [*names, *own]}
    except ValueError as error:
        raise ValueError(f"--cache: {error}") from None
    if not kinds:
        raise ValueError("--caches: name at least one")
    return kinds


def _plan(options: flags.FlagValues) -> Plan:
    quick = options.quick
    try:
        fills = sorted({int(fill) for fill in options.fills or (QUICK_FILLS if quick else FILLS)})
    except ValueError:
        raise ValueError(f"--fills {','.join(options.fills)}: give whole numbers") from None
    if fills[0] < 1:
        raise ValueError("--fills: give numbers from 1 up")
    command.check_known("drivers", options.drivers, drivers.NAMES)
    if options.frames % min(options.frames, drivers.UNROLLED):
        raise ValueError(f"--frames {options.frames}: give a multiple of {drivers.UNROLLED}")
    return Plan(options.drivers, fills, options.frames, options.repeats or (2 if quick else 5))


def _setup(tts: Any, subject: models.Subject, count: int) -> Setup:
    """What is spoken to compare: each text with noise of its own."""
    jobs = [
        job
        for seed, text in enumerate(TEXTS[:count])
        for job in request.jobs(text, tts.tokenizer, tts.config, request.Options(seed=seed))
    ]
    return Setup(tts.config, tts.voice(subject.voice), tuple(jobs))
