"""Where this package keeps files, and how every file is written: beside its name, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from int8.runtime.paths import cache_dir

__all__ = ["atomic_write", "cache_dir", "remember"]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a hidden path in the same folder to write to; it becomes `path` if the block succeeds.

    Readers see the old file or the whole new one, and a failure leaves nothing behind.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it points
    # The suffix stays last: writers choose the format by it.
    part = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def remember(path: Path, text: str) -> None:
    """A note that makes the next call cheaper; failing to keep it is no error."""
    with contextlib.suppress(OSError):
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                part.write_text(text)
