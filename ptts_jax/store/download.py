"""One file over HTTP into a part file, and what went wrong in plain words.

A part file is continued where an earlier attempt stopped, be it cut or killed. A dead network is
given up within seconds, a slow one never. Knows nothing of caches and of what the files are; the
HTTP client (proxies, certificates, offline switch) is the one huggingface_hub keeps.
"""

from __future__ import annotations

import ipaddress
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ptts_jax.messages import on_terminal, say

REDIRECTS = 10
TRIES = 3  # attempts in a row that bring no new byte

T = TypeVar("T")


class HubError(ValueError):
    """A file that cannot be had.

    `reason` is "missing", "access", "unreachable" (no network, no answer, offline), "server",
    "cut" (the transfer broke off), "disk" or "source" (the name itself makes no sense).
    """

    def __init__(self, source: str, words: str, reason: str):
        super().__init__(f"cannot fetch {source}: {words}")
        self.source, self.words, self.reason = source, words, reason


class BadStatus(Exception):
    """An answer other than the file."""

    def __init__(self, status: int):
        super().__init__(f"HTTP status {status}")
        self.status = status


def contact_timeout() -> float:
    """Seconds in which a server must have answered for the first time."""
    return _seconds("HF_HUB_ETAG_TIMEOUT", 5.0)


def stall_timeout() -> float:
    """Seconds without a single byte after which a transfer counts as dead."""
    return _seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10.0)


def contact(work: Callable[[], T], seconds: float) -> T:
    """`work()`, given up after `seconds` wherever it hangs.

    It runs in a thread, because resolving a name obeys no timeout, and connecting starts its own
    anew for each of a host's addresses.
    """
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


@contextmanager
def stream(url: str, headers: Mapping[str, str], seconds: float) -> Iterator[Any]:
    """The open response to a GET, its headers received within `seconds`."""
    from huggingface_hub.utils import get_session

    session, stall = get_session(), stall_timeout()
    first = session.build_request(
        "GET",
        url,
        headers={"Accept-Encoding": "identity", **headers},
        timeout=(min(seconds, stall), stall, stall, stall),
    )

    def send() -> Any:
        request = first
        for _ in range(REDIRECTS):
            _check_address(str(request.url), url)
            response = session.send(request, stream=True, follow_redirects=False)
            following = response.next_request
            if following is None:
                return response
            response.close()
            if request.url.scheme == "https" and following.url.scheme != "https":
                raise HubError(url, f"it leads to {following.url}, which is not safe", "source")
            request = following
        raise HubError(url, f"it leads on and on, {REDIRECTS} times", "source")

    response = contact(send, seconds)
    try:
        yield response
    finally:
        response.close()


