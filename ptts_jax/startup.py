"""What a command does before it works, and a library never does by itself."""

import hashlib
import platform
from pathlib import Path

import jax

from ptts_jax.files import cache_dir


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled functions on disk, so that the next process need not compile them again.

    Call it before anything is compiled. The folder is shared by nobody else: what was compiled
    for one processor may not run on another, so each kind has its own.
    """
    folder = Path(folder) if folder else cache_dir() / "compiled" / _machine()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def _machine() -> str:
    """Names the processor by what it can do."""
    text = f"{platform.machine()} {platform.processor()}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass
    return hashlib.sha256(text.encode()).hexdigest()[:12]
