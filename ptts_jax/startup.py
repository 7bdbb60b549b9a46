"""What a command does before it works, and a library never does by itself."""

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import sys
import time
import warnings
import zlib
from pathlib import Path

import jax

from ptts_jax.files import cache_dir

_log = logging.getLogger(__name__)

M_ARENA_MAX = -8  # of glibc's <malloc.h>


def use_one_heap() -> None:
    """Let all threads allocate from one heap, so that what one frees another takes.

    By default glibc gives threads heaps of their own, and each keeps what reading a compiled
    function took. Call it before there are threads. Elsewhere it does nothing.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled functions on disk, so that the next process need not compile them again.

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
    """Whether it can be unpacked. JAX packs with zstandard where it finds that, else with zlib."""
    try:
        if not entry.startswith(b"\x28\xb5\x2f\xfd"):
            zlib.decompress(entry)
        elif sys.version_info >= (3, 14):
            from compression import zstd

            zstd.decompress(entry)
        else:
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
