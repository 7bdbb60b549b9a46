"""The measurements: so many clients at both servers in turns, and the figures that have a bar.

What is measured becomes plain records in the order of time; tables are report.py's.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptts_jax.bench import models
from ptts_jax.bench.process import BenchError, Worker
from ptts_jax.bench.serve import clients
from ptts_jax.bench.serve.clients import Heard
from ptts_jax.bench.serve.servers import Server

SETTLE = 1.5  # seconds that greedy clients run before they are counted
CROWD = 8  # greedy clients of the figures that have a bar
SHARES = (0.8, 0.6)  # of the throughput, as live listeners, until one share has no gap
VANISHING = 20  # clients
PATIENCE = 60.0  # seconds for what takes a moment

TEXTS = [
    *models.LONG,
    *(" ".join(pair) for pair in zip(models.LONG, models.LONG[1:], strict=False)),
]
SHORT = models.PROMPTS["short"]


@dataclass(frozen=True)
class Cell:
    """So many clients of one kind at one server, for some seconds."""

    side: str
    clients: int
    live: bool
    audio: float  # seconds of audio for each second
    first_p50: float | None  # milliseconds; None where nobody heard anything
    first_p95: float | None
    firsts: int  # requests that sounded
    gaps: int
    silence: float  # seconds, of all gaps together
    refused: int
    memory: float | None  # megabytes of the server


Say = Callable[[str], None]


def cell(
    server: Server, count: int, live: bool, seconds: float, texts: Sequence[str] = TEXTS
) -> Cell:
    """One measurement; the server is idle before and after it."""
    settle = 0.0 if live else SETTLE
    heard = asyncio.run(clients.crowd(server, texts, count, live, seconds, settle))
    memory = server.memory
    server.rest()
    return _cell(server, count, live, seconds, heard, memory)


def _cell(
    server: Server, count: int, live: bool, seconds: float, heard: Heard, memory: float | None
) -> Cell:
    firsts = 1000 * np.array(heard.firsts)
    p50, p95 = np.percentile(firsts, [50, 95]).tolist() if firsts.size else (None, None)
    audio, silence = heard.audio / seconds, sum(heard.gaps)
    gaps = len(heard.gaps)
    found = (audio, p50, p95, firsts.size, gaps, silence, heard.refused, memory)
    return Cell(server.side, count, live, *found)


def scaling(
    servers: Sequence[Server], counts: Sequence[int], seconds: float, say: Say
) -> Iterator[Cell]:
    """Every number of clients of both kinds, the servers in turns."""
    for count in counts:
        for live in (False, True):
            for server in servers:
                measured = cell(server, count, live, seconds)
                say(shown(measured))
                yield measured


def shown(c: Cell) -> str:
    kind, label = "live" if c.live else "greedy", "ptts_jax" if c.side == "ours" else "pocket-tts"
    first = "" if c.first_p50 is None else f", first audio {c.first_p50:.0f} / {c.first_p95:.0f} ms"
    return f"{label}, {c.clients} {kind}: {c.audio:.1f}x{first}, {c.gaps} gaps"


def single(worker: Worker, seconds: float) -> float:
    """Our own stream in the library, as many texts as fit: times real time."""
    audio, took, number = 0.0, 0.0, 0
    while took < seconds:
        made = worker.ask("speak", text=TEXTS[number % len(TEXTS)])
        audio, took = audio + made["samples"] / made["rate"], took + made["seconds"]
        number += 1
    return audio / took


def side_by_side(
    servers: Sequence[Server], worker: Worker, rounds: int, seconds: float, say: Say
) -> Iterator[dict[str, float]]:
    """Eight greedy clients and our own single stream, in turns."""
    single(worker, 0.1)
    for server in servers:  # whatever is still to be compiled is not measured
        cell(server, CROWD, False, seconds)
    for turn in range(1, rounds + 1):
        found = {"single": single(worker, seconds)}
        for server in servers:
            found[server.side] = cell(server, CROWD, False, seconds).audio
        say(f"round {turn} of {rounds}: " + ", ".join(f"{k} {v:.1f}x" for k, v in found.items()))
        yield found


def first_audio(server: Server, rounds: int, seconds: float, say: Say) -> dict[str, list[float]]:
    """Milliseconds to the first audio of all requests, with one and with four live listeners."""
    found: dict[str, list[float]] = {"1": [], "4": []}
    for _ in range(rounds):
        for count in found:
            crowd = clients.crowd(server, [SHORT], int(count), True, seconds, 0.0)
            found[count] += [1000 * first for first in asyncio.run(crowd).firsts]
            server.rest()
    p95 = {count: float(np.percentile(firsts, 95)) for count, firsts in found.items()}
    say(f"first audio p95: one {p95['1']:.0f} ms, with four {p95['4']:.0f} ms")
    return found


def lone(server: Server, worker: Worker, requests: int, say: Say) -> dict[str, list[float]]:
    """Milliseconds to the first audio of one short request, in the library and by the server."""
    found: dict[str, list[float]] = {"library": [], "server": []}

    async def ask(seed: int) -> float:
        began = time.monotonic()
        async for _ in clients.speech(server, server.request(SHORT, seed)):
            return time.monotonic() - began
        raise AssertionError("no audio")

    for turn in range(requests + 1):  # the first is not counted
        first = worker.ask("speak", text=SHORT)["first"]
        asked = asyncio.run(ask(turn))
        server.rest()
        if turn:
            found["library"].append(1000 * first)
            found["server"].append(1000 * asked)
    medians = {name: statistics.median(values) for name, values in found.items()}
    say(f"a lone request: library {medians['library']:.1f}, server {medians['server']:.1f} ms")
    return found


def vanishing(server: Server, say: Say) -> list[float]:
    """Seconds from a client's leaving, beside seven greedy ones, until its row is free."""
    others = CROWD - 1
    endless = " ".join(models.LONG)

    async def stays(seed: int) -> None:
        while True:
            async for _ in clients.speech(server, server.request(endless, seed)):
                pass

    async def leaves(turn: int) -> float:
        blocks = clients.speech(server, server.request(endless, turn))
        left = 3 + turn % 30
        async for _ in blocks:
            left -= 1
            if left == 0:
                break
        await _until(server, lambda rows: rows == CROWD)
        began = time.monotonic()
        await blocks.aclose()
        await _until(server, lambda rows: rows < CROWD)
        return time.monotonic() - began

    async def all_of_them() -> list[float]:
        crowd = [asyncio.create_task(stays(seed)) for seed in range(others)]
        await asyncio.sleep(SETTLE)
        try:
            return [await leaves(turn) for turn in range(VANISHING)]
        finally:
            for task in crowd:
                task.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)

    taken = asyncio.run(all_of_them())
    server.rest()
    say(f"a vanished client's row: free after {1000 * max(taken):.0f} ms at most")
    return taken


async def _until(server: Server, holds: Callable[[float], bool]) -> None:
    """Waits for a number of requests that are spoken."""
    ends = time.monotonic() + PATIENCE
    while not holds((await asyncio.to_thread(server.busy))["ptts_open"]):
        if time.monotonic() > ends:
            raise BenchError(f"{server.label} serve: its rows are never as they should be")
        await asyncio.sleep(0.001)


def hold(server: Server, throughput: float, seconds: float, say: Say) -> list[dict[str, Any]]:
    """Live listeners, as many as a share of the throughput, until the first gap or the end."""
    if not throughput:
        raise BenchError(f"{server.label} serve: eight greedy clients heard nothing")
    tried = []
    for share in SHARES:
        count = max(1, int(share * throughput))
        crowd = clients.crowd(server, TEXTS, count, True, seconds, 0.0, stop_at_gap=True)
        heard = asyncio.run(crowd)
        server.rest()
        found = {"listeners": count, "share": count / throughput, "gaps": len(heard.gaps)}
        tried.append(found | {"seconds": seconds, "refused": heard.refused})
        words = "a gap" if heard.gaps else "no gap"
        say(f"{count} live listeners for {seconds:.0f} s: {words}")
        if not heard.gaps and not heard.refused:
            break
    return tried
