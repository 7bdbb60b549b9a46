"""Which of several processes, on one machine or many, makes which shard of a folder.

A claim is a file that only one can create, and whose owner touches it while it lives. No clocks are
compared: a claim that has not changed while another process waited for a whole lease, by its own
stopwatch, is of a dead owner; on the same machine the owner's process is looked for. Should a claim
be taken from somebody alive after all, the work is done twice, and published once (see job.py).
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

BEATS = 4  # in a lease


class Claims:
    """The claims of a folder; `with` keeps those of this process alive and lets them go."""

    def __init__(
        self, folder: Path, lease: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._lease = lease
        self._clock = clock
        self._owner = json.dumps({"process": _myself(), "token": secrets.token_hex(8)})
        self._held: set[int] = set()
        self._seen: dict[
            int | str, tuple[tuple[str, int], float]
        ] = {}  # claims of others, and since when
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._beating.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._beating.join()
        for number in list(self._held):
            self.release(number)

    def take(self, number: int) -> bool:
        """Whether the shard is ours to make from now on."""
        if not self._create(self._path(number)):
            state = self._state(self._path(number))
            if state is None or not self._dead(number, state) or not self._bury(number, state):
                return False
        self._held.add(number)
        self._seen.pop(number, None)
        return True

    def release(self, number: int) -> None:
        """Others may have the shard, unless they took it already."""
        self._held.discard(number)
        state = self._state(self._path(number))
        if state is not None and state[0] == self._owner:
            with contextlib.suppress(OSError):
                self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}"

    def _create(self, path: Path) -> bool:
        """Whether there was no such file, and now there is, of ours."""
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self._owner)
        except FileExistsError:
            return False
        except OSError:  # the disk is full
            path.unlink(missing_ok=True)
            raise
        return True

    def _state(self, path: Path) -> tuple[str, int] | None:
        """What a claim says and when it was touched last; None where there is no claim."""
        try:  # opening it makes a network's file system look again
            with path.open(encoding="utf-8", errors="replace") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None

    def _dead(self, number: int | str, state: tuple[str, int]) -> bool:
        if _gone(state[0]):
            return True
        before, since = self._seen.get(number, (None, 0.0))
        if before != state:
            self._seen[number] = state, self._clock()
            return False
        return self._clock() - since > self._lease

    def _bury(self, number: int, state: tuple[str, int]) -> bool:
        """Puts our claim in a dead owner's place, in one step; one heir at a time can."""
        lock = self._folder / f".{number:06}-heir"
        if not self._create(lock):
            held = self._state(lock)
            if held is not None and self._dead(lock.name, held):
                lock.unlink(missing_ok=True)
            return False
        try:
            if self._state(self._path(number)) == state:
                lock.replace(self._path(number))
                return True
            lock.unlink()
        except FileNotFoundError:
            pass  # another one took us for dead
        return False

    def _beat(self) -> None:
        while not self._ended.wait(self._lease / BEATS):
            for number in list(self._held):
                with contextlib.suppress(OSError):  # it was taken from us: see above
                    os.utime(self._path(number))


def _myself() -> list[str | int] | None:
    """This process, as others on the same machine can look for it; None where they cannot."""
    machine = _machine()
    return machine and [machine, os.getpid(), _started(os.getpid()) or ""]


def _gone(owner: str) -> bool:
    """Whether a claim's owner was a process of this machine that has ended."""
    try:
        machine, process, started = json.loads(owner)["process"]
    except (ValueError, TypeError, KeyError):
        return False  # half-written, or of a machine that does not tell
    return machine == _machine() and _started(process) != started


def _machine() -> str | None:
    """Names this run of the machine, and the group of processes that see each other."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _started(process: int) -> str | None:
    """When a process began; None if there is none, or it has ended and only waits to be noticed."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
