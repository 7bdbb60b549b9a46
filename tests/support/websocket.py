"""A client of the server's websocket: messages in, objects and bytes of audio out."""

import asyncio
import json
from typing import Any

import numpy as np
import websockets


def talk(served: Any, *said: Any, until: str = "session.done", **more: Any) -> list:
    """What the server answers: objects, and bytes of audio."""

    async def run_it() -> list:
        url = f"ws://{served.address}/v1/audio/speech/stream"
        heard: list = []
        async with websockets.connect(
            url, additional_headers=more.get("headers", served.headers), proxy=None
        ) as wire:
            for message in said:
                await wire.send(json.dumps(message) if isinstance(message, dict) else message)
            async with asyncio.timeout(120):
                async for message in wire:
                    heard.append(message if isinstance(message, bytes) else json.loads(message))
                    if not isinstance(heard[-1], bytes) and heard[-1]["type"] == until:
                        break
        return heard

    return asyncio.run(run_it())


def conversation(served: Any, *said: str | dict, **config: Any) -> tuple[list[dict], np.ndarray]:
    """A whole one: texts, and messages among them. What is told, and the samples [T] int16."""
    typed = (m if isinstance(m, dict) else {"type": "input.text", "text": m} for m in said)
    ends = {"type": "input.done"}, {"type": "session.close"}
    heard = talk(served, {"type": "session.config", **config}, *typed, *ends)
    audio = b"".join(m for m in heard if isinstance(m, bytes))
    return [m for m in heard if isinstance(m, dict)], np.frombuffer(audio, "<i2")
