"""What can be known to be wrong about a file to write, before the work that fills it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptts_jax.store.safetensors import FileError


def check_target(dst: Path) -> None:
    """Refuses what cannot become a safetensors file."""
    if dst.suffix != ".safetensors":
        raise FileError(f"{dst}: the file to write must end in .safetensors")
    if dst.is_dir():
        raise FileError(f"{dst}: is a folder; name a file")
    if not dst.parent.is_dir():
        raise FileError(f"{dst}: its folder does not exist; make it first")
    if not os.access(dst.parent, os.W_OK):
        raise FileError(f"{dst}: its folder cannot be written to; choose another")


def check_sources(targets: Iterable[Path], sources: Iterable[str]) -> None:
    """Refuses to write over what is read."""
    read = [Path(source) for source in sources if os.path.exists(source)]
    for target in targets:
        if target.exists() and any(target.samefile(source) for source in read):
            raise FileError(f"{target}: would overwrite what is being read; name another file")


def named_files(config: Any) -> list[str]:
    """All that a model's config says to read."""
    named = [
        config.weights_path,
        config.weights_path_without_voice_cloning,
        config.flow_lm.weights_path,
        config.mimi.weights_path,
        config.flow_lm.lookup_table.tokenizer_path,
    ]
    return [name for name in named if name is not None]
