"""Which way products and attention are computed: by the native kernels or by plain XLA."""

import functools
import logging
import os
import threading

import jax

from int8.runtime import library
from int8.runtime.build import BuildError

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
    """Why there are no native kernels here, said once; None if there are."""
    try:
        library.load()
    except BuildError as e:
        _log.warning("int8: XLA computes, slower than the native kernels would: %s", e)
        return str(e)
    return None


def resolve_backend(name: str | None = None, *, platform: str | None = None) -> str:
    """'native' or 'xla': by argument, else set_backend, else $INT8_BACKEND, else by what works.

    `platform` is where it shall run, by default the default device; for other platforms than the
    CPU no kernels are compiled. What is traced as native is lowered so for the CPU alone.
    """
    if name is None:
        name = _chosen if _chosen != "auto" else os.environ.get("INT8_BACKEND", "auto")
    _check(name)
    if name == "native":
        library.load()
    if name != "auto":
        return name
    if (platform or jax.default_backend()) != "cpu" and not library.loaded():
        return "xla"
    with _lock:
        return "xla" if _obstacle() else "native"
