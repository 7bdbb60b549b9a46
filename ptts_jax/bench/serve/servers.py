"""The two servers as processes: started, watched and ended. Knows nothing of what is measured."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from ptts_jax.bench import process
from ptts_jax.bench.models import Subject
from ptts_jax.bench.process import BenchError

START_SECONDS = 600.0  # to load and to compile
NEVER = 1e9  # a threshold that no EOS logit passes
VOICE = "listener"


@dataclass
class Server:
    """A server, and how it is asked to speak."""

    side: str  # ours or peer
    port: int
    command: Sequence[str] = ()
    cores: Sequence[int] = ()
    log: Path = Path(os.devnull)
    child: subprocess.Popen | None = None  # while it runs

    def start(self) -> None:
        """Returns when it is ready."""
        with self.log.open("w") as log:
            self.child = process.start(self.command, self.cores, log)
        path = "/ready" if self.side == "ours" else "/health"
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends and self.child.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get(path)[0] == 200:
                    return
            time.sleep(0.1)
        said = process.last_line(self.log.read_text(errors="replace"))
        raise BenchError(f"{self.label} serve: {said or 'it is never ready'}")

    def end(self) -> None:
        if self.child is None:
            return
        self.child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(20)
        self.child.kill()
        self.child.wait()

    def rest(self) -> None:
        """Until it has done with those who left.

        The reference speaks on for them, to the end of every text: it starts anew, and says a word.
        """
        if self.side == "peer":
            self.end()
            self.start()
            with socket.create_connection(("127.0.0.1", self.port)) as spoken:
                spoken.sendall(self.request("Yes.", 0))
                while (part := spoken.recv(1 << 16)) and not part.endswith(b"0\r\n\r\n"):
                    pass
        elif not self.idle():
            raise BenchError(f"{self.label} serve: it works on, though every client has left")

    @property
    def label(self) -> str:
        return "ptts_jax" if self.side == "ours" else "pocket-tts"

    @property
    def header(self) -> int:
        """Bytes before the first sample."""
        return 0 if self.side == "ours" else 44

    def request(self, text: str, seed: int) -> bytes:
        """A whole HTTP request for raw samples, or for the reference's WAV."""
        if self.side == "peer":
            form = urlencode({"text": text}).encode()
            return _post("/tts", "application/x-www-form-urlencoded", form)
        body = {"input": text, "voice": VOICE, "response_format": "pcm", "seed": seed}
        return self.post(json.dumps(body | {"eos_threshold": NEVER}).encode())

    def post(self, body: bytes) -> bytes:
        return _post("/v1/audio/speech", "application/json", body)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @property
    def memory(self) -> float | None:
        """Megabytes that it holds now; None where the system does not say."""
        try:
            lines = Path(f"/proc/{self.child.pid}/status").read_text().splitlines()
        except OSError:
            return None
        return next(int(x.split()[1]) * 1024 / 1e6 for x in lines if x.startswith("VmRSS"))

    def busy(self) -> dict[str, float]:
        """What its metrics say about now."""
        lines = [line.split() for line in self.get("/metrics")[1].splitlines()]
        return {words[0]: float(words[1]) for words in lines if len(words) == 2}

    def idle(self, seconds: float = 10.0) -> bool:
        """Whether every row is free, soon at least."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            now = self.busy()
            if now["ptts_open"] == now["ptts_waiting"] == 0:
                return True
            time.sleep(0.02)
        return False


def _post(path: str, kind: str, body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


@contextlib.contextmanager
def running(side: str, weights: str, subject: Subject, cores: Sequence[int]) -> Iterator[Server]:
    """A server that is ready, on a free port; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="ptts-serve-") as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if side == "ours":
            shutil.copy(subject.voice, Path(folder) / f"{VOICE}.safetensors")
            command = [*process.module("ptts_jax.serve"), f"--model={subject.yaml}"]
            command += [f"--port={port}", f"--voices={folder}", f"--int8={weights == 'int8'}"]
        else:
            arguments = [str(subject.yaml), str(subject.voice), str(port), weights]
            command = [*process.script("serve/peer.py"), *arguments]
        server = Server(side, port, command, cores, Path(folder) / "log")
        try:
            server.start()
            yield server
        finally:
            server.end()
