"""Where this package keeps files, and how every file is written: beside its name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """Where this package keeps its files; not created here."""
    if folder := os.environ.get("PTTS_JAX_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ptts_jax"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a new path beside `path` to write to; it becomes `path` if the block succeeds.

    Readers see the old file or the whole new one, and a failure leaves nothing behind.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it points
    # The suffix stays last: writers choose the format by it.
    beside = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remember(path: Path, text: str) -> None:
    """A note that makes the next call cheaper; failing to keep it is no error."""
    with contextlib.suppress(OSError):
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as beside:
                beside.write_text(text)
