"""Listeners on loopback: greedy ones, who take all there is, and live ones, who play it.

Plain sockets, so that the clients take little of the cores that they share with the server.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ptts_jax.bench.serve.servers import Server

BYTES_PER_SECOND = 48_000  # 24 kHz, 16 bits
CUSHION = 1.0  # seconds that a player fetches ahead
GAP = 0.01  # seconds of silence that the buffer of a sound card does not cover


class Refused(Exception):
    """An answer that is not speech."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@dataclass
class Heard:
    """What all the clients of a measurement heard."""

    counted_from: float = 0.0  # the moment from which on audio is counted
    audio: float = 0.0  # seconds that came since then
    firsts: list[float] = field(default_factory=list)  # seconds to the first audio
    gaps: list[float] = field(default_factory=list)  # seconds of silence where there was speech
    refused: int = 0


async def speech(server: Server, request: bytes) -> AsyncIterator[int]:
    """Sizes of the blocks of samples, in bytes, as they come. Leaving it early hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        if status != 200:
            raise Refused(status)
        before = server.header
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
            skipped = min(before, size)
            before -= skipped
            if size > skipped:
                yield size - skipped
    finally:
        writer.close()


async def listen(server: Server, text: str, seed: int, live: bool, heard: Heard) -> None:
    """One request, to its end. A live listener plays from the first block on."""
    began, until = time.monotonic(), None
    async for size in speech(server, server.request(text, seed)):
        now, seconds = time.monotonic(), size / BYTES_PER_SECOND
        if until is None:
            heard.firsts.append(now - began)
            until = now
        if now > until + GAP:
            heard.gaps.append(now - until)
            until = now
        until += seconds
        if now > heard.counted_from:
            heard.audio += seconds
        if live and until - now > CUSHION:
            await asyncio.sleep(until - now - CUSHION)
    if live and until is not None:
        await asyncio.sleep(max(0.0, until - time.monotonic()))


async def crowd(
    server: Server,
    texts: Sequence[str],
    clients: int,
    live: bool,
    seconds: float,
    settle: float,
    stop_at_gap: bool = False,
) -> Heard:
    """So many clients for some seconds, request after request; greedy ones settle first.

    Live listeners come one after another, within the first seconds.
    """
    heard = Heard(counted_from=time.monotonic() + settle)
    ends = heard.counted_from + seconds

    async def client(number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.uniform(0, min(4.0, seconds / 4)) if live and clients > 1 else 0)
        while True:
            text = rng.choice(texts)
            try:
                await listen(server, text, rng.randrange(1 << 30), live, heard)
            except (Refused, OSError, ValueError, asyncio.IncompleteReadError):
                heard.refused += 1
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    try:
        while (left := ends - time.monotonic()) > 0 and not (stop_at_gap and heard.gaps):
            await asyncio.sleep(min(left, 0.25))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return heard
