"""A long mixed load: good requests, and clients that vanish, dawdle or talk nonsense."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ptts_jax.bench.serve import clients
from ptts_jax.bench.serve.clients import Refused
from ptts_jax.bench.serve.servers import Server

CLIENTS = 8
WARM = 0.2  # of the time, after which the memory is taken that the end is compared with

NONSENSE: tuple[bytes, ...] = (
    b"",
    b"{",
    b"[1, 2]",
    b"\xff\xfe",
    b'{"input": 7}',
    b'{"input": ""}',
    b'{"input": "Hello.", "voice": "../../etc/passwd"}',
    b'{"input": "Hello.", "response_format": "midi"}',
    b'{"input": "Hello.", "temperature": -1}',
    b'{"input": "Hello.", "speed": "fast"}',
    json.dumps({"input": "a" * 10_000}).encode(),
    b'{"input": "Hello.", "voice": {"id": ["a"]}}',
)


@dataclass
class Soaked:
    """What a soak left behind."""

    minutes: float
    asked: Counter[str] = field(default_factory=Counter)  # by what the client did
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # good requests whose answer broke off
    memory: list[float] = field(default_factory=list)  # megabytes, second by second
    freed: bool = False  # all rows are free in the end

    @property
    def growth(self) -> float:
        """Memory in the end over that after the first part, as a share."""
        if len(self.memory) < 10:
            return 0.0
        warm = int(WARM * len(self.memory))
        part = max(1, len(self.memory) // 10)
        before, after = self.memory[warm : warm + part], self.memory[-part:]
        return (sum(after) / len(after)) / (sum(before) / len(before)) - 1

    def as_json(self) -> dict[str, Any]:
        counted = {"asked": dict(self.asked), "statuses": dict(self.statuses)}
        return vars(self) | counted | {"growth": self.growth, "memory": self.memory[::60]}


async def soak(server: Server, texts: Sequence[str], minutes: float) -> Soaked:
    """Eight clients of all kinds for some minutes."""
    soaked = Soaked(minutes)
    ends = time.monotonic() + 60 * minutes

    async def client(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < ends:
            kind = rng.choices(list(_KINDS), [4, 3, 1, 3])[0]
            soaked.asked[kind] += 1
            try:
                await asyncio.wait_for(_KINDS[kind](server, rng.choice(texts), rng), 120)
                soaked.statuses[200] += 1
            except Refused as error:
                soaked.statuses[error.status] += 1
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
                soaked.broken += 1

    async def watch() -> None:
        while True:
            soaked.memory += filter(None, [server.memory])
            await asyncio.sleep(1)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    watcher.cancel()
    soaked.freed = await asyncio.to_thread(server.idle)
    return soaked


async def _whole(server: Server, text: str, rng: random.Random) -> None:
    async for _ in clients.speech(server, server.request(text, rng.randrange(1 << 30))):
        pass


async def _vanishes(server: Server, text: str, rng: random.Random) -> None:
    left = rng.randrange(1, 40)
    blocks = clients.speech(server, server.request(text, 0))
    async with contextlib.aclosing(blocks):
        async for _ in blocks:
            left -= 1
            if left == 0:
                return


async def _dawdles(server: Server, text: str, rng: random.Random) -> None:
    """Reads little, late, and leaves."""
    blocks = clients.speech(server, server.request(text, 0))
    async with contextlib.aclosing(blocks):
        async for _ in blocks:
            await asyncio.sleep(rng.uniform(0, 2))
            if rng.random() < 0.1:
                return


async def _talks_nonsense(server: Server, text: str, rng: random.Random) -> None:
    body = rng.choice(NONSENSE)
    if rng.random() < 0.5:  # or a good request with a byte of noise
        noisy = bytearray(server.request(text, 0).split(b"\r\n\r\n", 1)[1])
        noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        body = bytes(noisy)
    blocks = clients.speech(server, server.post(body))
    async with contextlib.aclosing(blocks):
        async for _ in blocks:
            return


_KINDS = {"whole": _whole, "vanishes": _vanishes, "dawdles": _dawdles, "nonsense": _talks_nonsense}
