"""The server as a process: uvicorn with limits that hold against slow and endless clients."""

import asyncio
import logging
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ptts_jax.server.app import build
from ptts_jax.server.context import Context

HEADER_SECONDS = 10.0  # for a request to say what it wants
KEEP_ALIVE = 30  # seconds that an idle connection is kept
CONNECTIONS = 512
HEADER_BYTES = 16 << 10


class Protocol(H11Protocol):
    """Hangs up on who sends the headers of a request for ever: uvicorn itself would wait."""

    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_headers()
        else:
            self._calm_down()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm_down()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        if self._hurry is None:
            self._hurry = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _calm_down(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None


def process(server: Context, drain: int = 30) -> uvicorn.Server:
    """The server, ready to run; after a signal to end, requests have `drain` seconds."""
    config = uvicorn.Config(
        build(server),
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=1 << 20,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=drain,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=CONNECTIONS,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Server(config)
