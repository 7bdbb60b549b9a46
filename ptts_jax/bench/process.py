"""Child processes of the benchmark: workers that answer requests, and commands run from nothing.

Each holds one engine, so that thread pools do not fight and memory is told apart. Knows nothing of
what is measured.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ptts_jax

_HERE = Path(__file__).parent


class BenchError(ValueError):
    """An engine that failed: one line that names it."""


@dataclass(frozen=True)
class Engine:
    side: str  # ours, or the name of a peer
    config: str
    isa: str = ""  # the instruction set that it is held to, if any

    @property
    def label(self) -> str:
        name = "ptts_jax" if self.side == "ours" else self.side
        return f"{name} {self.config} {self.isa}".rstrip()


class Worker:
    """A child that holds an engine (see worker.py)."""

    def __init__(
        self, engine: Engine, cores: Sequence[int], limits: Mapping[str, str] | None = None
    ) -> None:
        self._label = engine.label
        self._process = subprocess.Popen(
            [*script("speed/worker.py"), engine.side, _names(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(limits),
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps({"do": do, **request}) + "\n")
            stdin.flush()
            line = stdout.readline()
        if not line:
            code = self._process.wait()
            raise BenchError(f"{self._label}: its process ended with code {code} (at {do!r})")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self._label}: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


def answer(command: Sequence[str], label: str) -> dict[str, Any]:
    """What a command prints as its last line, in JSON."""
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise BenchError(f"{label}: {last_line(done.stderr) or 'failed'} (code {done.returncode})")
    return json.loads(last_line(done.stdout))


def launch(
    command: Sequence[str],
    cores: Sequence[int],
    label: str,
    limits: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a command in a fresh process: {"seconds", "peak_bytes"}."""
    process = subprocess.Popen(
        [*script("launch.py"), _names(cores), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(limits),
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the launcher, and what it started
        process.wait()
        raise
    took = json.loads(out) if out else {"code": process.returncode}
    if took["code"]:
        raise BenchError(f"{label}: {last_line(errors) or 'failed'} (code {took['code']})")
    return took


def start(command: Sequence[str], cores: Sequence[int], log: IO[str]) -> subprocess.Popen:
    """Start a command that goes on beside the caller; all that it says goes to `log`."""
    env = _environment()
    child = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    if cores:
        os.sched_setaffinity(child.pid, cores)
    return child


def run(command: Sequence[str], label: str) -> None:
    """Run a command to its end, whatever it takes."""
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"{label}: {last_line(done.stderr)} (code {done.returncode})")


def module(name: str) -> list[str]:
    """The command that runs a module: `python -m NAME`."""
    return [sys.executable, "-P", "-m", name]


def script(name: str) -> list[str]:
    """The command that runs a file of this package by itself, importing nothing else of it."""
    # -P: the file's folder stays off the path, where its neighbours have common names.
    return [sys.executable, "-P", str(_HERE / name)]


def _environment(limits: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, with this very package on the path, and bytecode kept as of an installed package.
    Limits (see isa.py) come on top; flags of XLA behind those that are there."""
    env = os.environ | dict(limits or {})
    if limits and "XLA_FLAGS" in limits:
        env["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {limits['XLA_FLAGS']}".strip()
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    root = str(Path(ptts_jax.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [env.get("PYTHONPATH")])])
    return env


def _names(cores: Sequence[int]) -> str:
    return ",".join(map(str, cores))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
