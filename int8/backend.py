"""Which way products and attention are computed: by the native kernels or by plain XLA."""

import functools
import logging
import os
import threading

import jax

from int8 import library
from int8.build import BuildError

BACKENDS = ("auto", "native", "xla")

_log = logging.getLogger("int8")
_lock = threading.Lock()
_chosen = "auto"  # by set_backend


def _check(name: str) -> None:
    if name not in BACKENDS:
        raise ValueError(f"int8 backend (INT8_BACKEND) must be auto, native or xla, not {name!r}")


def set_backend(name: str) -> None:
    """Chooses for the whole process: auto, native (an error where it cannot be) or xla.

    What is already traced into a compiled function keeps the backend it was traced with.
    """
    global _chosen
    _check(name)
    _chosen = name


@functools.cache
def _obstacle() -> str | None:
    """Why there are no native kernels here; None if there are."""
    if jax.default_backend() != "cpu":
        return f"the default device is a {jax.default_backend()}"
    try:
        library.load()
    except BuildError as e:
        return str(e)
    return None


@functools.cache
def _warn(obstacle: str) -> None:
    _log.warning("int8: products run as plain XLA, not as native kernels: %s", obstacle)


def resolve_backend(name: str | None = None, *, quiet: bool = False) -> str:
    """'native' or 'xla': by argument, else set_backend, else $INT8_BACKEND, else by what works.

    Says once if the kernels are missing; `quiet` is for those who never asked for int8.
    """
    if name is None:
        name = _chosen if _chosen != "auto" else os.environ.get("INT8_BACKEND", "auto")
    _check(name)
    if name == "native":
        library.load()
    if name != "auto":
        return name
    with _lock:
        obstacle = _obstacle()
        if obstacle and not quiet:
            _warn(obstacle)
    return "xla" if obstacle else "native"
