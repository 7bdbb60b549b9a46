"""python -m ptts_jax.bench serve: many listeners at once, beside the reference's own server.

Flags, files and messages; measuring is measure.py's, tables are report.py's.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from absl import flags

from ptts_jax import command
from ptts_jax.bench import machine, models, peers, results
from ptts_jax.bench.process import Engine, Worker
from ptts_jax.bench.serve import measure, report, servers
from ptts_jax.bench.serve.servers import Server
from ptts_jax.bench.serve.soak import soak
from ptts_jax.bench.speed.measure import CONFIGS
from ptts_jax.messages import say

USAGE = """Measure the server under load: python -m ptts_jax.bench serve [FLAGS]

Clients on loopback, in the same machine's cores: live listeners, who play what they get, and greedy
ones. The reference's own `pocket-tts serve` takes turns with ours where it is installed. A model
whose weights are not at hand gets random ones, which run as fast. About a quarter of an hour.
"""
CLIENTS = [1, 2, 4, 8, 12, 16, 24]
PARTS = ("scaling", "rounds", "first_audio", "lone", "vanishing", "hold", "alike", "soak")
Run = dict[str, Any]


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("model", "english", "a released model (18m, 7m, 2m, 24l for short) or a .yaml file")
    add.choice("weights", "int8", ["int8", "f32"], "of both servers")
    add.items("clients", [str(count) for count in CLIENTS], "numbers of clients")
    add.number("seconds", None, "for each number of clients; 8, or 3 with --quick", 0)
    add.whole("rounds", None, "of eight greedy clients and a single stream in turns; 3, or 1", 1)
    add.number("hold", None, "seconds that live listeners must hear without a gap; 300, or 20", 0)
    add.whole(
        "requests", None, "random ones that must sound under load as they do alone; 200, or 20", 1
    )
    add.number("soak", None, "minutes of a mixed load with bad clients; 2, or 0.3", 0)
    add.items("parts", list(PARTS), f"of {', '.join(PARTS)}")
    add.choice("peer", "auto", ["auto", "none"], "pocket-tts, or nobody")
    add.whole("threads", None, "cores for servers and clients; all that there are if not given", 1)
    add.switch("quick", False, "shorter everywhere")
    add.text("output", "runs/serve", "a folder for the results")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, lambda options, _: _run(options, argv[1:]), argv)


def _run(options: flags.FlagValues, arguments: list[str]) -> int:
    counts = _counts(options.clients)
    command.check_known("parts", options.parts, PARTS)
    cores = machine.cores(options.threads)
    out, subject, about = models.begun("serve", options, arguments)
    run: Run = about | {"weights": options.weights, "cells": [], "problems": []}
    measuring = partial(_measure, options, counts, subject, cores, run)
    code = results.attempt(measuring, run["problems"])
    results.finish(out, "serve", run, report.document, report.plot)
    return code


def _has_peer() -> bool:
    """Whether the reference is installed; a line says why not."""
    _, absent = peers.installed(["pocket-tts"])
    for line in absent:
        say(line)
    return not absent


def _counts(given: list[str]) -> list[int]:
    try:
        counts = [int(count) for count in given]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ValueError(f"--clients {','.join(given)}: give whole numbers from 1 up")
    return counts


def _measure(
    options: flags.FlagValues,
    counts: list[int],
    subject: models.Subject,
    cores: Sequence[int],
    run: Run,
) -> None:
    quick, wanted = options.quick, options.parts

    def given(value: float | None, usual: float, quickly: float) -> float:
        return (quickly if quick else usual) if value is None else value

    seconds = given(options.seconds, 8, 3)
    rounds = int(given(options.rounds, 3, 1))
    with contextlib.ExitStack() as stack:
        sides = ["ours", "peer"] if options.peer == "auto" and _has_peer() else ["ours"]
        running: list[Server] = []
        for side in sides:
            say(f"starting {side if side == 'ours' else 'pocket-tts serve'}")
            start = servers.running(side, options.weights, subject, cores)
            running.append(stack.enter_context(start))
        ours = running[0]
        worker = _worker(stack, options.weights, subject, cores)
        if "rounds" in wanted:
            run["rounds"] = list(measure.side_by_side(running, worker, rounds, seconds, say))
        if "scaling" in wanted:
            for measured in measure.scaling(running, counts, seconds, say):
                run["cells"].append(asdict(measured))
        if "first_audio" in wanted:
            run["first_audio"] = measure.first_audio(ours, rounds, 3 * seconds, say)
        if "lone" in wanted:
            run["lone"] = measure.lone(ours, worker, int(given(None, 20, 4)), say)
        if "vanishing" in wanted:
            run["vanishing"] = measure.vanishing(ours, say)
        if "hold" in wanted:
            throughput = _throughput(run, ours, seconds)
            held = given(options.hold, 300, 20)
            run["hold"] = measure.hold(ours, throughput, held, say)
        if "soak" in wanted:
            minutes = given(options.soak, 2, 0.3)
            run["soak"] = asyncio.run(soak(ours, measure.TEXTS, minutes)).as_json()
    if "alike" in wanted:
        count = int(given(options.requests, 200, 20))
        run["alike"] = {}
        for weights in ("int8", "f32"):
            with contextlib.ExitStack() as stack:
                worker = _worker(stack, weights, subject, cores)
                found = run["alike"][weights] = worker.ask("alike", count=count)
                say(f"{weights}: {found['same']} of {count} requests the same under load")


def _worker(
    stack: contextlib.ExitStack, weights: str, subject: models.Subject, cores: Sequence[int]
) -> Worker:
    """The library in a process of its own."""
    worker = Worker(Engine("ours", weights), cores)
    stack.callback(worker.close)
    options = CONFIGS[weights]
    worker.ask("load", yaml=str(subject.yaml), voice=str(subject.voice), options=options)
    worker.ask("speak", text=measure.SHORT)
    return worker


def _throughput(run: Run, server: Server, seconds: float) -> float:
    """Of eight greedy clients, as it was measured just now or will be."""
    measured = [turn["ours"] for turn in run.get("rounds", ())]
    if not measured:
        measured = [measure.cell(server, measure.CROWD, False, seconds).audio]
    return sum(measured) / len(measured)
