"""Jitted functions whose executables may come from elsewhere than a compilation.

Tracing and lowering take longer than speaking a sentence, and JAX does both before it looks into
its own cache. Knows functions and arrays; where executables are kept is the keeper's to know.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

Executable = Callable[..., Any]  # of a function's arguments but the static ones


class Keeper(Protocol):
    """Where executables are kept from one process to the next."""

    def get(self, function: "Function", args: Sequence[Any], about: str) -> Executable | None:
        """The function for these arguments, loaded or compiled; None where JAX is to see to it.

        `about` tells all that sets the arguments apart from others.
        """


_keeper: Keeper | None = None


def keep(keeper: Keeper | None) -> None:
    """From now on, executables that are not here yet come from `keeper`."""
    global _keeper
    _keeper = keeper


class Function:
    """`jax.jit` of a function; while there is a keeper, with executables from there.

    The first argument that is not static may be large, as parameters are: at a call nobody looks
    through its leaves. Everything else about a jitted function is there too.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static: tuple[str, ...] = (),
        donate: tuple[str, ...] = (),
    ) -> None:
        names = list(inspect.signature(function).parameters)
        self.name = f"{function.__module__.rpartition('.')[2]}-{function.__name__.strip('_')}"
        self._function = function
        self._static = tuple(names.index(name) for name in static)
        self._donated = tuple(names.index(name) for name in donate)
        self.jitted = jax.jit(function, static_argnums=self._static, donate_argnums=self._donated)
        self._dynamic = tuple(i for i in range(len(names)) if i not in self._static)
        self._ready: dict[Any, list[Executable]] = {}
        self._lock = threading.Lock()

    def called(self, name: str) -> Any:
        """Jitted under this name, which XLA too calls it by."""
        function = functools.wraps(self._function)(lambda *args: self._function(*args))
        function.__name__ = name
        return jax.jit(function, static_argnums=self._static, donate_argnums=self._donated)

    def sample(self, args: Sequence[Any]) -> list[Any]:
        """Arguments like these for an executable, which leave them as they are."""
        copy = functools.partial(jax.tree.map, np.array)
        return [copy(args[i]) if i in self._donated else args[i] for i in self._dynamic]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.jitted, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        complete = len(args) == len(self._static) + len(self._dynamic)
        if _keeper is None or named or not complete or jax.config.jax_disable_jit:
            return self.jitted(*args, **named)
        fixed = (*(args[i] for i in self._static), *_surroundings())
        dynamic = [args[i] for i in self._dynamic]
        small = _signature(dynamic[1:] or dynamic)
        if small is None:
            return self.jitted(*args)
        for executable in self._ready.get((fixed, small), ()):
            try:
                return executable(*dynamic)
            except TypeError:  # the first argument is of another kind: said before it computes
                continue
        whole = _signature(dynamic)
        known = whole is not None and all(map(_ours, _kinds(whole[0])))
        executable = known and self._get((fixed, small), args, f"{fixed!r} {whole!r}")
        return executable(*dynamic) if executable else self.jitted(*args)

    def _get(self, key: Any, args: Sequence[Any], about: str) -> Executable | None:
        with self._lock:
            executable = _keeper and _keeper.get(self, args, about)
            if executable:
                self._ready.setdefault(key, []).append(executable)
        return executable


def _surroundings() -> tuple[Any, ...]:
    """What a caller may have set for a while that changes how a function is traced."""
    config = jax.config
    return config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_debug_nans


def _signature(args: Sequence[Any]) -> tuple[Any, ...] | None:
    """What JAX compiles anew for; None where it is tracing, or is given what is no array."""
    leaves, tree = jax.tree.flatten(args)
    if any(isinstance(leaf, jax.core.Tracer) or not hasattr(leaf, "dtype") for leaf in leaves):
        return None
    return tree, *((leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)) for leaf in leaves)


def _kinds(tree: jax.tree_util.PyTreeDef) -> Iterator[type]:
    """The types that a tree is made of."""
    if data := tree.node_data():
        yield data[0]
        for child in tree.children():
            yield from _kinds(child)


def _ours(kind: type) -> bool:
    """Not so is a cache of one's own, whose code the keeper does not know."""
    return kind.__module__.partition(".")[0] in ("builtins", "ptts_jax", "int8")
