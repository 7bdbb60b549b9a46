"""What a command does before it works, and a library never does by itself."""

import contextlib
import ctypes
import functools
import gc
import hashlib
import logging
import os
import platform
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax import monitoring

from ptts_jax.engine.executables import Executables
from ptts_jax.model import kept
from ptts_jax.store.paths import cache_dir

_log = logging.getLogger(__name__)

LONG = 2.0  # seconds of compiling that are worth a word
# glibc's malloc.h: the numbers of its options, and values.
ONE_HEAP = {-8: 1}  # M_ARENA_MAX
KEEP_FREED = {
    -8: 1,  # M_ARENA_MAX: other arenas than the main one cannot hold large buffers
    -3: 2**31 - 1,  # M_MMAP_THRESHOLD
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD
    -2: 2**28,  # M_TOP_PAD
}


def use_one_heap() -> None:
    """Let all threads allocate from one heap, so that what one frees another takes.

    By default glibc gives threads heaps of their own, and each keeps what reading a compiled
    function took. Call it before there are threads. Elsewhere it does nothing.
    """
    _set_heap(ONE_HEAP)


def keep_freed_memory() -> None:
    """Keep freed memory in the process: a step's buffers are there again at the next step.

    By default glibc returns large buffers to the system, and the page faults of getting them anew
    take as long as the computing itself (measured: a training step of the codec from 800 to 450 ms
    of a core). Call it before the first computation.
    """
    _set_heap(KEEP_FREED)


def _set_heap(options: Mapping[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such C library
        mallopt = ctypes.CDLL(None).mallopt
        for number, value in options.items():
            mallopt(number, value)


def collect_from_here() -> None:
    """Collect garbage again, in a process that has not until now; not among what is there already.

    Modules and a model stay to the end. Python would look through them several times while they
    are loaded and once more when it exits, which takes longer than to speak a sentence.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@functools.cache
def _first_process() -> int:
    """The process that was the first to use a model; a forked child remembers its parent's."""
    return os.getpid()


def check_process() -> None:
    """Refuse to go on in a forked child, where JAX would wait for threads that are not there."""
    if _first_process() != os.getpid():
        raise RuntimeError(
            "JAX does not survive os.fork: load the model in this process alone, and start "
            'processes by multiprocessing.get_context("spawn")'
        )


class CompileWatch:
    """While it is open, counts the seconds that XLA compiles, and announces the first long wait."""

    def __init__(self, announce: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._announce: Callable[[], None] | None = announce
        self._waiting: dict[int, threading.Timer] = {}  # by the thread that compiles

    def __enter__(self) -> "CompileWatch":
        monitoring.register_event_listener(self._event)
        monitoring.register_event_duration_secs_listener(self._duration)
        return self

    def __exit__(self, *_: object) -> None:
        self._announce = None  # JAX has no way to take a listener back
        for timer in list(self._waiting.values()):
            timer.cancel()

    def _event(self, name: str, **_: object) -> None:
        if self._announce is None:
            return
        if name == "/jax/compilation_cache/compile_requests_use_cache":
            timer = threading.Timer(LONG, self._say)
            timer.daemon = True
            self._waiting[threading.get_ident()] = timer
            timer.start()
        elif name == "/jax/compilation_cache/cache_hits":
            self._arrived()

    def _duration(self, name: str, seconds: float, **_: object) -> None:
        if name == "/jax/core/compile/backend_compile_duration" and self._arrived():
            self.seconds += seconds

    def _arrived(self) -> bool:
        """Whether this thread was compiling: what comes from the cache has been told before."""
        timer = self._waiting.pop(threading.get_ident(), None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _say(self) -> None:
        announce, self._announce = self._announce, lambda: None
        if announce is not None:
            announce()


def find_devices(choice: Any) -> tuple[jax.Device, ...]:
    """Devices from one choice or several: "cpu", "cuda", one of many as "cuda:1", or a Device."""
    if choice is None:
        return ()
    if isinstance(choice, list | tuple):
        return tuple(device for one in choice for device in find_devices(one))
    if isinstance(choice, jax.Device):
        return (choice,)
    platform, _, number = str(choice).partition(":")
    try:
        return (jax.devices(platform or "none")[int(number or 0)],)  # "" would be any
    except (RuntimeError, ValueError, IndexError):
        known = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise ValueError(f"device {choice!r}: not on this machine (there are {known})") from None


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled functions on disk, so that the next process need not compile them again.

    On a CPU what a model speaks with is kept twice: the second time such that it need not be traced
    either.

    Call it before anything is compiled. The folder is shared by nobody else: what was compiled
    for one processor may not run on another, so each kind has its own. A cache that fails costs
    time, nothing else.
    """
    folder = Path(folder) if folder else cache_dir() / "compiled" / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _mend(folder)
    except OSError as error:
        fix = "point PTTS_JAX_CACHE at a folder that can be written to"
        _log.warning("each start compiles anew: cannot write %s (%s); %s", folder, error, fix)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # By default a path in the folder, for files that only GPUs have, is part of every entry's key:
    # a cache that was moved, or made for an image, would be compiled again.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    kept.keep(Executables(folder / "executables", _machine()))
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    return folder


def _mend(folder: Path) -> None:
    """Throw away what a killed process left half-written: JAX would neither read nor replace it."""
    checked, now = folder / "checked", time.time()
    since = checked.stat().st_mtime if checked.exists() else 0.0
    for entry in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process may throw it away too
            if entry.stat().st_mtime >= since and not _intact(entry.read_bytes()):
                entry.unlink()
    checked.touch()
    os.utime(checked, (now - 2, now - 2))  # clocks of file systems are coarse


def _intact(entry: bytes) -> bool:
    """Whether it can be unpacked. JAX packs with zstandard where it finds that, else with zlib.

    What is neither is left alone: a later JAX may have written it.
    """
    try:
        if not entry or entry.startswith(b"\x78"):
            zlib.decompress(entry)
        elif entry.startswith(b"\x28\xb5\x2f\xfd") and sys.version_info >= (3, 14):
            from compression import zstd

            zstd.decompress(entry)
        elif entry.startswith(b"\x28\xb5\x2f\xfd"):
            import zstandard

            zstandard.decompress(entry)
    except ImportError:
        return True  # nor would JAX read it here
    except Exception:  # each library has its own
        return False
    return True


def _machine() -> str:
    """Names the processor by what it can do."""
    text = f"{platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass
    return hashlib.sha256(text.encode()).hexdigest()[:12]
