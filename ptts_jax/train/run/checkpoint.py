"""Checkpoints of a training run: the whole state as safetensors, and a JSON file that names it.

The JSON file is written last and replaces the one before, so a run that is killed, or a disk that
is full, leaves the checkpoint before in place. Knows nothing of what a state holds.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from convert import unflatten
from ptts_jax.store import safetensors
from ptts_jax.store.paths import atomic_write
from ptts_jax.store.safetensors import FileError

NAME = "checkpoint.json"
LOCK = ".lock"


def save(out: Path, state: Any, step: int, meta: Mapping[str, Any]) -> None:
    """Write a checkpoint into `out`; the one before it goes once this one stands."""
    tensors = {_name(path): np.asarray(leaf) for path, leaf in _leaves(state)}
    file = f"checkpoint-{step:08d}.safetensors"
    try:
        out.mkdir(parents=True, exist_ok=True)
        safetensors.write(out / file, tensors)
        with atomic_write(out / NAME) as path:
            path.write_text(json.dumps({"step": step, "file": file, "meta": dict(meta)}) + "\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"{out}: cannot be written ({reason}); free some space") from None
    for old in out.glob("checkpoint-*.safetensors"):
        if old.name != file:
            with contextlib.suppress(OSError):
                old.unlink()


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """While it lasts no other run has the folder, which is free again however the process ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such locks on Windows
            pass
        except OSError:
            raise ValueError(
                f"{out}: another run is training there; stop it first, or give another folder"
            ) from None
        yield


def exists(out: Path) -> bool:
    return (out / NAME).is_file()


def load(out: Path, like: Any = None) -> tuple[Any, int, dict[str, Any]]:
    """(state, step, meta) of a folder's checkpoint, in numpy.

    The state has the structure of `like` (arrays or shapes) if that is given and is checked against
    it; it is nested dicts by path if not.
    """
    step, file, meta = _read(out / NAME)
    tensors, _ = safetensors.read(out / file)
    return (unflatten(tensors) if like is None else _fill(out / file, tensors, like)), step, meta


def describe(out: Path) -> dict[str, Any]:
    """The meta of a folder's checkpoint alone."""
    return _read(out / NAME)[2]


def _read(path: Path) -> tuple[int, str, dict[str, Any]]:
    try:
        about = json.loads(path.read_text())
        return int(about["step"]), str(about["file"]), dict(about["meta"])
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"{path}: no checkpoint there ({reason}); give a run's folder") from None
    except (ValueError, KeyError, TypeError):
        raise FileError(f"{path}: damaged; give another run's folder, or start anew") from None


def _fill(file: Path, tensors: Mapping[str, np.ndarray], like: Any) -> Any:
    wanted = [(_name(path), leaf) for path, leaf in _leaves(like)]
    problems = [
        name for name, leaf in wanted if name not in tensors or tensors[name].shape != leaf.shape
    ]
    problems += [name for name in tensors if name not in dict(wanted)]
    if problems:
        raise FileError(
            f"{file}: made with other options, {len(problems)} parts differ (the first is "
            f"{problems[0]}); give the options it was made with, or another folder"
        )
    leaves = [tensors[name].astype(leaf.dtype, copy=False) for name, leaf in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _name(path: tuple) -> str:
    return "/".join(_part(key) for key in path)


def _part(key: Any) -> str:
    match key:
        case DictKey() | FlattenedIndexKey():
            return str(key.key)
        case GetAttrKey():
            return key.name
        case SequenceKey():
            return str(key.idx)
    raise TypeError(f"no name for {key!r}")
