"""What stands before every request: who may ask, from where, and how much."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ptts_jax.server import page
from ptts_jax.server.errors import ApiError, too_large
from ptts_jax.server.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# These need no key: they hold no contents.
OPEN = (*page.FILES, "/openapi.json", "/health", "/ready")
BODY_SECONDS = 30.0  # for each part of a body


class Guard:
    """Checks the key, the origin and the host, and bounds the body, before anything is read.

    A page from elsewhere must not use the server of whoever reads it: a browser says where a
    request comes from, and a name that was made to point here is not one of ours.
    """

    def __init__(
        self,
        app: App,
        api_key: str | None,
        body_limit: int,
        hosts: tuple[str, ...] | None,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._key = api_key.encode() if api_key else None
        self._body_limit = body_limit
        self._hosts = hosts  # None: any
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers, send = Headers(scope=scope), self._counted(send)
        error = self._refused(headers, scope["path"])
        if error is None:
            inner = self._bounded(receive) if scope["type"] == "http" else receive
            return await self._app(scope, inner, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await error.response(scope, receive, send)

    def _refused(self, headers: Headers, path: str) -> ApiError | None:
        host, name = _place(f"//{headers.get('host', '')}")
        if self._hosts is not None and name not in self._hosts:
            return ApiError(403, "this server does not answer to that name", code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and _place(origin)[0] != host:
            return ApiError(403, "requests from other sites are not served", code="wrong_origin")
        if self._key is not None and path not in OPEN and not self._knows_key(headers):
            words = "the API key is missing or wrong: send Authorization: Bearer KEY"
            return ApiError(401, words, code="invalid_api_key")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:18]) > self._body_limit:
            return too_large(self._body_limit)
        return None

    def _knows_key(self, headers: Headers) -> bool:
        kind, _, key = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(key.strip().encode(), self._key or b"")  # in constant time
        return kind.lower() == "bearer" and same

    def _counted(self, send: Send) -> Send:
        """Answers that are errors are counted, whoever makes them."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._metrics.count("ptts_errors_total", status=str(message["status"]))
            await send(message)

        return counted

    def _bounded(self, receive: Receive) -> Receive:
        """A body without a length is counted as it comes."""
        size, complete = 0, False

        async def counted() -> Message:
            nonlocal size, complete
            try:  # once the body is here, only the client's leaving is waited for
                message = await asyncio.wait_for(receive(), None if complete else BODY_SECONDS)
            except TimeoutError:
                raise ApiError(408, "the body did not come", code="timeout") from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if message["type"] == "http.request" and size > self._body_limit:
                raise too_large(self._body_limit)
            return message

        return counted


def _place(address: str) -> tuple[str | None, str | None]:
    """The host with its port, and without."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname
    except ValueError:
        return None, None
