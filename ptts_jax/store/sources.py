"""What can be told of a source (a name, a path or an address) without fetching it."""

import os
import re
from pathlib import Path


def is_name(source: str) -> bool:
    """Whether it is a bare name rather than a file or an address."""
    return re.fullmatch(r"[^/\\.]+", source) is not None and not Path(source).exists()


def is_pipe(source: str) -> bool:
    """Whether it is a local pipe or device, whose content can be read only once."""
    return os.path.exists(source) and not (os.path.isfile(source) or os.path.isdir(source))


def version(source: str) -> tuple[int, ...]:
    """What tells a local file from what it will be when it is written anew."""
    try:
        stat = Path(source).stat()
    except (OSError, ValueError):
        return ()
    return stat.st_mtime_ns, stat.st_size


def suffix(source: str) -> str:
    """The suffix of the file's name, in small letters, whatever follows it in an address."""
    path = source.rpartition("@")[0] or source if source.startswith("hf://") else source
    return Path(path.split("?")[0] if "://" in source else path).suffix.lower()
