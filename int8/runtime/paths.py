"""Where this package, and whoever is built on it, keeps files. Knows nothing of what they hold."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of all that is kept; not created here."""
    if folder := os.environ.get("PTTS_JAX_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ptts_jax"