def _check_address(url: str, source: str) -> None:
    """Refuse this machine and its own network where PTTS_JAX_PRIVATE=0 says so.

    What a hub leads to that the user has set up is trusted.
    """
    host, hub = urlsplit(url).hostname, urlsplit(os.environ.get("HF_ENDPOINT") or "").hostname
    if os.environ.get("PTTS_JAX_PRIVATE") != "0" or urlsplit(source).hostname == hub:
        return
    try:
        addresses = {entry[4][0].partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return  # the client says it better
    if not all(ipaddress.ip_address(address).is_global for address in addresses):
        words = f"{host} is a private address, and PTTS_JAX_PRIVATE=0 refuses those"
        raise HubError(source, words, "source")


def total_size(response: Any) -> int | None:
    """The size of the whole file that a response carries all or some of, where it is told."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if not whole and response.status_code == 200:
        whole = response.headers.get("Content-Length", "")
    return int(whole) if whole.isdigit() else None


def pull(
    url: str,
    part: Path,
    size: int | None,
    progress: Callable[[int], None],
    *,
    headers: Mapping[str, str] | None = None,
    if_range: str | None = None,
) -> None:
    """Append to `part` what it lacks of `url`, until it has `size` bytes.

    The caller vouches that an existing part is of the same version of the file; `if_range` lets
    the server check that too. Without a size nothing is continued, and what the server ends
    properly is complete.
    """
    best = fruitless = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have == size:
            part.touch()  # of an empty file nothing arrives
            return
        if size is None or have > size:
            part.unlink(missing_ok=True)
            have = 0
        try:
            ask = dict(headers or {})
            if have:
                ask["Range"] = f"bytes={have}-"
                if if_range:
                    ask["If-Range"] = if_range
            if _append(url, part, have, size, ask, progress):
                return
            raise ConnectionError("the file ended early")
        except Exception as error:
            best = max(best, have)
            got = part.stat().st_size if part.exists() else 0
            fruitless = 0 if got > best else fruitless + 1
            best = max(best, got)
            if fruitless == TRIES or explain(error, url)[1] not in ("cut", "unreachable", "server"):
                raise
            time.sleep(0.3 * (fruitless + 1))


def _append(
    url: str,
    part: Path,
    have: int,
    size: int | None,
    headers: Mapping[str, str],
    progress: Callable[[int], None],
) -> bool:
    """One request; whether the file is complete now."""
    with stream(url, headers, 2 * stall_timeout()) as response:
        if response.status_code not in (200, 206):
            raise BadStatus(response.status_code)
        if response.status_code == 200:
            have = 0  # the server sends all of it, whatever was asked
        told = total_size(response)
        if size is not None and told not in (None, size):
            raise ConnectionError(f"the file has {told} bytes where {size} were announced")
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError("the server sent another part of the file than it was asked for")
        with part.open("ab") as file:
            file.truncate(have)
            for chunk in response.iter_bytes():
                file.write(chunk)
                have += len(chunk)
                progress(have)
            file.flush()
            os.fsync(file.fileno())
    return size is None or have == size


def explain(error: BaseException, url: str) -> tuple[str, str]:
    """What an exception of the client means: (words with the fix, reason).

    Told by class name: the client's library is httpx or its successor, with the same names.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    host = urlsplit(url).netloc
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    if "GatedRepoError" in names:
        return f"access is restricted; {how_to_get_access(url)}", "access"
    if "RepositoryNotFoundError" in names:
        return "no such repository (or a private one: log in with `hf auth login`)", "missing"
    if "RevisionNotFoundError" in names:
        return "the repository has no such revision; check what follows the @", "missing"
    if status == 404:
        return "no such file there; check the path", "missing"
    if status in (401, 403, 407):
        return f"{host} refused access (HTTP {status}); {how_to_get_access(url)}", "access"
    if status == 429:
        return f"{host} says too many requests (HTTP 429); try again later", "server"
    if status is not None and status >= 500:
        return f"server error {status} from {host}; try again later", "server"
    if status is not None:
        return f"{host} answered HTTP {status} where a file was expected; check the URL", "missing"
    if "OfflineModeIsEnabled" in names:
        return "not in the cache, and HF_HUB_OFFLINE forbids the network", "unreachable"
    if names & {"TimeoutException", "TimeoutError"}:
        return f"timed out waiting for {host}; check the network and try again", "unreachable"
    if names & {"ConnectError", "ProxyError", "gaierror"}:
        return f"no connection to {host} ({detail}); check the network", "unreachable"
    if names & {"TransportError", "ConnectionError", "StreamError"}:
        return f"connection cut ({detail}); run again to continue where it stopped", "cut"
    if "OSError" in names:
        fix = "free some space, or point HF_HOME and PTTS_JAX_CACHE at a writable folder"
        return f"cannot write it ({detail}); {fix}", "disk"
    return f"{type(error).__name__}: {detail}", "source"


def how_to_get_access(url: str) -> str:
    """The two steps that open a gated repository of the hub."""
    parts = urlsplit(url)
    if "/resolve/" not in parts.path:
        return "check the URL"
    page = f"{parts.scheme}://{parts.netloc}/" + "/".join(parts.path.split("/")[1:3])
    return f"accept the terms on {page} and log in with `hf auth login`"


@contextmanager
def meter(name: str, size: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress line on stderr, where that is a terminal; yields what takes the bytes so far."""
    if quiet or not on_terminal():
        yield lambda have: None
        return
    shown, start, first = 0.0, time.monotonic(), -1

    def show(have: int) -> None:
        nonlocal shown, first
        now = time.monotonic()
        first = have if first < 0 else first
        if now - shown < 0.2 and have != size:
            return
        shown = now
        rate = (have - first) / max(now - start, 1e-3) / 1e6
        share = f"/{size / 1e6:.1f} MB {have / max(size, 1):4.0%}" if size else " MB"
        say(f"\r{name} {have / 1e6:.1f}{share} {rate:.1f} MB/s\x1b[K", end="")

    try:
        yield show
    finally:
        if shown:
            say("")


def _seconds(variable: str, default: float) -> float:
    try:
        return float(os.environ.get(variable, "")) or default
    except ValueError:
        return default
