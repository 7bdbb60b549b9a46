"""A small model hub on 127.0.0.1, with faults that can be switched on.

It speaks what a client of the real hub needs: HEAD and GET of `/owner/repo/resolve/revision/path`
with ETag, X-Repo-Commit, Range, gated repositories and the hub's error headers; and plain files
under any other path. It knows nothing of the package under test.

    with FakeHub({("owner/repo", "main"): {"a.bin": b"..."}}, gated={"owner/secret"}) as hub:
        for name, value in hub.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        hub.fault("cut", "a.bin", times=1)
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

TOKEN = "hf_fakehubtoken"
_BODY_FAULTS = ("cut", "stall", "slow")
LFS_SIZE = 4096  # files of at least this size are redirected to a second host, as large files are

Files = Mapping[tuple[str, str], Mapping[str, bytes | Path]]


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; `status` is what it answered (0: a hang)."""

    method: str
    path: str
    status: int
    range: str | None = None
    authorization: str | None = None


@dataclass
class Fault:
    """What goes wrong for requests whose path contains `match`, `times` times (None: always)."""

    kind: str  # "401" "404" "500" ...: that answer; "hang": none; bodies: "cut" "stall" "slow"
    match: str = ""
    times: int | None = None
    methods: tuple[str, ...] = ("HEAD", "GET")
    after: int | None = None  # cut, stall: bytes of this answer that arrive (default: half)
    rate: float = 1e5  # slow: bytes per second


