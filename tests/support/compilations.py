"""Counts what JAX compiles, however small."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jax import monitoring

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Yields a list that gets an entry for each compilation in the block."""
    found: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event == _EVENT:
            found.append(f"{details} in {seconds:.3f} s")

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(listen)
