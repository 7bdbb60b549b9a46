"""Executables on disk: what one process has compiled the next one neither traces nor compiles.

Loading one runs what is in it. So nobody else may have been able to write it, it carries a digest
of its bytes and of all that it depends on, and it replaces another only as a whole. Whatever is
wrong with an entry costs the time to compile, nothing else.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import platform
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax import monitoring
from jax.experimental import serialize_executable

import int8
from int8.runtime import library
from int8.runtime.build import written_by_us
from ptts_jax.model import kept
from ptts_jax.store.paths import atomic_write

_log = logging.getLogger(__name__)

MOST_BYTES = 128 << 20  # of all entries; those that were used longest ago go first
SUFFIX = ".executable"
DIGEST = 32  # bytes in front of an entry
# What lies where changes nothing about an executable.
PLACES = ("PTTS_JAX_CACHE", "JAX_COMPILATION_CACHE_DIR", "jax_compilation_cache_dir")
PACKAGES = ("numpy", "jax", "jaxlib", "flax")
CODE = (Path(int8.__file__).parent, Path(kept.__file__).parent)


class _Hits(threading.local):
    """How often this thread was given something from JAX's own cache."""

    count = 0


_hits = _Hits()


@functools.cache
def _count_hits() -> None:
    def listen(event: str, **_: Any) -> None:
        _hits.count += event == "/jax/compilation_cache/cache_hits"

    monitoring.register_event_listener(listen)


class Executables:
    """Implements kept.Keeper in a folder."""

    def __init__(self, folder: Path, processor: str) -> None:
        self._folder = folder
        self._processor = processor  # names it by what it can do
        _count_hits()

    def get(self, function: kept.Function, args: Sequence[Any], about: str) -> Any:
        if not self._usable:
            return None
        try:
            key = self._key(function.name, about)
        except Exception as error:  # JAX will meet it too, or do without what is missing here
            _log.debug("%s is left to JAX: %s", function.name, error)
            return None
        path = self._folder / f"{function.name}-{key.hex()[:32]}{SUFFIX}"
        executable = _read(path, key)
        if executable is None:
            if not os.access(self._folder, os.W_OK):
                return None  # JAX may have it in its own cache
            executable = self._compiled(function, args)
            _write(path, key, executable, function.sample(args))
        return executable

    def _compiled(self, function: kept.Function, args: Sequence[Any]) -> Any:
        before = _hits.count
        executable = function.lower(*args).compile()
        if _hits.count == before:
            return executable
        # What JAX has read from its own cache lacks functions once it is written again.
        name = f"{function.name.partition('-')[2]}_{secrets.token_hex(8)}"
        executable = function.called(name).lower(*args).compile()
        for entry in self._folder.parent.glob(f"*{name}*"):  # nobody will ask for it
            entry.unlink(missing_ok=True)
        return executable

    @cached_property
    def _usable(self) -> bool:
        """Native calls are for the CPU, and an executable is for one device."""
        if jax.default_backend() != "cpu" or jax.device_count() != 1:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if written_by_us(self._folder.stat()):
                return True
        except OSError:
            return False  # said where the compilation cache is set up
        _log.warning("starts take longer: others can write to %s; delete it", self._folder)
        return False

    def _key(self, name: str, about: str) -> bytes:
        """A digest of all that an executable depends on. Makes the native calls known to JAX."""
        backend = int8.resolve_backend()
        kernels = library.name() if backend == "native" else ""
        parts = self._environment, _settings(), backend, kernels, name, about
        return hashlib.sha256("\0".join(parts).encode()).digest()

    @cached_property
    def _environment(self) -> str:
        """The code, ours and others', and the machine."""
        code = hashlib.sha256()
        for file in sorted(file for folder in CODE for file in folder.rglob("*.py")):
            code.update(hashlib.sha256(file.read_bytes()).digest())
        system = platform.system(), platform.machine(), *platform.libc_ver(), self._processor
        versions = platform.python_version(), *map(metadata.version, PACKAGES)
        return repr((code.hexdigest(), versions, system))


def _settings() -> str:
    """Of JAX, XLA and the kernels: by flags, and by variables that they read themselves."""
    prefixes = ("JAX_", "XLA_", "PJRT_", "INT8_")
    variables = {k: v for k, v in os.environ.items() if k.startswith(prefixes)}
    both = sorted((variables | dict(jax.config.values)).items())
    return repr([pair for pair in both if pair[0] not in PLACES])


def _digest(key: bytes, body: bytes) -> bytes:
    return hashlib.sha256(key + body).digest()


def _read(path: Path, key: bytes) -> Any:
    """The executable; None if there is none that is whole, ours and of this key."""
    try:
        with path.open("rb") as file:
            if not written_by_us(os.fstat(file.fileno())):
                _log.warning("compiled anew: others can write to %s", path)
                return None
            digest, body = file.read(DIGEST), file.read()
        if digest != _digest(key, body):
            return None
        executable = _loaded(body)
    except FileNotFoundError:
        return None
    except Exception as error:  # JAX and pickle have many
        _log.debug("%s is compiled anew: %s", path, error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return executable


def _loaded(body: bytes) -> Any:
    return serialize_executable.deserialize_and_load(*pickle.loads(body))


def _write(path: Path, key: bytes, executable: Any, sample: Sequence[Any]) -> None:
    """Keeps it if that can be done, and if what will be read computes."""
    try:
        body = pickle.dumps(serialize_executable.serialize(executable))
        jax.block_until_ready(_loaded(body)(*sample))
        with atomic_write(path) as part:
            part.touch(mode=0o644)
            part.write_bytes(_digest(key, body) + body)
        _tidy(path.parent)
    except Exception as error:
        _log.debug("%s is not kept: %s", path, error)


def _tidy(folder: Path) -> None:
    """Removes what was used longest ago beyond the bound, and what killed processes have left."""
    files = sorted(_seen(folder), reverse=True)
    total = 0
    for used, size, path in files:
        total += size
        abandoned = path.name.startswith(".") and used < time.time() - 3600
        if total > MOST_BYTES or abandoned:
            with contextlib.suppress(OSError):
                path.unlink()


def _seen(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):  # another process may throw it away too
            about = path.stat()
            yield about.st_mtime, about.st_size, path