class FakeHub:
    """Start with `with FakeHub(files) as hub`; `hub.url` is the endpoint."""

    def __init__(
        self,
        files: Files | None = None,
        *,
        gated: set[str] | None = None,
        plain: Mapping[str, bytes | Path] | None = None,
    ):
        self.files = {key: dict(value) for key, value in (files or {}).items()}
        self.gated = set(gated or ())
        self.plain = dict(plain or {})  # "/path" -> content, for plain downloads
        self.requests: list[Request] = []
        self.ranges = True  # False: Range is ignored, everything is sent from the start
        self.validators = True  # False: plain files carry no ETag
        self.released = threading.Event()  # lets hanging requests go
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __enter__(self) -> FakeHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self, folder: Path, *, token: str | None = None) -> dict[str, str]:
        """Variables that point a client here and keep all of its caches inside `folder`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_CACHE": str(folder / "hf" / "hub"),
            "HF_TOKEN": token or "",
            "HF_TOKEN_PATH": str(folder / "hf" / "token"),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "",
            "HF_HUB_OFFLINE": "",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PTTS_JAX_CACHE": str(folder / "ptts_jax"),
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def fault(self, kind: str, match: str = "", **options: object) -> Fault:
        """Switch a fault on (see `Fault`); `clear()` ends it."""
        fault = Fault(kind, match, **options)  # type: ignore[arg-type]
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._faults.clear()

    def commit(self, repo: str, revision: str = "main") -> str:
        """The 40-digit commit that `revision` stands for."""
        if re.fullmatch(r"[0-9a-f]{40}", revision):
            return revision
        digest = hashlib.sha1(f"{repo}@{revision}".encode())
        for path, content in sorted(self.files[repo, revision].items()):
            digest.update(path.encode() + _bytes(content))
        return digest.hexdigest()

    def lookup(self, repo: str, revision: str) -> Mapping[str, bytes | Path] | None:
        """The files of a revision: a name, or the commit that a name stands for."""
        for known, name in self.files:
            if known == repo and revision in (name, self.commit(repo, name)):
                return self.files[known, name]
        return None

    def take_fault(self, method: str, path: str, *, body: bool) -> Fault | None:
        """The fault that strikes now, if any; those of bodies wait until there is one to send."""
        with self._lock:
            for fault in self._faults:
                if (fault.kind in _BODY_FAULTS) != body or fault.times == 0:
                    continue
                if method in fault.methods and fault.match in path:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def served(self, match: str = "", method: str = "GET") -> list[Request]:
        """The requests of that method whose path contains `match`."""
        return [r for r in list(self.requests) if r.method == method and match in r.path]


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    """The URL of a host that swallows packets: connecting to it never succeeds and never fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill the queue that nobody empties
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed_url() -> str:
    """The URL of a port on which nobody listens: connecting is refused at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _etag(content: bytes) -> str:
    """As the hub does: SHA-256 of large files, git's blob hash of small ones."""
    if len(content) >= LFS_SIZE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.hub.take_fault(self.command, path, body=False)
        if fault and fault.kind == "hang":
            self.record(0)
            self.hub.released.wait()
            self.close_connection = True
        elif fault and fault.kind.isdigit():
            self.error(int(fault.kind))
        elif resolve := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*resolve.groups())
        elif cdn := re.fullmatch(r"/cdn/([0-9a-f]{64})/.+", path):
            self.cdn(cdn[1])
        elif path in self.hub.plain:
            content = _bytes(self.hub.plain[path])
            headers = {"ETag": f'"{_etag(content)}"'} if self.hub.validators else {}
            self.send(content, headers)
        else:
            self.error(404)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        files = self.hub.lookup(repo, revision)
        if repo in self.hub.gated and not allowed:
            status = 403 if self.headers.get("Authorization") else 401
            self.error(status, "GatedRepo", f"Access to model {repo} is restricted.")
        elif not any(known == repo for known, _ in self.hub.files):
            self.error(401, "RepoNotFound", "Repository not found")
        elif files is None:
            self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif path not in files:
            self.error(404, "EntryNotFound", "Entry not found")
        else:
            content = _bytes(files[path])
            headers = {"X-Repo-Commit": self.hub.commit(repo, revision)}
            if len(content) < LFS_SIZE:
                self.send(content, headers | {"ETag": f'"{_etag(content)}"'})
                return
            # Another host name, so that a client that hands its token to strangers is caught.
            location = f"/cdn/{_etag(content)}/{repo}/{quote(path)}"
            headers["Location"] = f"http://localhost:{self.hub.port}{location}"
            headers |= {"X-Linked-Etag": f'"{_etag(content)}"', "X-Linked-Size": str(len(content))}
            self.head(302, headers, 0)

    def cdn(self, etag: str) -> None:
        if self.headers.get("Authorization"):
            self.error(400, "TokenLeaked", "The token was sent to another host")
            return
        for files in self.hub.files.values():
            for content in map(_bytes, files.values()):
                if _etag(content) == etag:
                    # Large-file storage has ETags of its own.
                    self.send(content, {"ETag": f'"cdn-{etag[:8]}"'})
                    return
        self.error(404)

    def send(self, content: bytes, headers: dict[str, str]) -> None:
        status, start = 200, 0
        etag = headers.get("ETag")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        if etag and self.headers.get("If-None-Match") == etag:
            self.head(304, headers, 0)
            return
        end = len(content)
        if wanted and self.hub.ranges and condition in (None, etag):
            start, status = int(wanted[1]), 206
            if start >= len(content):
                self.head(416, {"Content-Range": f"bytes */{len(content)}"}, 0)
                return
            end = min(end, int(wanted[2]) + 1) if wanted[2] else end
            place = f"bytes {start}-{end - 1}/{len(content)}"
            headers = headers | {"Content-Range": place}
        body = content[start:end]
        self.head(status, headers | {"Accept-Ranges": "bytes"}, len(body))
        if self.command == "HEAD":
            return
        path = unquote(urlsplit(self.path).path)
        probe = wanted and wanted[2]  # a request for a few bytes, which arrive whatever happens
        fault = None if probe else self.hub.take_fault("GET", path, body=True)
        if fault is None:
            self.wfile.write(body)
        elif fault.kind == "slow":
            step = max(1, int(fault.rate * 0.05))
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                if self.hub.released.wait(0.05):
                    break
        else:
            self.wfile.write(body[: len(body) // 2 if fault.after is None else fault.after])
            if fault.kind == "stall":
                self.hub.released.wait()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def error(self, status: int, code: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.head(status, headers, 0)

    def head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.record(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.send_header("X-HF-Warning", "login; Please set a HF_TOKEN")  # the hub likes to advise
        self.end_headers()

    def record(self, status: int) -> None:
        self.hub.requests.append(
            Request(
                self.command,
                unquote(urlsplit(self.path).path),
                status,
                self.headers.get("Range"),
                self.headers.get("Authorization"),
            )
        )
